/*
 * The fold of cdc-batch: each rule, then the algebra: random changes, folded and applied to a
 * table, leave the same as the changes one by one.
 *
 *     SEED=n build/unit/test_fold     replays one seed of the random test
 *     SEEDS=n build/unit/test_fold    runs n of them (100000)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cdc-batch/fold.h"
#include "stream.h"

/* ------------------------------------------------------------------ writing rows and changes */

static struct fold fold;
static struct arena rows; /* of what the tests feed */
static uint64_t clock_seq;

/* "a 1 ~ -": texts, `~` unchanged, `-` NULL; "nil" is no row */
static struct mp row(const char *text)
{
    struct buf b = {0};
    msgpack_packer pk;
    unsigned n = 0;
    char copy[256], *save, *word;

    pack_into(&pk, &b);
    snprintf(copy, sizeof copy, "%s", text);
    for (const char *p = text; *p; p++)
        n += *p != ' ' && (p == text || p[-1] == ' ');
    if (strcmp(text, "nil") != 0)
        msgpack_pack_array(&pk, n);
    for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (!strcmp(word, "~"))
            pack_unchanged(&pk);
        else if (!strcmp(word, "-") || !strcmp(word, "nil"))
            msgpack_pack_nil(&pk);
        else
            pack_str(&pk, word);
    }
    const unsigned char *p = arena_copy(&rows, b.data, b.len);
    struct mp m = {p, p + b.len};
    buf_free(&b);
    return m;
}

static struct position next_position(void)
{
    return (struct position){.lsn = 100, .seq = ++clock_seq, .time = 7};
}

/* A table of as many columns as `key` has letters; `k` is one of the key. */
static struct table *table(uint32_t oid, const char *key, char identity)
{
    struct relation *r = mem_alloc(sizeof *r);

    r->oid = oid;
    r->schema = mem_strdup("public");
    r->table = mem_strdup("t");
    r->identity = identity;
    r->ncolumns = (unsigned)strlen(key);
    r->columns = mem_alloc(r->ncolumns * sizeof *r->columns);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        r->columns[i].name = mem_printf("c%u", i);
        r->columns[i].type = mem_strdup("text");
        r->columns[i].key = key[i] == 'k';
        r->nkey += key[i] == 'k';
    }
    fold_shape(&fold, r, row(key));
    return fold_table(&fold, oid);
}

static void insert(struct table *t, const char *values)
{
    assert_null(fold_insert(&fold, t, next_position(), row(values)));
}

static void update(struct table *t, const char *values, const char *old)
{
    assert_null(fold_update(&fold, t, next_position(), row(values), row(old)));
}

static void delete (struct table *t, const char *old)
{
    assert_null(fold_delete(&fold, t, next_position(), row(old)));
}

static void truncate_table(struct table *t)
{
    assert_null(fold_truncate(&fold, t, next_position()));
}

/* ------------------------------------------------------------------ reading what was folded */

static void print_cells(struct buf *b, struct mp cells, unsigned n)
{
    struct mp_token t;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(mp_next(&cells, &t), 1);
        if (i)
            buf_char(b, ' ');
        if (t.type == MP_STR)
            buf_add(b, t.data, t.len);
        else
            buf_char(b, t.type == MP_EXT ? '~' : '-');
    }
    assert_ptr_equal(cells.p, cells.end);
}

static struct mp inside(struct mp array)
{
    struct mp_token t;

    assert_int_equal(mp_next(&array, &t), 1);
    assert_int_equal(t.type, MP_ARRAY);
    return array;
}

static void print_net(struct buf *b, const struct table *t, const struct net *n)
{
    if (n->kind == NET_UPSERT) {
        buf_str(b, "[");
        print_cells(b, inside(net_values(n)), t->shape->ncolumns);
        buf_str(b, "]");
        if (n->unchanged && n->origin != n) {
            buf_str(b, "<-");
            print_cells(b, n->origin->key, t->nkey);
        }
    } else {
        buf_str(b, n->kind == NET_REMOVE ? "gone " : "");
        if (n->kind == NET_COUNT)
            buf_printf(b, "%+lld ", (long long)n->count);
        print_cells(b, n->key, t->nkey);
    }
    buf_printf(b, "@%llu", (unsigned long long)n->at.seq);
}

/* The table's part as one line: "clear@1 [a 1]@2 gone b@3" */
static void assert_part(const struct table *t, const char *expected)
{
    struct buf b = {0};

    buf_str(&b, "");
    if (t->cleared)
        buf_printf(&b, "clear@%llu", (unsigned long long)t->clear.seq);
    for (const struct net *n = t->nets; n; n = n->hh.next) {
        if (n->kind == NET_COUNT && !n->count)
            continue;
        if (b.len)
            buf_char(&b, ' ');
        print_net(&b, t, n);
    }
    assert_string_equal(b.data, expected);
    buf_free(&b);
}

