/* What dbx-load keeps: manifests, the state, and whose it is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../dbx-load/alter.h"
#include "../../dbx-load/claim.h"
#include "../../dbx-load/ledger.h"
#include "../../dbx-load/table.h"
#include "../../dbx-load/warehouse.h"
#include "dies.h"

/* The start of a run whose source is of four texts, that nobody frees. */
static struct start start_of(const char *const text[4])
{
    struct start s = {0};
    char **fields[] = {&s.source.system, &s.source.database, &s.source.slot,
                       &s.source.publications};

    for (int i = 0; i < 4; i++)
        *fields[i] = (char *)(uintptr_t)text[i];
    return s;
}

static char dir[] = "/tmp/test_load_state.XXXXXX";

/* A `load` frame with one step per name. */
static void pack_load(struct buf *b, uint64_t number, lsn_t lsn, const char *const *names, size_t n)
{
    msgpack_packer pk;

    pack_into(&pk, b);
    msgpack_pack_array(&pk, 2);
    pack_str(&pk, "load");
    msgpack_pack_map(&pk, 5);
    pack_str(&pk, "batch");
    msgpack_pack_uint64(&pk, number);
    pack_str(&pk, "from");
    msgpack_pack_uint64(&pk, lsn - 1);
    pack_str(&pk, "lsn");
    msgpack_pack_uint64(&pk, lsn);
    pack_str(&pk, "of a later version");
    msgpack_pack_nil(&pk);
    pack_str(&pk, "steps");
    msgpack_pack_array(&pk, n);
    for (size_t i = 0; i < n; i++) {
        msgpack_pack_map(&pk, 8);
        pack_str(&pk, "table");
        msgpack_pack_array(&pk, 3);
        pack_str(&pk, "c");
        pack_str(&pk, "s");
        pack_str(&pk, names[i]);
        pack_str(&pk, "source");
        pack_str(&pk, names[i]);
        pack_str(&pk, "oid");
        msgpack_pack_uint64(&pk, 5);
        pack_str(&pk, "columns");
        msgpack_pack_array(&pk, 1);
        msgpack_pack_array(&pk, 3);
        pack_str(&pk, "id");
        pack_str(&pk, "DECIMAL(10, 2)");
        msgpack_pack_int(&pk, 1);
        pack_str(&pk, "files");
        msgpack_pack_array(&pk, 1);
        pack_str(&pk, "a.parquet");
        pack_str(&pk, "defaults");
        msgpack_pack_map(&pk, 2);
        pack_str(&pk, "file");
        pack_str(&pk, "d.parquet");
        pack_str(&pk, "columns");
        msgpack_pack_array(&pk, 1);
        msgpack_pack_array(&pk, 3);
        msgpack_pack_int(&pk, 1);
        pack_str(&pk, "s.c1");
        pack_str(&pk, "5");
        pack_str(&pk, "properties");
        msgpack_pack_map(&pk, 3);
        pack_str(&pk, PROPERTY_PIPELINE);
        pack_str(&pk, "pipe's");
        pack_str(&pk, PROPERTY_SOURCE);
        pack_str(&pk, "1/db");
        pack_str(&pk, PROPERTY_TABLE);
        pack_str(&pk, "public.t");
        pack_str(&pk, "apply");
        msgpack_pack_array(&pk, 3);
        pack_str(&pk, "MERGE `");
        pack_str(&pk, "` AND `");
        pack_str(&pk, "`");
    }
}

/* The frame in these bytes, as it would come from a pipe. */
static struct frame frame_of(const struct buf *b)
{
    struct frame f = {.type = "load", .elements = 1};
    struct mp_token t;

    f.whole = f.body =
        (struct mp){(const unsigned char *)b->data, (const unsigned char *)b->data + b->len};
    assert_int_equal(mp_next(&f.body, &t), 1);
    assert_int_equal(mp_next(&f.body, &t), 1);
    return f;
}

static struct batch *saved_batch(const char *run, uint64_t number, lsn_t lsn)
{
    static const char *const names[] = {"t", "k"};
    struct buf b = {0};

    pack_load(&b, number, lsn, names, 2);
    struct frame f = frame_of(&b);
    struct batch *batch = batch_unpack(&f, run);
    batch_save(batch, dir, &f);
    buf_free(&b);
    return batch;
}

