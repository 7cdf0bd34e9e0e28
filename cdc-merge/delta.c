#include "delta.h"

#include <endian.h>
#include <stdbool.h>

enum { BLOCK = 128, MINIBLOCK = 32, MINIBLOCKS = BLOCK / MINIBLOCK };

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t value_at(const void *values, size_t i, size_t width)
{
    if (width == 4)
        return (int32_t)le32toh(((const uint32_t *)values)[i]);
    return (int64_t)le64toh(((const uint64_t *)values)[i]);
}

/* Differences wrap around in the type's own width: readers add in it, and refuse more bits. */
static int64_t difference(int64_t a, int64_t b, size_t width)
{
    uint64_t d = (uint64_t)a - (uint64_t)b;
    return width == 4 ? (int32_t)(uint32_t)d : (int64_t)d;
}

/* Pack 32 numbers below 2^bits, from the lowest bit on. */
static void pack(struct buf *out, const uint64_t *v, unsigned bits)
{
    uint8_t *at = bytes_add(out, MINIBLOCK / 8 * bits);
    uint64_t word = 0;
    unsigned used = 0;
    for (unsigned i = 0; i < MINIBLOCK; i++) {
        word |= v[i] << used;
        used += bits;
        if (used < 64)
            continue;
        uint64_t full = htole64(word);
        memcpy(at, &full, 8);
        at += 8;
        used -= 64;
        word = used ? v[i] >> (bits - used) : 0;
    }
    uint64_t half = htole64(word);
    memcpy(at, &half, used / 8); /* nothing, or four bytes */
}

static unsigned bits_of(const uint64_t *v)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < MINIBLOCK; i++)
        all |= v[i];
    return all ? 64 - (unsigned)__builtin_clzll(all) : 0;
}

static void put_block(struct buf *out, uint64_t *differences, size_t n)
{
    int64_t min = INT64_MAX;
    for (size_t i = 0; i < n; i++)
        if ((int64_t)differences[i] < min)
            min = (int64_t)differences[i];
    for (size_t i = 0; i < n; i++)
        differences[i] -= (uint64_t)min;
    memset(differences + n, 0, (BLOCK - n) * sizeof *differences);

    bytes_put_varint(out, zigzag(min));
    size_t widths = out->len;
    bytes_add(out, MINIBLOCKS);
    for (unsigned i = 0; i < MINIBLOCKS; i++) {
        const uint64_t *v = differences + i * MINIBLOCK;
        bool any = i * MINIBLOCK < n; /* of those behind the last value only the width is there */
        unsigned bits = any ? bits_of(v) : 0;
        out->data[widths + i] = (char)bits;
        if (bits)
            pack(out, v, bits);
    }
}

void delta_put(struct buf *out, const void *values, size_t n, size_t width)
{
    uint64_t differences[BLOCK];
    int64_t last = n ? value_at(values, 0, width) : 0;
    bytes_put_varint(out, BLOCK);
    bytes_put_varint(out, MINIBLOCKS);
    bytes_put_varint(out, n);
    bytes_put_varint(out, zigzag(last));
    for (size_t i = 1; i < n;) {
        size_t k = 0;
        for (; k < BLOCK && i < n; k++, i++) {
            int64_t v = value_at(values, i, width);
            differences[k] = (uint64_t)difference(v, last, width);
            last = v;
        }
        put_block(out, differences, k);
    }
}
