#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"

static _Noreturn void out_of_memory(size_t size)
{
    msg_die(EX_TEMPFAIL, "out of memory bytes=%zu", size);
}

void *mem_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p)
        out_of_memory(size);
    return p;
}

void *mem_realloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);

    if (!p)
        out_of_memory(size);
    return p;
}

char *mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(mem_alloc(n), s, n);
}

static void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        n = 0;
    buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
}

char *mem_printf(const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return b.data;
}

void buf_reserve(struct buf *b, size_t more)
{
    size_t need = b->len + more + 1, cap = b->cap ? b->cap : 256;

    if (need <= b->cap)
        return;
    if (need < more)
        out_of_memory(more);
    while (cap < need)
        cap = cap > (size_t)1 << 62 ? need : cap * 2;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    buf_reserve(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(8) char data[];
};

#define BLOCK_MIN ((size_t)4 << 10)
#define BLOCK_MAX ((size_t)1 << 20)

/* Blocks of BLOCK_MAX bytes that no arena has now: memory that comes fresh from the system costs a
 * page fault for each 4 kB of it. */
static struct arena_block *spare;

static void give_back(struct arena_block *b)
{
    if (b->cap == BLOCK_MAX) {
        b->next = spare;
        spare = b;
    } else {
        free(b);
    }
}

/* A block with room for size, to be the head or, if it is a large one, the next. */
static struct arena_block *add_block(struct arena *a, size_t size)
{
    struct arena_block *b = spare;
    size_t cap = a->head ? 2 * a->head->cap : BLOCK_MIN;

    if (b && size <= BLOCK_MAX) {
        spare = b->next;
        cap = BLOCK_MAX;
    } else {
        while (cap < size && cap < BLOCK_MAX)
            cap *= 2;
        cap = size > BLOCK_MAX ? size : cap > BLOCK_MAX ? BLOCK_MAX : cap;
        b = mem_realloc(NULL, sizeof *b + cap);
    }
    *b = (struct arena_block){.cap = cap};
    if (size > BLOCK_MAX && a->head) { /* the head has room yet */
        b->next = a->head->next;
        a->head->next = b;
    } else {
        if (a->head)
            a->used += a->head->cap - a->head->used; /* as good as used */
        b->next = a->head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->head;

    if (size > (size_t)-1 - 64)
        out_of_memory(size);
    size = (size + 7) & ~(size_t)7;
    if (!b || b->cap - b->used < size)
        b = add_block(a, size);
    void *p = b->data + b->used;
    b->used += size;
    a->used += size;
    return p;
}

void *arena_copy(struct arena *a, const void *data, size_t len)
{
    void *p = arena_alloc(a, len);

    if (len)
        memcpy(p, data, len);
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->head && a->head->cap <= BLOCK_MAX ? a->head : NULL;

    for (struct arena_block *b = keep ? keep->next : a->head, *next; b; b = next) {
        next = b->next;
        give_back(b);
    }
    if (keep)
        *keep = (struct arena_block){.cap = keep->cap};
    a->head = keep;
    a->used = 0;
}

void arena_free(struct arena *a)
{
    arena_reset(a);
    if (a->head)
        give_back(a->head);
    a->head = NULL;
}
