/* bytes: what the Parquet writer appends to a struct buf: raw room, little-endian and LEB128
 * numbers. Inline, because they run for every value. Nothing here fails (see mem.h). */
#ifndef CDC_MERGE_BYTES_H
#define CDC_MERGE_BYTES_H

#include <stdint.h>
#include <string.h>

#include "mem.h"

/* Return room for `more` bytes and count it as used. */
static inline uint8_t *bytes_add(struct buf *b, size_t more)
{
    if (b->cap - b->len <= more)
        buf_reserve(b, more);
    char *at = b->data + b->len;
    b->len += more;
    return (uint8_t *)at;
}

static inline void bytes_put(struct buf *b, const void *data, size_t len)
{
    if (len > 0)
        memcpy(bytes_add(b, len), data, len);
}

/* Append the low `width` bytes of v, least significant first. */
static inline void bytes_put_le(struct buf *b, uint64_t v, size_t width)
{
    uint8_t *at = bytes_add(b, width);
    for (size_t i = 0; i < width; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

/* Append v as an unsigned LEB128 number. */
static inline void bytes_put_varint(struct buf *b, uint64_t v)
{
    while (v >= 0x80) {
        *bytes_add(b, 1) = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *bytes_add(b, 1) = (uint8_t)v;
}

/* Empty it, and give the memory back if a huge value had made it larger than `keep`. */
static inline void bytes_reset(struct buf *b, size_t keep)
{
    if (b->cap > keep)
        buf_free(b);
    b->len = 0;
}

#endif
