/*
 * What a statement contains, and above all what it does not: a plain batch must get a plain MERGE.
 * That the statements do what they should is what tests/test_merge_sql.py asks the engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cdc-merge/sql.h"

static const struct sql_place place = {"cat", "/Volumes/c/s/v/pipe", "/Volumes/c/s/v/pipe/run"};

static struct tables tables;
static struct staged *staged;
static struct buf sql;

static struct table *table(const char *types, unsigned nkey)
{
    struct relation *r = mem_alloc(sizeof *r);
    r->oid = 1;
    r->schema = mem_strdup("Sch");
    r->table = mem_strdup("t`ab");
    r->identity = 'd';
    r->ncolumns = (unsigned)strlen(types);
    r->columns = mem_alloc(r->ncolumns * sizeof *r->columns);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        struct column *c = &r->columns[i];
        c->name = mem_printf("n%u", i + 1);
        c->type = mem_strdup("type");
        c->attnum = (int)i + 1;
        /* integer, double precision, text */
        c->oid = c->base = types[i] == 'i' ? 23 : types[i] == 'd' ? 701 : 25;
        c->typmod = -1;
        c->key = i < nkey;
    }
    r->nkey = nkey;
    return tables_add(&tables, r);
}

static struct staged *begin(const char *types, unsigned nkey)
{
    struct staged *s = staged_of(&staged, table(types, nkey));
    staged_add_file(s, mem_strdup("1.parquet"));
    s->files[s->nfiles - 1].rows = 1;
    return s;
}

/* The statement of a batch, with ? where the permit goes. */
static const char *change(const struct staged *s)
{
    buf_clear(&sql);
    sql_change(&sql, &place, s);
    for (size_t i = 0; i < sql.len; i++)
        if (sql.data[i] == SQL_PERMIT)
            sql.data[i] = '?';
    return sql.data;
}

static bool has(const char *text)
{
    return strstr(sql.data, text) != NULL;
}

static unsigned count(const char *text)
{
    unsigned n = 0;
    for (const char *p = sql.data; (p = strstr(p, text)); p++)
        n++;
    return n;
}

static int set_up(void **state)
{
    (void)state;
    tables = (struct tables){.names = {.namespace = "source", .prefix = ""}};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    staged_free(&staged);
    tables_free(&tables);
    buf_free(&sql);
    return 0;
}

static void test_a_plain_batch_gets_a_plain_merge(void **state)
{
    (void)state;
    struct staged *s = begin("it", 1);
    staged_bound(s, 0, &s->shape->columns[0].parquet, &(union parquet_value){.i = -5});
    staged_bound(s, 0, &s->shape->columns[0].parquet, &(union parquet_value){.i = 7});
    assert_string_equal(
        change(s),
        "MERGE INTO `cat`.`Sch`.`t``ab` AS t\n"
        "USING (SELECT s.* FROM (\n"
        "SELECT c1, c2, _removed, _cdc_lsn, _cdc_seq, _cdc_commit_time, _cdc_unrepresentable "
        "FROM parquet.`/Volumes/c/s/v/pipe/run/1.parquet`) AS s "
        "JOIN parquet.`?` AS p ON p._permit = 1) AS s\n"
        "ON t.`n1` = s.c1 AND t.`n1` BETWEEN -5 AND 7\n"
        "WHEN MATCHED AND (t._cdc_lsn IS NULL OR s._cdc_lsn > t._cdc_lsn OR s._cdc_lsn = "
        "t._cdc_lsn AND s._cdc_seq > t._cdc_seq) AND s._removed THEN DELETE\n"
        "WHEN MATCHED AND (t._cdc_lsn IS NULL OR s._cdc_lsn > t._cdc_lsn OR s._cdc_lsn = "
        "t._cdc_lsn AND s._cdc_seq > t._cdc_seq) THEN UPDATE SET `n1` = s.c1, `n2` = s.c2, "
        "_cdc_lsn = s._cdc_lsn, _cdc_seq = s._cdc_seq, _cdc_commit_time = s._cdc_commit_time, "
        "_cdc_unrepresentable = s._cdc_unrepresentable\n"
        "WHEN NOT MATCHED AND NOT s._removed THEN INSERT (`n1`, `n2`, _cdc_lsn, _cdc_seq, "
        "_cdc_commit_time, _cdc_unrepresentable)\n"
        "  VALUES (s.c1, s.c2, s._cdc_lsn, s._cdc_seq, s._cdc_commit_time, "
        "s._cdc_unrepresentable)");
}

