/* The fold of cdc-batch, rule by rule. What is expected is written as assert_part says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fold_rows.h"

static struct table *table(uint32_t oid, const char *key, char identity)
{
    return table_of(oid, key, identity, HARD);
}

static void insert(struct table *t, const char *values)
{
    assert_null(fold_insert(&fold, t, next_position(), row(values)));
}

static void update(struct table *t, const char *values, const char *old)
{
    assert_null(fold_update(&fold, t, next_position(), both(row(values), row(old))));
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
    for (const struct net *n = t->nets; n; n = n->next) {
        if (n->kind == NET_COUNT && !n->count)
            continue;
        if (b.len)
            buf_char(&b, ' ');
        print_net(&b, t, n);
    }
    assert_string_equal(b.data, expected);
    buf_free(&b);
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
    assert_part(t, "[b 1]@3 [a 3]@4");
    assert_int_equal(fold.rows, 2);
    delete (t, "a -");
    assert_part(t, "[b 1]@3 gone a@5");
    insert(t, "a 9");
    assert_part(t, "[b 1]@3 [a 9]@6");
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
    assert_part(t, "gone b@2 [a ~]@2");
}

static void a_row_on_the_key_of_one_that_moved_is_another(void **state)
{
    (void)state;
    struct table *t = table(1, "k..", 'd');
    update(t, "b ~ 1", "a - -");
    insert(t, "a new 2");
    update(t, "a ~ 3", "nil");
    assert_part(t, "[b ~ 1]<-a@1 [a new 3]@3");
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
    assert_int_equal(fold.rows, 1);
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
    assert_null(fold_update(&fold, t, next_position(),
                            both((struct mp){wide, wide + sizeof wide}, row("nil"))));
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
    assert_part(t, "+1 a -@3 -1 b 2@4 +1 a 1@5 +1 a 2@5");
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
    assert_int_equal(fold.rows, 0);
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
    assert_non_null(fold_update(&fold, t, at, both(row("~ 1"), row("nil"))));
    assert_non_null(fold_update(&fold, t, at, both(row("a 1"), row("- 1"))));
    assert_non_null(fold_delete(&fold, t, at, row("- 1")));
    assert_non_null(fold_delete(&fold, t, at, row("nil")));
    assert_non_null(fold_delete(&fold, keyless, at, row("a 1")));
    assert_non_null(fold_update(&fold, keyless, at, both(row("a 1"), row("a 2"))));
    assert_non_null(fold_update(&fold, full, at, both(row("a 1"), row("nil"))));
    assert_non_null(fold_insert(&fold, full, at, row("a ~")));
    assert_non_null(fold_delete(&fold, nothing, at, row("a 1")));
    assert_non_null(fold_update(&fold, nothing, at, both(row("a 1"), row("nil"))));
    assert_null(fold.changed); /* and left nothing */

    assert_null(fold_insert(&fold, nothing, at, row("a 1")));
    assert_null(fold_insert(&fold, keyless, at, row("a 1")));
    assert_non_null(fold_insert(&fold, nothing, at, row("b 1"))); /* the same position again */
    assert_part(nothing, "[a 1]@1");
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