static int set_up(void **state)
{
    (void)state;
    fold_init(&fold);
    clock_seq = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fold_free(&fold);
    arena_free(&rows);
    return 0;
}

/* ------------------------------------------------------------------ rules */

static void changes_of_a_row_become_one(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    insert(t, "a 1");
    update(t, "a 2", "nil");
    insert(t, "b 1");
    update(t, "a 3", "nil");
    assert_part(t, "[a 3]@4 [b 1]@3");
    assert_int_equal(fold.nets, 2);
    delete (t, "a -");
    assert_part(t, "gone a@5 [b 1]@3");
    insert(t, "a 9");
    assert_part(t, "[a 9]@6 [b 1]@3");
}

static void a_row_that_comes_and_goes_is_removed(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    insert(t, "a 1");
    delete (t, "a -");
    assert_part(t, "gone a@2");
}

static void longer_and_shorter_values_replace_each_other(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    insert(t, "a x");
    update(t, "a a-much-longer-value-than-before-so-that-it-needs-room", "nil");
    update(t, "a y", "nil");
    assert_part(t, "[a y]@3");
    size_t used = fold.arena.used;
    for (int i = 0; i < 100; i++)
        update(t, "a z", "nil");
    assert_int_equal(fold.arena.used, used); /* a row that changes often takes no more memory */
}

static void unchanged_is_filled_from_the_change_before(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'd');
    insert(t, "a big 1");
    update(t, "a ~ 2", "nil");
    assert_part(t, "[a big 2]@2");
}

static void unchanged_with_nothing_before_stays(void **state)
{
    (void)state;
    struct table *t = table(1, "k...", 'd');
    update(t, "a ~ 2 ~", "nil");
    assert_part(t, "[a ~ 2 ~]@1");
    update(t, "a new ~ ~", "nil");
    assert_part(t, "[a new 2 ~]@2");
}

static void unchanged_is_filled_from_a_full_old_row(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'f');
    update(t, "a ~ 2", "a big 1");
    assert_part(t, "[a big 2]@1");
    update(t, "b ~ -", "a big 2");
    assert_part(t, "gone a@2 [b big -]@2");
}

static void a_new_key_is_a_removal_and_a_row(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    update(t, "b 2", "a -");
    assert_part(t, "gone a@1 [b 2]@1");
}

static void an_equal_old_key_is_no_new_key(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    update(t, "a 2", "a -");
    assert_part(t, "[a 2]@1");
    struct table *f = table(2, "k.", 'f');
    update(f, "a 2", "a 1");
    assert_part(f, "[a 2]@2");
}

static void an_unchanged_key_column_is_in_the_old_row(void **state)
{
    (void)state;
    struct table *t = table(1, "kk.", 'd');
    update(t, "~ y 1", "long x -");
    assert_part(t, "gone long x@1 [long y 1]@1");
    update(t, "~ ~ 2", "long y -");
    assert_part(t, "gone long x@1 [long y 2]@2");
}

static void unchanged_across_a_key_change_carries_the_old_key(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'd');
    update(t, "b ~ 1", "a - -");
    assert_part(t, "gone a@1 [b ~ 1]<-a@1");
}

static void a_chain_of_keys_carries_the_first(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    update(t, "b ~", "a -");
    update(t, "c ~", "b -");
    assert_part(t, "gone a@1 gone b@2 [c ~]<-a@2");
}

static void swapped_keys_carry_each_other(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    update(t, "tmp ~", "a -");
    update(t, "a ~", "b -");
    update(t, "b ~", "tmp -");
    assert_part(t, "[a ~]<-b@2 gone tmp@3 [b ~]<-a@3");
}

static void a_key_that_returns_carries_nothing(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    update(t, "b ~", "a -");
    update(t, "a ~", "b -");
    assert_part(t, "[a ~]@2 gone b@2");
}

static void a_row_on_the_key_of_one_that_moved_is_another(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'd');
    update(t, "b ~ 1", "a - -");
    insert(t, "a new 2");
    update(t, "a ~ 3", "nil");
    assert_part(t, "[a new 3]@3 [b ~ 1]<-a@1");
}

static void a_value_known_before_a_key_change_moves_along(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'd');
    update(t, "a big ~", "nil");
    update(t, "b ~ ~", "a - -");
    assert_part(t, "gone a@2 [b big ~]<-a@2");
}

static void an_insert_is_not_filled(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd'); /* an UPDATE that moved a row into a row filter */
    insert(t, "a 1");
    delete (t, "a -");
    insert(t, "a ~");
    assert_part(t, "[a ~]@3");
}