static void test_several_parts_need_a_window_and_no_more(void **state)
{
    (void)state;
    struct staged *s = begin("it", 1);
    staged_add_file(s, mem_strdup("2.parquet"));
    change(s);
    assert_int_equal(count("lead(_part) OVER (PARTITION BY c1"), 1);
    assert_true(has("0 AS _part") && has("1 AS _part"));
    assert_false(has("_unchanged") || has("LEFT JOIN") || has("CASE"));
}

static void test_equal_keys_of_different_texts_need_the_window_always(void **state)
{
    (void)state;
    change(begin("dt", 1));
    assert_true(has("lead(_part)"));
}

static void test_only_columns_with_unchanged_values_are_looked_up(void **state)
{
    (void)state;
    struct staged *s = begin("itt", 1);
    staged_set_unchanged(s, 3);
    change(s);
    assert_true(has("ELSE t.`n3` END"));
    assert_true(has("`n2` = s.c2"));
    assert_false(has("x2") || has("_part") || has("LEFT JOIN"));
}

static void test_carried_values_are_joined_and_hop_from_part_to_part(void **state)
{
    (void)state;
    struct staged *s = begin("iit", 2);
    staged_set_unchanged(s, 3);
    s->files[0].carries = true;
    change(s);
    assert_true(has("LEFT JOIN `cat`.`Sch`.`t``ab` AS o ON o.`n1` = s.k1 AND o.`n2` = s.k2"));
    assert_false(has("LEFT JOIN b")); /* there is no part before */

    for (unsigned i = 2; i <= 20; i++) {
        staged_add_file(s, mem_printf("%u.parquet", i));
        staged_carry(s, 100 + i, 200 + i); /* all of them other keys */
    }
    staged_carry(s, 1, 120); /* the one from before within the part is none from before it */
    assert_int_equal(staged_hops(s, true), 1);
    assert_int_equal(staged_hops(s, false), 19);
    staged_add_file(s, mem_strdup("21.parquet"));
    staged_carry(s, 2, 120); /* which came from 220 */
    assert_int_equal(staged_hops(s, true), 2);
    change(s);
    assert_int_equal(count("LEFT JOIN b"), 2);
}

static void test_a_truncate_voids_what_came_before(void **state)
{
    (void)state;
    struct staged *s = begin("it", 1);
    staged_set_unchanged(s, 2);
    staged_bound(s, 0, &s->shape->columns[0].parquet, &(union parquet_value){.i = 1});
    staged_clear(s, &(struct staged_position){500, 3, 0});
    change(s);
    assert_false(has("1.parquet"));
    assert_true(has("WHEN NOT MATCHED BY SOURCE AND (t._cdc_lsn IS NULL OR t._cdc_lsn < 500 OR "
                    "t._cdc_lsn = 500 AND t._cdc_seq < 3) THEN DELETE"));
    assert_int_equal(count("`?`"), 1);

    staged_add_file(s, mem_strdup("2.parquet"));
    staged_bound(s, 0, &s->shape->columns[0].parquet, &(union parquet_value){.i = 2});
    change(s);
    assert_true(has("2.parquet") && has("NOT MATCHED BY SOURCE"));
    assert_true(has("BETWEEN 2 AND 2")); /* not of what is void */
    assert_false(has("x2"));
    assert_int_equal(staged_rows(s), 1);
}

static void test_rows_without_a_key_are_inserted_where_that_is_enough(void **state)
{
    (void)state;
    struct staged *s = begin("it", 0);
    change(s);
    assert_memory_equal(sql.data, "INSERT INTO", 11);
    assert_false(has("explode"));
    s->copies = true;
    change(s);
    assert_true(has("explode(sequence(CAST(1 AS BIGINT), s._count))"));
    s->removes = true;
    change(s);
    assert_memory_equal(sql.data, "MERGE INTO", 10);
}

