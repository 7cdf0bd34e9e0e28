#include "nets.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN ((size_t)64)

struct nets_slot {
    uint64_t hash;
    struct net *net; /* NULL: free */
};

/* The high bits of the product depend on all bits of the word; the shift brings them down to where
 * slots are chosen. */
static uint64_t step(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static uint64_t hash_of(uint32_t group, struct mp key)
{
    const unsigned char *p = key.p;
    size_t left = (size_t)(key.end - p);
    uint64_t word, hash = step(left, group);

    for (; left >= sizeof word; left -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = step(hash, word);
    }
    for (word = 0; left; left--)
        word = word << 8 | *p++;
    return step(hash, word);
}

static bool is(const struct net *n, uint32_t group, struct mp key)
{
    size_t len = (size_t)(key.end - key.p);

    return n->group == group && (size_t)(n->key.end - n->key.p) == len &&
           !memcmp(n->key.p, key.p, len);
}

/* Three quarters are used at most: there is always a free slot. */
static void grow(struct nets *s)
{
    struct nets_slot *old = s->slots;
    size_t room = s->room;

    s->room = room ? 2 * room : ROOM_MIN;
    s->slots = mem_alloc(s->room * sizeof *s->slots);
    for (size_t i = 0; i < room; i++) {
        size_t at = old[i].hash & (s->room - 1);
        if (!old[i].net)
            continue;
        while (s->slots[at].net)
            at = (at + 1) & (s->room - 1);
        s->slots[at] = old[i];
    }
    free(old);
}

uint32_t nets_group(struct nets *s)
{
    return ++s->groups;
}

struct net *nets_get(struct nets *s, struct arena *arena, uint32_t group, struct mp key, bool *made)
{
    uint64_t hash = hash_of(group, key);
    size_t len = (size_t)(key.end - key.p);

    if (s->used >= s->room / 4 * 3)
        grow(s);
    size_t at = hash & (s->room - 1);
    for (; s->slots[at].net; at = (at + 1) & (s->room - 1)) {
        struct net *n = s->slots[at].net;
        if (s->slots[at].hash != hash || !is(n, group, key))
            continue;
        *made = false;
        return n;
    }
    struct net *n = arena_alloc(arena, sizeof *n + len);
    unsigned char *copy = (unsigned char *)(n + 1);
    if (len)
        memcpy(copy, key.p, len);
    *n = (struct net){.kind = NET_REMOVE, .group = group, .key = {copy, copy + len}, .origin = n};
    s->slots[at] = (struct nets_slot){hash, n};
    s->used++;
    *made = true;
    return n;
}

size_t nets_size(const struct nets *s)
{
    return s->used * 2 * sizeof *s->slots; /* between 4/3 and 8/3 */
}

void nets_reset(struct nets *s)
{
    if (s->used < s->room / 64) { /* the next part may be as small: clearing costs more than it */
        free(s->slots);
        s->slots = NULL;
        s->room = 0;
    } else if (s->used) {
        memset(s->slots, 0, s->room * sizeof *s->slots);
    }
    s->used = 0;
}

void nets_free(struct nets *s)
{
    free(s->slots);
    *s = (struct nets){0};
}