static void truncate_voids_what_came_before(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    struct table *other = table(2, "k.", 'd');
    insert(t, "a 1");
    insert(other, "a 1");
    truncate_table(t);
    assert_part(t, "clear@3");
    assert_part(other, "[a 1]@2");
    assert_int_equal(fold.nets, 1);
    insert(t, "b 1");
    truncate_table(t);
    insert(t, "a 2");
    assert_part(t, "clear@5 [a 2]@6");
}

static void keys_are_told_apart(void **state)
{
    (void)state;
    struct table *t = table(1, "kk", 'd');
    insert(t, "ab c");
    insert(t, "a bc");
    insert(t, "a b");
    assert_part(t, "[ab c]@1 [a bc]@2 [a b]@3");
}

/* The same text in a longer encoding, which a filter may well write. */
static void one_text_in_two_encodings_is_one_key(void **state)
{
    (void)state;
    static const unsigned char wide[] = {0xdc, 0, 2, 0xda, 0, 1, 'a', 0xd9, 1, '2'};
    struct table *t = table(1, "k.", 'd');
    insert(t, "a 1");
    assert_null(
        fold_update(&fold, t, next_position(), (struct mp){wide, wide + sizeof wide}, row("nil")));
    assert_part(t, "[a 2]@2");
}

static void a_keyless_table_is_a_multiset(void **state)
{
    (void)state;
    struct table *t = table(1, "..", 'f');
    insert(t, "a 1");
    insert(t, "a 1");
    insert(t, "a -");
    delete (t, "b 2");
    assert_part(t, "+2 a 1@2 +1 a -@3 -1 b 2@4");
    update(t, "a 2", "a 1");
    assert_part(t, "+1 a 1@5 +1 a -@3 -1 b 2@4 +1 a 2@5");
    delete (t, "a 1");
    insert(t, "b 2");
    assert_part(t, "+1 a -@3 +1 a 2@5");
    update(t, "a ~", "a 2");
    assert_part(t, "+1 a -@3 +1 a 2@8");
    truncate_table(t);
    assert_part(t, "clear@9");
}

static void a_table_without_columns_counts(void **state)
{
    (void)state;
    struct table *t = table(1, "", 'f');
    insert(t, "");
    insert(t, "");
    assert_part(t, "+2 @2");
}

static void an_emptied_fold_remembers_shapes_only(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd');
    insert(t, "a 1");
    truncate_table(t);
    fold_reset(&fold);
    assert_null(fold.changed);
    assert_int_equal(fold.nets, 0);
    assert_part(t, "");
    update(t, "a ~", "nil");
    assert_part(t, "[a ~]@3");
    fold_reset(&fold);
    t = table(1, "k..", 'd'); /* a column more */
    insert(t, "a 1 2");
    assert_part(t, "[a 1 2]@4");
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct table *t = table(1, "k.", 'd'), *keyless = table(2, "..", 'd'),
                 *full = table(3, "..", 'f'), *nothing = table(4, "k.", 'n');
    struct position at = next_position();
    static const unsigned char number[] = {0x92, 0xa1, 'a', 5},
                               ext[] = {0x92, 0xa1, 'a', 0xd4, 1, 0},
                               map[] = {0x81, 0xa1, 'a', 0xc0};

    assert_non_null(fold_insert(&fold, t, at, row("a")));
    assert_non_null(fold_insert(&fold, t, at, row("a 1 2")));
    assert_non_null(fold_insert(&fold, t, at, row("nil")));
    assert_non_null(fold_insert(&fold, t, at, row("- 1")));
    assert_non_null(fold_insert(&fold, t, at, row("~ 1")));
    assert_non_null(fold_insert(&fold, t, at, (struct mp){number, number + sizeof number}));
    assert_non_null(fold_insert(&fold, t, at, (struct mp){ext, ext + sizeof ext}));
    assert_non_null(fold_insert(&fold, t, at, (struct mp){map, map + sizeof map}));
    assert_non_null(fold_insert(&fold, t, at, (struct mp){number, number + 3}));
    assert_non_null(fold_update(&fold, t, at, row("~ 1"), row("nil")));
    assert_non_null(fold_update(&fold, t, at, row("a 1"), row("- 1")));
    assert_non_null(fold_delete(&fold, t, at, row("- 1")));
    assert_non_null(fold_delete(&fold, t, at, row("nil")));
    assert_non_null(fold_delete(&fold, keyless, at, row("a 1")));
    assert_non_null(fold_update(&fold, keyless, at, row("a 1"), row("a 2")));
    assert_non_null(fold_update(&fold, full, at, row("a 1"), row("nil")));
    assert_non_null(fold_insert(&fold, full, at, row("a ~")));
    assert_non_null(fold_delete(&fold, nothing, at, row("a 1")));
    assert_non_null(fold_update(&fold, nothing, at, row("a 1"), row("nil")));
    assert_null(fold.changed); /* and left nothing */

    assert_null(fold_insert(&fold, nothing, at, row("a 1")));
    assert_null(fold_insert(&fold, keyless, at, row("a 1")));
    assert_non_null(fold_insert(&fold, nothing, at, row("b 1"))); /* the same position again */
    assert_part(nothing, "[a 1]@1");
    assert_non_null(fold_whole_row(&fold, t, row("a ~")));
    assert_null(fold_whole_row(&fold, t, row("a -")));
}