static void test_every_statement_reads_the_permit(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {{"it", "k"}, {"it", ""}, {"dt", "k"}};
    for (size_t i = 0; i < 3; i++) {
        struct staged *s = begin(kinds[i][0], kinds[i][1][0] == 'k');
        for (int files = 0; files < 2; files++) {
            for (int statement = 0; statement < 3; statement++) {
                s->first_file = files ? 0 : s->nfiles;
                s->cleared = !files;
                buf_clear(&sql);
                if (statement == 0)
                    sql_create(&sql, &place, s);
                else if (statement == 1)
                    sql_replace(&sql, &place, s);
                else
                    sql_change(&sql, &place, s);
                assert_non_null(memchr(sql.data, SQL_PERMIT, sql.len));
            }
        }
        tear_down(NULL);
        set_up(NULL);
    }
}

static void test_bounds_of_texts_are_quoted_and_short(void **state)
{
    (void)state;
    struct staged *s = begin("tt", 1);
    const struct parquet_column *c = &s->shape->columns[0].parquet;
    staged_bound(s, 0, c, &(union parquet_value){.bytes = {"it's\\", 5}});
    change(s);
    assert_true(has("BETWEEN 'it\\'s\\\\' AND 'it\\'s\\\\'"));
    char text[200];
    memset(text, 'x', sizeof text);
    staged_bound(s, 0, c, &(union parquet_value){.bytes = {text, sizeof text}});
    change(s);
    assert_false(has("BETWEEN"));
}

static void test_bounds_of_four_key_columns(void **state)
{
    (void)state;
    struct staged *s = begin("iiiii", 5);
    s->shape->columns[1].parquet = (struct parquet_column){
        .type = PARQUET_DECIMAL, .shape = PARQUET_SCALAR, .precision = 5, .scale = 2};
    s->shape->columns[2].parquet.type = PARQUET_DOUBLE;
    s->shape->columns[3].parquet.type = PARQUET_TIMESTAMP;
    for (unsigned i = 0; i < 5; i++)
        staged_bound(s, i, &s->shape->columns[i].parquet, &(union parquet_value){.decimal = 7});
    staged_bound(s, 1, &s->shape->columns[1].parquet, &(union parquet_value){.decimal = -12345});
    change(s);
    assert_true(
        has(" AND t.`n1` BETWEEN 7 AND 7 AND t.`n2` BETWEEN CAST('-123.45' AS DECIMAL(5,2)) "
            "AND CAST('0.07' AS DECIMAL(5,2)) AND t.`n4` BETWEEN timestamp_micros(7) AND "
            "timestamp_micros(7)\n"));
}

static void test_a_new_table_is_made_from_all_that_is_staged(void **state)
{
    (void)state;
    struct staged *s = begin("it", 1);
    buf_clear(&sql);
    sql_create(&sql, &place, s);
    assert_true(has("SELECT s.c1 AS `n1`, s.c2 AS `n2`, s._cdc_lsn"));
}

static void assert_writes(const struct staged *s, bool replace, uint64_t least, uint64_t most)
{
    struct sql_written w = sql_written(s, replace);
    assert_int_equal(w.least, least);
    assert_true(w.most == most);
}

static void test_how_much_a_statement_writes(void **state)
{
    (void)state;
    struct staged *s = begin("it", 1);
    staged_add_file(s, mem_strdup("2.parquet"));
    s->files[1].rows = 4;
    assert_writes(s, false, 0, 5);
    assert_writes(s, true, 5, 5);
    s->first_file = 1;
    assert_writes(s, true, 4, 4);
    s->nearlier = 1; /* some of them are only keys */
    assert_writes(s, true, 4, 4);
    s->nearlier = 0;
    tear_down(NULL);
    set_up(NULL);
    s = begin("it", 0);
    s->added = 9; /* copies of one row */
    assert_writes(s, false, 9, 9);
    assert_writes(s, true, 9, 9);
    s->removes = true;
    assert_writes(s, false, 0, SQL_ANY);
    assert_writes(s, true, 0, SQL_ANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_plain_batch_gets_a_plain_merge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_parts_need_a_window_and_no_more, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_equal_keys_of_different_texts_need_the_window_always,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_columns_with_unchanged_values_are_looked_up,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_carried_values_are_joined_and_hop_from_part_to_part,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_truncate_voids_what_came_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows_without_a_key_are_inserted_where_that_is_enough,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_statement_reads_the_permit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds_of_four_key_columns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds_of_texts_are_quoted_and_short, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_new_table_is_made_from_all_that_is_staged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_how_much_a_statement_writes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
