#include "dict.h"

enum { FIRST_SLOTS = 256 };

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The last eight bytes of a text, or all that it has. */
static uint64_t last_word(const uint8_t *p, size_t len)
{
    uint64_t word = 0;
    uint32_t low, high;
    if (len == 8) {
        memcpy(&word, p, 8);
    } else if (len >= 4) { /* two halves, which may overlap */
        memcpy(&low, p, 4);
        memcpy(&high, p + len - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else {
        for (size_t i = 0; i < len; i++)
            word = word << 8 | p[i];
    }
    return word;
}

/* Eight bytes at a time; the constants are odd numbers with evenly spread bits. */
static uint64_t hash_of(const uint8_t *p, size_t len)
{
    uint64_t h = len * 0x9e3779b97f4a7c15u, word;
    for (; len > 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = mix(h ^ word, 0xa0761d6478bd642fu);
    }
    return mix(h ^ last_word(p, len), 0xe7037ed1a0b428dbu);
}

/* Part of the hash beside the index: most values that are others are told apart by it, without a
 * look at them. */
struct slot {
    uint32_t hash;
    uint32_t next; /* index + 1, or 0: the slot is free */
};

static size_t nslots(const struct dict *d)
{
    return d->slots.len / sizeof(struct slot);
}

static struct slot *slots(const struct dict *d)
{
    return (struct slot *)(void *)d->slots.data;
}

static void make_slots(struct dict *d, size_t n)
{
    d->slots.len = 0;
    memset(bytes_add(&d->slots, n * sizeof(struct slot)), 0, n * sizeof(struct slot));
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

static bool is_value(const struct dict *d, uint32_t index, const void *value, size_t len)
{
    size_t have_len;
    const uint8_t *have = dict_value(d, index, &have_len);
    return have_len == len && (len == 0 || memcmp(have, value, len) == 0);
}

static void grow(struct dict *d)
{
    struct buf old = d->slots;
    size_t n = nslots(d), mask = 2 * n - 1;
    d->slots = (struct buf){0};
    make_slots(d, 2 * n);
    for (size_t i = 0; i < n; i++) {
        const struct slot *from = (const struct slot *)(const void *)old.data + i;
        size_t at = from->hash & mask;
        if (!from->next)
            continue;
        while (slots(d)[at].next)
            at = (at + 1) & mask;
        slots(d)[at] = *from;
    }
    buf_free(&old);
}

static uint32_t find_or_add(struct dict *d, uint32_t hash, const void *value, size_t len)
{
    size_t mask = nslots(d) - 1;
    struct slot *slot = slots(d) + (hash & mask);
    while (slot->next) {
        if (slot->hash == hash && is_value(d, slot->next - 1, value, len))
            return slot->next - 1;
        slot = slots(d) + ((size_t)(slot - slots(d) + 1) & mask);
    }
    bytes_put(&d->values, value, len);
    size_t end = d->values.len;
    bytes_put(&d->ends, &end, sizeof end);
    *slot = (struct slot){hash, ++d->count};
    if (d->count >= nslots(d) / 2)
        grow(d);
    return d->count - 1;
}

uint32_t dict_index(struct dict *d, const void *value, size_t len)
{
    return find_or_add(d, (uint32_t)hash_of(value, len), value, len);
}

bool dict_sample(struct dict *d, const void *value, size_t len, uint32_t every)
{
    uint64_t hash = hash_of(value, len);
    uint32_t before = d->count;
    if ((hash >> 32 & (every - 1)) == 0)
        find_or_add(d, (uint32_t)hash, value, len);
    return d->count > before;
}

void dict_free(struct dict *d)
{
    buf_free(&d->values);
    buf_free(&d->ends);
    buf_free(&d->slots);
    d->count = 0;
}
