#include "dict.h"

enum { FIRST_SLOTS = 256 };

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Eight bytes at a time; the constants are odd numbers with evenly spread bits. */
static uint64_t hash(const uint8_t *p, size_t len)
{
    uint64_t h = len * 0x9e3779b97f4a7c15u, word;
    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = mix(h ^ word, 0xa0761d6478bd642fu);
    }
    word = 0;
    if (len > 0)
        memcpy(&word, p, len);
    return mix(h ^ word, 0xe7037ed1a0b428dbu);
}

static size_t nslots(const struct dict *d)
{
    return d->slots.len / sizeof(uint32_t);
}

static uint32_t *slot_at(const struct dict *d, size_t i)
{
    return (uint32_t *)(void *)d->slots.data + i;
}

static void make_slots(struct dict *d, size_t n)
{
    d->slots.len = 0;
    memset(bytes_add(&d->slots, n * sizeof(uint32_t)), 0, n * sizeof(uint32_t));
}

void dict_reset(struct dict *d)
{
    d->values.len = 0;
    d->ends.len = 0;
    d->count = 0;
    make_slots(d, FIRST_SLOTS);
}

const uint8_t *dict_value(const struct dict *d, uint32_t index, size_t *len)
{
    const size_t *ends = (const size_t *)(const void *)d->ends.data;
    size_t begin = index ? ends[index - 1] : 0;
    *len = ends[index] - begin;
    return (const uint8_t *)d->values.data + begin;
}

/* The slot that holds the value, or the free one where it belongs. */
static uint32_t *find(const struct dict *d, const void *value, size_t len)
{
    size_t mask = nslots(d) - 1;
    for (size_t i = (size_t)hash(value, len) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = slot_at(d, i);
        if (*slot == 0)
            return slot;
        size_t have_len;
        const uint8_t *have = dict_value(d, *slot - 1, &have_len);
        if (have_len == len && (len == 0 || memcmp(have, value, len) == 0))
            return slot;
    }
}

static void grow(struct dict *d)
{
    make_slots(d, nslots(d) * 2);
    for (uint32_t i = 0; i < d->count; i++) {
        size_t len;
        const uint8_t *value = dict_value(d, i, &len);
        *find(d, value, len) = i + 1;
    }
}

uint32_t dict_index(struct dict *d, const void *value, size_t len)
{
    uint32_t *slot = find(d, value, len);
    if (*slot)
        return *slot - 1;
    bytes_put(&d->values, value, len);
    size_t end = d->values.len;
    bytes_put(&d->ends, &end, sizeof end);
    *slot = ++d->count;
    if (d->count >= nslots(d) / 2)
        grow(d);
    return d->count - 1;
}

void dict_free(struct dict *d)
{
    buf_free(&d->values);
    buf_free(&d->ends);
    buf_free(&d->slots);
}
