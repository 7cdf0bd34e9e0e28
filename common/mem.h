/*
 * Memory: allocation succeeds or the program exits with 75 (out of memory is a reason to start
 * again). Three shapes: plain blocks, a growing byte buffer, and an arena that is emptied as a
 * whole.
 */
#ifndef PGCDC_MEM_H
#define PGCDC_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *mem_alloc(size_t size);              /* zeroed; free() it */
void *mem_realloc(void *old, size_t size); /* new bytes are not zeroed */
char *mem_strdup(const char *s);           /* free() it */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* free() it */

/* A byte buffer. Zero-initialize it; free with buf_free. data[len] is always NUL once something was
 * added through buf_add, buf_str or buf_printf. */
struct buf {
    char *data;
    size_t len, cap;
};

void buf_reserve(struct buf *b, size_t more); /* room for more bytes, and a NUL, after len */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b);          /* len = 0, memory kept */
void buf_drop(struct buf *b, size_t n); /* removes the first n bytes */
void buf_free(struct buf *b);

/* An arena: many allocations, one reset. Zero-initialize it. Pointers stay valid until the reset.
 * Its blocks grow up to 1 MB; those of 1 MB that an arena gives back are kept for any other. */
struct arena {
    struct arena_block *head; /* the block in use, newest first */
    size_t used; /* bytes handed out since the last reset, and those lost at the ends of blocks */
};

void *arena_alloc(struct arena *a, size_t size); /* aligned to 8, not zeroed */
void *arena_copy(struct arena *a, const void *data, size_t len);
void arena_reset(struct arena *a); /* keeps one block for the next round */
void arena_free(struct arena *a);

#endif
