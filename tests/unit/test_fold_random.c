/*
 * The fold of cdc-batch as an algebra: random changes, folded part by part and applied to a table,
 * leave the same as the changes one by one. A seed that fails is shrunk to the shortest beginning
 * that does, and shown.
 *
 *     SEED=n build/unit/test_fold_random      replays one seed
 *     SEEDS=n build/unit/test_fold_random     runs n of them (100000)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fold_rows.h"

#define COLUMNS 4 /* two of the key, two others */
#define KEYS 6    /* a0 a1 b0 b1 c0 c1 */
#define COPIES 4

/* A table as it should be: per key its two other values, numbers, 0 for NULL. */
struct model {
    bool there[KEYS];
    unsigned value[KEYS][2]; /* of a row that is gone the last ones, where deletes are soft */
    uint64_t gone[KEYS];     /* and since when that is: the ordinal of the change, or 0 */
    int copies[KEYS];        /* keyless: of the row that this number stands for */
};

struct game {
    uint64_t random;
    struct table *table;
    struct model source; /* after every change */
    struct model target; /* after every part */
    unsigned next_value;
    bool talk;
};

static unsigned pick(struct game *g, unsigned n)
{
    g->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = g->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ (z >> 31)) % n);
}

static void key_text(char out[8], unsigned key)
{
    snprintf(out, 8, "%c %c", 'a' + (int)(key / 2), '0' + (int)(key % 2));
}

static void value_text(char out[16], unsigned value)
{
    if (value)
        snprintf(out, 16, "v%u", value);
    else
        snprintf(out, 16, "-");
}

static void row_text(char out[64], unsigned key, const unsigned value[2])
{
    char k[8], v[2][16];

    key_text(k, key);
    value_text(v[0], value[0]);
    value_text(v[1], value[1]);
    snprintf(out, 64, "%s %s %s", k, v[0], v[1]);
}

static const char *change(struct game *g, const char *what, const char *values, const char *old)
{
    struct position at = next_position();

    if (g->talk)
        printf("  %s %s old %s\n", what, values, old);
    switch (*what) {
    case 'i':
        return fold_insert(&fold, g->table, at, row(values));
    case 'u':
        return fold_update(&fold, g->table, at, both(row(values), row(old)));
    case 'd':
        return fold_delete(&fold, g->table, at, row(old));
    default:
        return fold_truncate(&fold, g->table, at);
    }
}

/* The row of a key is no more. */
static void go(struct model *m, unsigned key, bool soft, uint64_t since)
{
    if (!m->there[key])
        return;
    m->there[key] = false;
    if (soft)
        m->gone[key] = since;
}

/* One random change of a table with a key. */
static const char *keyed_step(struct game *g, bool full, bool soft)
{
    struct model *m = &g->source;
    uint64_t now = clock_seq + 1;
    unsigned key = pick(g, KEYS), other = pick(g, KEYS);
    char new[64], old[64], v[2][16];

    if (pick(g, 40) == 0) {
        for (unsigned k = 0; k < KEYS; k++)
            go(m, k, soft, now);
        return change(g, "truncate", "", "");
    }
    if (!m->there[key]) {
        m->there[key] = true;
        m->gone[key] = 0;
        m->value[key][0] = ++g->next_value;
        m->value[key][1] = pick(g, 3) ? ++g->next_value : 0;
        row_text(new, key, m->value[key]);
        return change(g, "insert", new, "");
    }
    row_text(old, key, m->value[key]);
    char k[8];
    key_text(k, key);
    if (!full)
        snprintf(old, sizeof old, "%s - -", k);
    if (pick(g, 5) == 0) {
        go(m, key, soft, now);
        return change(g, "delete", "", old);
    }
    unsigned last[2] = {m->value[key][0], m->value[key][1]};
    for (unsigned i = 0; i < 2; i++) {
        unsigned *value = &m->value[key][i];
        if (*value && pick(g, 2)) {
            snprintf(v[i], 16, "~");
        } else {
            *value = pick(g, 4) ? ++g->next_value : 0;
            value_text(v[i], *value);
        }
    }
    bool moves = !m->there[other] && pick(g, 2);
    if (moves) {
        memcpy(m->value[other], m->value[key], sizeof last);
        memcpy(m->value[key], last, sizeof last);
        go(m, key, soft, now);
        m->there[other] = true;
        m->gone[other] = 0;
        char from[8];
        memcpy(from, k, sizeof from);
        key_text(k, other);
        if (k[0] == from[0] && pick(g, 2)) /* TOASTed, so unchanged, but in the old row */
            k[0] = '~';
    }
    snprintf(new, sizeof new, "%s %s %s", k, v[0], v[1]);
    return change(g, "update", new, full || moves || pick(g, 4) == 0 ? old : "nil");
}

static const char *keyless_step(struct game *g)
{
    static const unsigned null[2];
    struct model *m = &g->source;
    unsigned key = pick(g, KEYS), other = pick(g, KEYS);
    char new[64], old[64];

    row_text(new, other, null);
    row_text(old, key, null);
    if (pick(g, 40) == 0) {
        memset(m->copies, 0, sizeof m->copies);
        return change(g, "truncate", "", "");
    }
    if (!m->copies[key] || pick(g, 3) == 0) {
        m->copies[other]++;
        return change(g, "insert", new, "");
    }
    m->copies[key]--;
    if (pick(g, 2))
        return change(g, "delete", "", old);
    m->copies[other]++;
    return change(g, "update", new, old);
}