static void manifest_comes_back_as_it_was(void **state)
{
    struct batch *was = saved_batch("run", 7, 100), *is = batch_load(dir, "run", 7);

    (void)state;
    assert_int_equal(is->lsn, 100);
    assert_int_equal(is->from, 99);
    assert_int_equal(is->nsteps, 2);
    assert_string_equal(is->steps[1].name, "k");
    assert_string_equal(is->steps[0].files[0], "a.parquet");
    assert_string_equal(is->steps[0].defaults_file, "d.parquet");
    assert_string_equal(is->steps[0].defaults[0].expression, "s.c1");
    char *sql = batch_sql(&is->steps[0].apply, "/p`q");
    assert_string_equal(sql, "MERGE `/p``q` AND `/p``q`");
    free(sql);
    batch_free(was);
    batch_free(is);
}

static void load_damaged(const void *unused)
{
    (void)unused;
    batch_free(batch_load(dir, "run", 8));
}

static void damaged_manifest_is_refused(void **state)
{
    struct batch *b = saved_batch("run", 8, 100);
    char *path = mem_printf("%s/batches/run-8", dir);
    int fd = open(path, O_WRONLY);

    (void)state;
    assert_int_equal(pwrite(fd, "X", 1, 40), 1);
    assert_int_equal(exit_code_of(load_damaged, NULL), EX_DATAERR);
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_int_equal(exit_code_of(load_damaged, NULL), EX_DATAERR);
    close(fd);
    batch_forget(b, dir);
    assert_int_equal(exit_code_of(load_damaged, NULL), EX_DATAERR);
    batch_free(b);
    free(path);
}

static void unpack(const void *arg)
{
    struct frame f = frame_of(arg);

    batch_free(batch_unpack(&f, "run"));
}

static void frame_with_an_unsafe_file_is_refused(void **state)
{
    static const char *const names[] = {"t"};
    struct buf b = {0};

    (void)state;
    pack_load(&b, 1, 100, names, 1);
    memcpy(memmem(b.data, b.len, "a.parquet", 9), "../../etc", 9);
    assert_int_equal(exit_code_of(unpack, &b), EX_DATAERR);
    buf_clear(&b);
    pack_load(&b, 1, 100, names, 1);
    memcpy(memmem(b.data, b.len, "d.parquet", 9), "d/parquet", 9);
    assert_int_equal(exit_code_of(unpack, &b), EX_DATAERR);
    buf_free(&b);
    assert_true(batch_name_is_safe("run-1.parquet"));
    assert_false(batch_name_is_safe(".hidden"));
    assert_false(batch_name_is_safe("a/b"));
    assert_false(batch_name_is_safe(""));
}

static void step_without_its_oid_is_refused(void **state)
{
    static const char *const names[] = {"t"};
    struct buf b = {0};

    (void)state;
    pack_load(&b, 1, 100, names, 1);
    memcpy(memmem(b.data, b.len, "oid", 3), "oil", 3);
    assert_int_equal(exit_code_of(unpack, &b), EX_DATAERR);
    buf_free(&b);
}

static void ledger_comes_back_as_it_was(void **state)
{
    struct ledger was = {.dir = dir}, is;
    struct start start = start_of((const char *const[]){"1", "my db", "s", "p=1"});
    struct snapshot snapshot = {5, 6, 7, 8, "public", "t 1", "append", "`c`.`s`.`t 1`"};

    (void)state;
    claim_ledger(&was, &start, "host", "c", "source", "/Volumes/c/s/v/n");
    ledger_set(&was.run, "run");
    was.prepared = 200;
    was.applied = 100;
    ledger_set(&was.loaded_run, "run");
    was.loaded = 2;
    ledger_add(&was, saved_batch("run", 3, 150));
    ledger_add(&was, batch_new("run", 4, 200));
    was.batches->steps[0].done = true;
    was.batches->steps[1].version = 12;
    ledger_set(&was.batches->steps[1].statement, "id-1");
    was.batches->steps[1].shaping = true;
    ledger_note_snapshot(&was, &snapshot);
    snapshot.attempt = 9;
    ledger_note_snapshot(&was, &snapshot);
    ledger_record_error(&was, "it went wrong, 100%\n");

    ledger_read(&is, dir);
    assert_true(is.exists);
    assert_false(is.open);
    assert_string_equal(is.source.database, "my db");
    assert_string_equal(is.staging, "/Volumes/c/s/v/n");
    assert_int_equal(is.prepared, 200);
    assert_int_equal(is.applied, 100);
    assert_int_equal(is.loaded, 2);
    assert_string_equal(is.error, "it went wrong, 100%\n");
    assert_int_equal(is.nsnapshots, 1);
    assert_int_equal(ledger_snapshot(&is, 5)->attempt, 9);
    assert_string_equal(ledger_snapshot(&is, 5)->table, "t 1");
    assert_null(ledger_snapshot(&is, 6));
    assert_string_equal(ledger_snapshot_of(&is, "public.t 1")->mode, "append");
    assert_null(ledger_snapshot_of(&is, "public.t"));
    assert_int_equal(ledger_snapshot_in(&is, "`c`.`s`.`t 1`", 0)->oid, 5);
    ledger_note_place(&is, ledger_snapshot(&is, 5), "a.public.u", "`c`.`s`.`u`");
    assert_string_equal(ledger_snapshot(&is, 5)->schema, "a.public");
    assert_string_equal(ledger_snapshot_of(&is, "a.public.u")->target, "`c`.`s`.`u`");
    struct step *steps = is.batches->steps;
    assert_true(steps[0].done);
    assert_int_equal(steps[0].version, -1);
    assert_false(steps[1].done);
    assert_int_equal(steps[1].version, 12);
    assert_string_equal(steps[1].statement, "id-1");
    assert_true(steps[1].shaping);
    assert_true(steps[1].unsure);
    assert_int_equal(is.batches->next->number, 4);
    assert_true(batch_is_done(is.batches->next));
    assert_null(is.batches->next->next);
    ledger_free(&was);
    ledger_free(&is);
}