/* ------------------------------------------------------------------ the algebra */

#define COLUMNS 4 /* two of the key, two others */
#define KEYS 6    /* a0 a1 b0 b1 c0 c1 */
#define COPIES 4

/* A table as it should be: per key its two other values, numbers, 0 for NULL. */
struct model {
    bool there[KEYS];
    unsigned value[KEYS][2];
    int copies[KEYS]; /* keyless: of the row that this number stands for */
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
        return fold_update(&fold, g->table, at, row(values), row(old));
    case 'd':
        return fold_delete(&fold, g->table, at, row(old));
    default:
        return fold_truncate(&fold, g->table, at);
    }
}

/* One random change of a table with a key. */
static const char *keyed_step(struct game *g, bool full)
{
    struct model *m = &g->source;
    unsigned key = pick(g, KEYS), other = pick(g, KEYS);
    char new[64], old[64], v[2][16];

    if (pick(g, 40) == 0) {
        memset(m->there, 0, sizeof m->there);
        return change(g, "truncate", "", "");
    }
    if (!m->there[key]) {
        m->there[key] = true;
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
        m->there[key] = false;
        return change(g, "delete", "", old);
    }
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
        m->there[key] = false;
        m->there[other] = true;
        memcpy(m->value[other], m->value[key], sizeof m->value[key]);
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
static const char *apply(struct game *g, bool full)
{
    struct model before = g->target, *now = &g->target;
    unsigned seen = 0;

    if (g->table->cleared) {
        memset(now->there, 0, sizeof now->there);
        memset(now->copies, 0, sizeof now->copies);
    }
    for (const struct net *n = g->table->nets; n; n = n->hh.next) {
        unsigned key = key_number(n->key);
        if (seen & 1u << key)
            return "a key occurs twice";
        seen |= 1u << key;
        if (n->kind == NET_COUNT) {
            now->copies[key] += (int)n->count;
            continue;
        }
        now->there[key] = n->kind == NET_UPSERT;
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
                if (!before.there[origin] || g->table->cleared)
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
        if (s->there[k] && memcmp(s->value[k], t->value[k], sizeof s->value[k]) != 0)
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
    unsigned kind = pick(&g, 4), changes = 1 + pick(&g, 40), every = 1 + pick(&g, 20);
    bool keyless = kind == 0, full = kind <= 1;
    const char *bad = NULL;

    fold_reset(&fold);
    g.table = table(1, keyless ? "...." : "kk..", full ? 'f' : 'd');
    for (*played = 0; !bad && *played < changes && *played < limit; ++*played) {
        bad = keyless ? keyless_step(&g) : keyed_step(&g, full);
        if (!bad && pick(&g, every) == 0) {
            if (talk)
                printf("  -- part\n");
            if (!(bad = apply(&g, full)))
                bad = compare(&g);
        }
    }
    if (!bad && !(bad = apply(&g, full)))
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
#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RULE(changes_of_a_row_become_one),
        RULE(a_row_that_comes_and_goes_is_removed),
        RULE(longer_and_shorter_values_replace_each_other),
        RULE(unchanged_is_filled_from_the_change_before),
        RULE(unchanged_with_nothing_before_stays),
        RULE(unchanged_is_filled_from_a_full_old_row),
        RULE(a_new_key_is_a_removal_and_a_row),
        RULE(an_equal_old_key_is_no_new_key),
        RULE(an_unchanged_key_column_is_in_the_old_row),
        RULE(unchanged_across_a_key_change_carries_the_old_key),
        RULE(a_chain_of_keys_carries_the_first),
        RULE(swapped_keys_carry_each_other),
        RULE(a_key_that_returns_carries_nothing),
        RULE(a_row_on_the_key_of_one_that_moved_is_another),
        RULE(a_value_known_before_a_key_change_moves_along),
        RULE(an_insert_is_not_filled),
        RULE(truncate_voids_what_came_before),
        RULE(keys_are_told_apart),
        RULE(one_text_in_two_encodings_is_one_key),
        RULE(a_keyless_table_is_a_multiset),
        RULE(a_table_without_columns_counts),
        RULE(an_emptied_fold_remembers_shapes_only),
        RULE(what_cannot_be_is_refused),
        RULE(folded_changes_leave_the_same_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