/* Which key, among all that the game knows; its cells follow each other. */
static unsigned key_number(struct mp key)
{
    struct mp_token letter, digit;

    assert_int_equal(mp_next(&key, &letter), 1);
    assert_int_equal(mp_next(&key, &digit), 1);
    return (unsigned)(letter.data[0] - 'a') * 2 + (unsigned)(digit.data[0] - '0');
}

/* Applies the part to the target as a merge would: what is unchanged is taken from the table as it
 * was before the part. Returns why that is not possible. */
static const char *apply(struct game *g, bool full, bool soft)
{
    struct model before = g->target, *now = &g->target;
    unsigned seen = 0;

    if (g->table->cleared) {
        for (unsigned k = 0; k < KEYS; k++)
            go(now, k, soft, g->table->clear.seq);
        memset(now->copies, 0, sizeof now->copies);
    }
    for (const struct net *n = g->table->nets; n; n = n->next) {
        unsigned key = key_number(n->key);
        if (seen & 1u << key)
            return "a key occurs twice";
        seen |= 1u << key;
        if (n->kind == NET_COUNT) {
            now->copies[key] += (int)n->count;
            continue;
        }
        now->there[key] = n->kind == NET_UPSERT;
        now->gone[key] = n->kind == NET_RETIRE ? n->at.seq : 0;
        if (n->kind != NET_UPSERT && soft != (n->kind == NET_RETIRE))
            return "a row that is gone has the other kind";
        if (n->kind == NET_REMOVE)
            continue;
        struct mp cells = inside(net_values(n));
        if (key_number(cells) != key)
            return "a row stands under another key";
        unsigned origin = key_number(n->origin->key);
        bool unchanged = false;
        for (unsigned i = 0; i < COLUMNS; i++) {
            struct mp_token t;
            assert_int_equal(mp_next(&cells, &t), 1);
            if (i < 2)
                continue;
            unsigned *value = &now->value[key][i - 2];
            if (t.type == MP_EXT) {
                unchanged = true;
                if (!before.there[origin] || (g->table->cleared && !soft))
                    return "an unchanged value is nowhere";
                *value = before.value[origin][i - 2];
            } else {
                char text[16] = "v0";
                if (t.type == MP_STR)
                    snprintf(text, sizeof text, "%.*s", (int)t.len, t.data);
                *value = (unsigned)strtoul(text + 1, NULL, 10);
            }
        }
        if (unchanged != n->unchanged)
            return "the mark of unchanged values is wrong";
        if (unchanged && full)
            return "a full old row did not fill the values";
    }
    fold_reset(&fold);
    return NULL;
}

static const char *compare(const struct game *g)
{
    const struct model *s = &g->source, *t = &g->target;

    for (unsigned k = 0; k < KEYS; k++) {
        if (s->there[k] != t->there[k])
            return s->there[k] ? "a row is missing" : "a row is left";
        if (s->gone[k] != t->gone[k])
            return "a row is marked as gone at another time";
        if ((s->there[k] || s->gone[k]) &&
            memcmp(s->value[k], t->value[k], sizeof s->value[k]) != 0)
            return "a value differs";
        if (s->copies[k] != t->copies[k])
            return "the number of copies differs";
    }
    return NULL;
}

/* Plays at most `limit` changes of a seed. NULL, or what went wrong. *played says how many. */
static const char *play(uint64_t seed, unsigned limit, bool talk, unsigned *played)
{
    struct game g = {.random = seed, .talk = talk};
    unsigned kind = pick(&g, 6), changes = 1 + pick(&g, 40), every = 1 + pick(&g, 20);
    bool keyless = kind == 0, soft = kind >= 4, full = kind <= 1 || kind == 5;
    const char *bad = NULL;

    fold_reset(&fold);
    g.table = table_of(1, keyless ? "...." : "kk..", full ? 'f' : 'd', soft ? SOFT : HARD);
    for (*played = 0; !bad && *played < changes && *played < limit; ++*played) {
        bad = keyless ? keyless_step(&g) : keyed_step(&g, full, soft);
        if (!bad && pick(&g, every) == 0) {
            if (talk)
                printf("  -- part\n");
            if (!(bad = apply(&g, full, soft)))
                bad = compare(&g);
        }
    }
    if (!bad && !(bad = apply(&g, full, soft)))
        bad = compare(&g);
    arena_reset(&rows);
    return bad;
}

static void folded_changes_leave_the_same_table(void **state)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : 100000;
    unsigned played, limit, ignored;
    uint64_t changes = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        const char *bad = play(seed, UINT32_MAX, false, &played);
        changes += played;
        if (!bad)
            continue;
        for (limit = 1; limit < played && !play(seed, limit, false, &ignored); limit++)
            ;
        printf("SEED=%llu fails after %u changes:\n", (unsigned long long)seed, limit);
        bad = play(seed, limit, true, &ignored);
        fail_msg("%s", bad);
    }
    printf("%llu seeds, %llu changes\n", (unsigned long long)count, (unsigned long long)changes);
    arena_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folded_changes_leave_the_same_table, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