static void batch_that_is_behind_comes_back_with_the_steps_that_are_left(void **state)
{
    struct ledger was = {.dir = dir}, is;

    (void)state;
    ledger_add(&was, saved_batch("run", 3, 150));
    ledger_add(&was, saved_batch("run", 4, 160));
    was.batches->steps[0].done = true;
    was.batches->steps[1].version = 12;
    ledger_acknowledge(&was, was.batches);
    ledger_save(&was);

    ledger_read(&is, dir);
    assert_int_equal(is.applied, 150);
    assert_int_equal(is.loaded, 3);
    assert_true(is.batches->acknowledged);
    assert_true(is.batches->steps[0].done);
    assert_false(is.batches->steps[1].done);
    assert_int_equal(is.batches->steps[1].version, 12);
    assert_false(is.batches->next->acknowledged);
    assert_false(is.batches->next->steps[0].done);
    ledger_free(&was);
    ledger_free(&is);
}

static void manifests_that_the_state_does_not_name_go(void **state)
{
    struct batch *kept = saved_batch("run", 20, 100), *gone = saved_batch("run", 21, 101);
    char *path = mem_printf("%s/batches/run-", dir);
    char *kept_path = mem_printf("%s20", path), *gone_path = mem_printf("%s21", path);

    (void)state;
    batch_forget_others(kept, dir);
    assert_int_equal(access(kept_path, F_OK), 0);
    assert_int_not_equal(access(gone_path, F_OK), 0);
    batch_free(kept);
    batch_free(gone);
    free(path);
    free(kept_path);
    free(gone_path);
}

static void claim(const void *arg)
{
    struct start second = start_of(arg);
    struct start first = start_of((const char *const[]){"1", "d", "s", "p=q=1,r=2"});
    struct ledger l = {0};

    claim_ledger(&l, &first, "host", "c", "n", "/Volumes/c/s/v/n");
    claim_ledger(&l, &second, "host", "c", "n", "/Volumes/c/s/v/n");
    ledger_free(&l);
}

static void state_of_another_source_is_refused(void **state)
{
    static const struct {
        const char *source[4];
        int code;
    } cases[] = {
        {{"1", "d", "s", "p=q=1,r=2"}, -1},        {{"2", "d", "s", "p=q=1,r=2"}, EX_CONFIG},
        {{"1", "e", "s", "p=q=1,r=2"}, EX_CONFIG}, {{"1", "d", "t", "p=q=1,r=2"}, EX_CONFIG},
        {{"1", "d", "s", "p=q=3,r=2"}, EX_CONFIG}, {{"1", "d", "s", "p=q=1,r=22"}, EX_CONFIG},
        {{"1", "d", "s", "new=1,p=q=1,r=2"}, -1},  {{"1", "d", "s", "p=9,p=q=1"}, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(exit_code_of(claim, cases[i].source), cases[i].code);
}

static struct statement *result(const char *rows)
{
    struct statement *s = mem_alloc(sizeof *s);
    char *body = mem_printf("{\"statement_id\":\"i\",\"status\":{\"state\":\"SUCCEEDED\"},"
                            "\"result\":{\"data_array\":%s}}",
                            rows);

    assert_true(warehouse_parse(s, body, strlen(body)));
    free(body);
    return s;
}

/* A table with these columns and properties, and a step for it; adds the missing columns. */
static void conform(const char *columns, const char *properties, const char *expected)
{
    static const char *const names[] = {"t"};
    struct buf b = {0};

    pack_load(&b, 1, 100, names, 1);
    struct frame f = frame_of(&b);
    struct batch *batch = batch_unpack(&f, "run");
    struct table *t = table_new(&batch->steps[0]);
    struct statement *c = result(columns), *p = result(properties);
    table_take_columns(t, c);
    table_take_properties(t, p);
    assert_int_equal(table_owner(t, &batch->steps[0]), TABLE_OURS);
    struct columns_have have = {.table = t->name, .n = t->ncolumns, .columns = t->columns};
    have.property = expected ? "{\"oid\":5,\"lsn\":\"0/0\",\"seq\":0,\"columns\":"
                               "{\"1\":\"id\"},\"adding\":[1]}"
                             : "{\"oid\":5,\"lsn\":\"0/0\",\"seq\":0,\"columns\":{\"1\":\"id\"}}";
    t->change = columns_next(&have, &batch->steps[0], &t->memory);
    char *sql = alter_sql(t, &batch->steps[0], NULL, "p");
    assert_true(sql == expected || !strcmp(sql, expected));
    free(sql);
    statement_free(c);
    statement_free(p);
    table_free(t);
    batch_free(batch);
    buf_free(&b);
}

#define OURS                                                        \
    "[[\"pgcdc.pipeline\",\"pipe's\"],[\"pgcdc.source\",\"1/db\"]," \
    "[\"pgcdc.table\",\"public.t\"]]"

static void table_gets_the_columns_that_it_lacks(void **state)
{
    (void)state;
    conform("[[\"ID\",\"decimal(10,2)\",null],[\"mine\",\"int\",null]]", OURS, NULL);
    conform("[[\"x\",\"int\",null],[\"\",\"\",\"\"],[\"# "
            "Partitioning\",\"\",\"\"],[\"id\",\"int\",\"\"]]",
            OURS, "ALTER TABLE `c`.`s`.`t` ADD COLUMNS (`id` DECIMAL(10, 2))");
}

static void conform_other_type(const void *unused)
{
    (void)unused;
    conform("[[\"id\",\"decimal(10,3)\",null]]", OURS, NULL);
}

static void conform_other_owner(const void *unused)
{
    (void)unused;
    conform("[[\"id\",\"decimal(10,2)\",null]]", "[[\"pgcdc.pipeline\",\"x\"]]", NULL);
}

static void conform_other_table(const void *unused)
{
    (void)unused;
    conform("[[\"id\",\"decimal(10,2)\",null]]",
            "[[\"pgcdc.pipeline\",\"pipe's\"],[\"pgcdc.source\",\"1/db\"],"
            "[\"pgcdc.table\",\"public.T\"]]",
            NULL);
}

static void what_a_table_may_not_be(void **state)
{
    (void)state;
    assert_int_equal(exit_code_of(conform_other_table, NULL), EX_CONFIG);
    assert_int_equal(exit_code_of(conform_other_type, NULL), EX_CONFIG);
    assert_int_equal(exit_code_of(conform_other_owner, NULL), EX_CONFIG);
}

static int make_dir(void **state)
{
    (void)state;
    msg_init("test");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char *command = mem_printf("rm -r %s", dir);
    int code = system(command);

    (void)state;
    free(command);
    return code;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest_comes_back_as_it_was),
        cmocka_unit_test(damaged_manifest_is_refused),
        cmocka_unit_test(frame_with_an_unsafe_file_is_refused),
        cmocka_unit_test(step_without_its_oid_is_refused),
        cmocka_unit_test(ledger_comes_back_as_it_was),
        cmocka_unit_test(batch_that_is_behind_comes_back_with_the_steps_that_are_left),
        cmocka_unit_test(manifests_that_the_state_does_not_name_go),
        cmocka_unit_test(state_of_another_source_is_refused),
        cmocka_unit_test(table_gets_the_columns_that_it_lacks),
        cmocka_unit_test(what_a_table_may_not_be),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
