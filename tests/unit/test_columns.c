/* What dbx-load does to the columns of a table, step by step, on a table that is only played: from
 * any state, and from whatever a crash leaves, it gets to the definition, and every column that the
 * source still has keeps its values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../dbx-load/colmap.h"
#include "../../dbx-load/columns.h"
#include "../../dbx-load/widen.h"
#include "../../common/names.h"
#include "dies.h"

enum { MAX = 64 };

/* A table, in which a column is known by its number whatever its name is. `key` is the name under
 * which _cdc_unrepresentable has its texts. */
static struct {
    struct load_column column[MAX];
    int number[MAX];
    const char *key[MAX];
    unsigned n;
    int last;
    const char *property;
    bool moved, filled;
    unsigned changes;
    char log[4000]; /* what was done, one letter for each kind, then names */
} table;

static struct arena arena; /* whatever a test makes */

static struct batch batch;
static struct load_column definition[MAX];
static struct step step;

static const char *copy(const char *text)
{
    return arena_copy(&arena, text, strlen(text) + 1);
}

static void has(const char *name, const char *type)
{
    table.column[table.n] = (struct load_column){.name = copy(name), .type = copy(type)};
    table.key[table.n] = table.column[table.n].name;
    table.number[table.n++] = ++table.last;
}

/* "id BIGINT, note STRING": columns of the table. */
static void table_with(const char *columns, const char *property)
{
    char name[64], type[64];
    int n;

    arena_reset(&arena);
    memset(&table, 0, sizeof table);
    for (; sscanf(columns, " %63s %63[^;]%n", name, type, &n) == 2;
         columns += n + (columns[n] != 0))
        has(name, type);
    table.property = property;
}

/* "1 id BIGINT; 2 note STRING": the definition that is wanted as of position 0/`lsn`. */
static void want(const char *columns, lsn_t lsn)
{
    char name[64], type[64];
    int n;

    memset(&step, 0, sizeof step);
    memset(&batch, 0, sizeof batch);
    step.batch = &batch;
    step.columns = definition;
    step.oid = 7;
    step.relation.lsn = lsn;
    step.nkey = 1;
    for (int attnum; sscanf(columns, " %d %63s %63[^;]%n", &attnum, name, type, &n) == 3;
         columns += n + (columns[n] != 0))
        definition[step.ncolumns++] =
            (struct load_column){.attnum = attnum, .name = copy(name), .type = copy(type)};
}

static unsigned place_of(const char *name)
{
    for (unsigned i = 0; i < table.n; i++)
        if (names_equal(table.column[i].name, name))
            return i;
    fail_msg("the table has no column %s", name);
    return 0;
}

/* Only rows that have texts under the one name are touched. */
static void move_key(const char *from, const char *to)
{
    for (unsigned i = 0; i < table.n; i++) {
        if (strcmp(table.key[i], from))
            continue;
        for (unsigned k = 0; to && k < table.n; k++)
            if (!strcmp(table.key[k], to))
                table.key[k] = "";
        table.key[i] = to ? copy(to) : "";
    }
}

static void make(const struct change *c)
{
    size_t len = strlen(table.log);

    snprintf(table.log + len, sizeof table.log - len, "%s%c %s>%s", len ? ", " : "",
             "-NTRDWAF"[c->kind], c -> name ? c -> name : "",
             c->kind != CHANGE_NOTE && c->text ? c->text : "");
    unsigned at = c->name && c->kind != CHANGE_TEXTS ? place_of(c->name) : 0;
    switch (c->kind) {
    case CHANGE_NOTE:
        table.property = copy(c->text);
        break;
    case CHANGE_TEXTS:
        move_key(c->name, c->text);
        break;
    case CHANGE_RENAME:
        assert_null(columns_find(table.column, table.n, c->text)); /* Delta refuses that */
        table.column[at].name = copy(c->text);
        break;
    case CHANGE_DROP:
        table.n--;
        memmove(&table.column[at], &table.column[at + 1], (table.n - at) * sizeof *table.column);
        memmove(&table.number[at], &table.number[at + 1], (table.n - at) * sizeof *table.number);
        memmove(&table.key[at], &table.key[at + 1], (table.n - at) * sizeof *table.key);
        break;
    case CHANGE_WIDEN:
        assert_true(widen_is_possible(table.column[at].type, c->text));
        table.column[at].type = copy(c->text);
        break;
    case CHANGE_ADD:
        for (unsigned i = 0; i < c->ncolumns; i++) {
            assert_null(columns_find(table.column, table.n, c->columns[i]->name));
            has(c->columns[i]->name, c->columns[i]->type);
        }
        break;
    case CHANGE_FILL:
        assert_true(c->ncolumns > 0);
        for (unsigned i = 0; i < c->ncolumns; i++)
            place_of(c->columns[i]->name);
        break;
    case CHANGE_NONE:
        break;
    }
    table.moved = c->kind == CHANGE_TEXTS;
    table.filled = c->kind == CHANGE_FILL;
    table.changes++;
}

static struct change next(struct arena *a)
{
    struct columns_have have = {.table = "t",
                                .n = table.n,
                                .columns = table.column,
                                .property = table.property,
                                .moved = table.moved,
                                .filled = table.filled};

    return columns_next(&have, &step, a);
}

/* Makes at most this many changes; true: there are no more. */
static bool go(unsigned most)
{
    for (unsigned i = 0;; i++) {
        struct arena a = {0};
        struct change c = next(&a);
        if (c.kind && i < most)
            make(&c);
        arena_free(&a);
        if (!c.kind || i >= most)
            return !c.kind;
    }
}

/* To the end, with a crash after every change, which forgets what is not in the table. */
static void go_crashing(void)
{
    for (unsigned i = 0; !go(1); i++) {
        assert_true(i < 1000);
        if (i % 2)
            table.moved = table.filled = false;
    }
}

static void finish(void)
{
    assert_true(go(1000));
}

/* The table's columns, in their order: "1:id 3:note". */
static void assert_columns(const char *expected)
{
    struct buf b = {0};

    for (unsigned i = 0; i < table.n; i++)
        buf_printf(&b, "%s%d:%s", i ? " " : "", table.number[i], table.column[i].name);
    assert_string_equal(b.data, expected);
    buf_free(&b);
}

#define MAP(columns, more) \
    "{\"oid\":7,\"lsn\":\"0/64\",\"seq\":0,\"columns\":{" columns "}" more "}"
#define MAP_AT(lsn, columns, more) \
    "{\"oid\":7,\"lsn\":\"0/" lsn "\",\"seq\":0,\"columns\":{" columns "}" more "}"

/* ------------------------------------------------------------------ one thing at a time */

static void nothing_to_do(void **state)
{
    (void)state;
    table_with("id bigint; V string; mine int", MAP("\"1\":\"id\",\"2\":\"v\"", ""));
    want("1 id BIGINT; 2 v STRING", 200);
    finish();
    assert_int_equal(table.changes, 0); /* not for a newer position alone */
}

static void table_without_the_property_is_matched_by_name(void **state)
{
    (void)state;
    table_with("ID bigint; v string; mine int", NULL);
    want("1 id BIGINT; 2 v STRING", 100);
    finish();
    assert_columns("1:ID 2:v 3:mine");
    assert_string_equal(table.property, MAP("\"1\":\"id\",\"2\":\"v\"", ""));
    assert_int_equal(table.changes, 1);
}

static void column_is_noted_before_it_is_added(void **state)
{
    static struct default_value value = {2, "s.c2", "x"};

    (void)state;
    table_with("id bigint", MAP("\"1\":\"id\"", ""));
    want("1 id BIGINT; 2 v STRING; 0 _cdc_lsn BIGINT", 200);
    step.defaults = &value;
    step.ndefaults = 1;
    assert_false(go(1));
    assert_string_equal(table.property,
                        MAP_AT("C8", "\"1\":\"id\",\"2\":\"v\"", ",\"adding\":[2]"));
    assert_false(go(1));
    assert_columns("1:id 2:v 3:_cdc_lsn");
    finish();
    assert_string_equal(table.log, "N >, A >, F >, N >");
    assert_string_equal(table.property, MAP_AT("C8", "\"1\":\"id\",\"2\":\"v\"", ""));
}

static void added_column_is_filled_where_that_means_something(void **state)
{
    static const char *const logs[] = {"N >, A >, N >", "N >, A >, F >, N >", "N >, A >, N >",
                                       "N >, A >, N >"};
    static struct property append = {PROPERTY_MODE, "append"};
    static struct default_value value = {2, "s.c2", "x"};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        table_with("id bigint", MAP("\"1\":\"id\"", ""));
        want("1 id BIGINT; 2 v STRING", 200);
        step.nkey = i == 0 || i == 3; /* with a key, and without; events; a snapshot */
        step.properties = i == 2 ? &append : NULL;
        step.nproperties = i == 2;
        batch.is_snapshot = i == 3;
        step.defaults = &value;
        step.ndefaults = i == 3;
        finish();
        assert_string_equal(table.log, logs[i]);
    }
}

static void column_is_renamed(void **state)
{
    (void)state;
    table_with("id bigint; v string", MAP("\"1\":\"id\",\"2\":\"v\"", ""));
    want("1 id BIGINT; 2 w STRING", 200);
    finish();
    assert_columns("1:id 2:w");
    assert_string_equal(table.log, "R v>w, N >");
    assert_string_equal(table.property, MAP_AT("C8", "\"1\":\"id\",\"2\":\"w\"", ""));
}

static void texts_go_with_a_column_that_may_have_some(void **state)
{
    (void)state;
    table_with("d date; v string; _cdc_unrepresentable map<string,string>",
               MAP("\"1\":\"d\",\"2\":\"v\"", ""));
    want("1 day DATE; 2 w STRING", 200);
    finish();
    assert_string_equal(table.log, "T d>day, R d>day, R v>w, N >");
    step.drops = true;
    want("2 w STRING", 300);
    step.drops = true;
    finish();
    assert_columns("2:w 3:_cdc_unrepresentable");
    assert_string_equal(table.log, "T d>day, R d>day, R v>w, N >, T day>, D day>, N >");
}

static void only_the_case_of_a_name_changes(void **state)
{
    (void)state;
    table_with("Name string", MAP("\"1\":\"Name\"", ""));
    want("1 name STRING", 200);
    go_crashing();
    assert_columns("1:name");
}

static void older_relation_does_nothing(void **state)
{
    (void)state;
    table_with("id bigint; w string", MAP("\"1\":\"id\",\"2\":\"w\"", ""));
    want("1 id BIGINT; 2 v INT; 3 x INT", 99);
    finish();
    assert_int_equal(table.changes, 0);
    want("1 id BIGINT; 2 v STRING", 99);
    batch.is_snapshot = true; /* which brings all rows of its shape */
    finish();
    assert_columns("1:id 2:v");
}

static void dropped_column_is_kept_or_dropped(void **state)
{
    (void)state;
    table_with("id bigint; v string", MAP("\"1\":\"id\",\"2\":\"v\"", ""));
    want("1 id BIGINT", 200);
    finish();
    assert_columns("1:id 2:v");
    assert_string_equal(table.property, MAP_AT("C8", "\"1\":\"id\"", ",\"dropped\":{\"v\":2}"));
    want("1 id BIGINT; 3 V STRING", 300); /* its name is used anew */
    go_crashing();
    assert_columns("1:id 2:_cdc_dropped_2_v 3:V");
    want("1 id BIGINT; 4 v INT", 400); /* and again */
    go_crashing();
    assert_columns("1:id 2:_cdc_dropped_2_v 3:_cdc_dropped_3_V 4:v");
    want("1 id BIGINT; 5 v STRING", 500);
    step.drops = true;
    go_crashing();
    assert_columns("1:id 2:_cdc_dropped_2_v 3:_cdc_dropped_3_V 5:v");
}

static void name_of_a_kept_column_is_a_free_one(void **state)
{
    (void)state;
    table_with("id bigint; v string; _cdc_dropped_2_v int; _CDC_dropped_2_v_2 int",
               MAP("\"1\":\"id\",\"2\":\"v\"", ""));
    want("1 id BIGINT; 3 v STRING", 300);
    go_crashing();
    assert_columns("1:id 2:_cdc_dropped_2_v_3 3:_cdc_dropped_2_v 4:_CDC_dropped_2_v_2 5:v");
}

static void column_that_comes_back_is_the_same(void **state)
{
    (void)state;
    table_with("id bigint; v string", MAP("\"1\":\"id\"", ",\"dropped\":{\"v\":2}"));
    want("1 id BIGINT; 2 w STRING", 300);
    batch.is_snapshot = true;
    go_crashing();
    assert_columns("1:id 2:w");
    assert_string_equal(table.property, MAP_AT("12C", "\"1\":\"id\",\"2\":\"w\"", ""));
}

static void names_are_swapped(void **state)
{
    (void)state;
    table_with("a int; b int; c int", MAP("\"1\":\"a\",\"2\":\"b\",\"3\":\"c\"", ""));
    want("1 b INT; 2 a INT; 3 c INT", 200);
    go_crashing();
    assert_columns("1:b 2:a 3:c");
    want("1 c INT; 2 b INT; 3 a INT", 300);
    finish();
    assert_columns("1:c 2:b 3:a");
}

static void chain_of_renames_needs_no_detour(void **state)
{
    (void)state;
    table_with("a int; b int; c int", MAP("\"1\":\"a\",\"2\":\"b\",\"3\":\"c\"", ""));
    want("1 b INT; 2 c INT; 3 d INT", 200);
    finish();
    assert_columns("1:b 2:c 3:d");
    assert_string_equal(table.log, "R c>d, N >, R b>c, N >, R a>b, N >");
}

static void type_becomes_wider(void **state)
{
    (void)state;
    table_with("id int; n decimal(10,2); a array<int>",
               MAP("\"1\":\"id\",\"2\":\"n\",\"3\":\"a\"", ""));
    want("1 id BIGINT; 2 m DECIMAL(12, 4); 3 a ARRAY<BIGINT>", 200);
    go_crashing();
    assert_columns("1:id 2:m 3:a");
    assert_string_equal(table.column[0].type, "BIGINT");
    assert_string_equal(table.column[1].type, "DECIMAL(12, 4)");
}

static void other_type_of_a_snapshot_is_another_column(void **state)
{
    (void)state;
    for (int drops = 0; drops < 2; drops++) {
        table_with("id int; n bigint; m string", MAP("\"1\":\"id\",\"2\":\"n\",\"3\":\"m\"", ""));
        want("1 id INT; 2 n STRING; 3 k INT", 200);
        batch.is_snapshot = true;
        step.drops = drops;
        go_crashing();
        assert_columns(drops ? "1:id 4:n 5:k" : "1:id 2:_cdc_dropped_2_n 3:m 4:n 5:k");
    }
}

static void table_made_anew_is_matched_by_name(void **state)
{
    (void)state;
    table_with("id int; v string; n int; gone int; mine int",
               "{\"oid\":6,\"lsn\":\"0/64\",\"seq\":0,\"columns\":{\"1\":\"id\",\"2\":\"v\",\"3\":"
               "\"n\",\"4\":\"gone\"}}");
    want("1 v STRING; 2 id INT; 3 n STRING; 4 new INT", 200);
    batch.is_snapshot = true;
    go_crashing();
    assert_columns("1:id 2:v 3:_cdc_dropped_0_n 4:gone 5:mine 6:n 7:new");
    assert_string_equal(table.property,
                        MAP_AT("C8", "\"1\":\"v\",\"2\":\"id\",\"3\":\"n\",\"4\":\"new\"",
                               ",\"dropped\":{\"_cdc_dropped_0_n\":0,\"gone\":0}"));
    want("1 v STRING; 2 id INT; 3 n STRING; 4 new INT; 5 gone INT", 300);
    go_crashing();
    assert_columns("1:id 2:v 3:_cdc_dropped_0_n 4:_cdc_dropped_0_gone 5:mine 6:n 7:new 8:gone");
}

/* ------------------------------------------------------------------ refusals */

struct refused {
    const char *columns, *property, *wanted;
};

static void run_refused(const void *arg)
{
    const struct refused *r = arg;

    table_with(r->columns, r->property);
    want(r->wanted, 200);
    go(1000);
}

static void what_is_refused(void **state)
{
    static const struct refused cases[] = {
        /* another's column has the name of a new one, of a renamed one */
        {"id int; v int", MAP("\"1\":\"id\"", ""), "1 id INT; 2 V INT"},
        {"id int; v int", MAP("\"1\":\"id\"", ""), "1 v INT"},
        /* somebody dropped a column */
        {"id int", MAP("\"1\":\"id\",\"2\":\"v\"", ""), "1 id INT; 2 v INT"},
        /* a type that is no wider, of a column of ours too */
        {"id bigint", MAP("\"1\":\"id\"", ""), "1 id INT"},
        {"id bigint", NULL, "1 id STRING"},
        {"_cdc_lsn int; id int", NULL, "1 id INT; 0 _cdc_lsn BIGINT"},
        /* damaged properties */
        {"id int", "", "1 id INT"},
        {"id int", "{", "1 id INT"},
        {"id int", "[]", "1 id INT"},
        {"id int", "{\"oid\":7,\"lsn\":\"0/1\",\"seq\":0}", "1 id INT"},
        {"id int", "{\"oid\":\"7\",\"lsn\":\"0/1\",\"seq\":0,\"columns\":{}}", "1 id INT"},
        {"id int", "{\"oid\":7,\"lsn\":1,\"seq\":0,\"columns\":{}}", "1 id INT"},
        {"id int", "{\"oid\":7,\"lsn\":\"x\",\"seq\":0,\"columns\":{}}", "1 id INT"},
        {"id int", "{\"oid\":7,\"lsn\":\"0/1\",\"seq\":-1,\"columns\":{}}", "1 id INT"},
        {"id int", MAP("\"x\":\"id\"", ""), "1 id INT"},
        {"id int", MAP("\"0\":\"id\"", ""), "1 id INT"},
        {"id int", MAP("\"1\":5", ""), "1 id INT"},
        {"id int", MAP("\"1\":\"\"", ""), "1 id INT"},
        {"id int", MAP("\"1\":\"id\",\"1\":\"v\"", ""), "1 id INT"},
        {"id int", MAP("\"1\":\"id\",\"2\":\"ID\"", ""), "1 id INT"},
        {"id int", MAP("\"1\":\"id\"", ",\"adding\":[2]"), "1 id INT"},
        {"id int", MAP("\"1\":\"id\"", ",\"dropped\":{\"v\":\"2\"}"), "1 id INT"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (exit_code_of(run_refused, &cases[i]) != EX_CONFIG)
            fail_msg("case %u is not refused", i);
}

/* What Delta 4.3 said when each was tried; Databricks documents the same. */
static void which_types_are_wider(void **state)
{
    static const char *const wider[][2] = {
        {"smallint", "INT"},
        {"smallint", "BIGINT"},
        {"smallint", "DOUBLE"},
        {"smallint", "DECIMAL(10,0)"},
        {"smallint", "DECIMAL(12,2)"},
        {"int", "BIGINT"},
        {"int", "DOUBLE"},
        {"int", "DECIMAL(10, 0)"},
        {"int", "DECIMAL(13,3)"},
        {"bigint", "DECIMAL(20,0)"},
        {"float", "DOUBLE"},
        {"decimal(10,2)", "DECIMAL(12,2)"},
        {"decimal(10,2)", "DECIMAL(12,4)"},
        {"decimal(10,2)", "DECIMAL(13,3)"},
        {"date", "TIMESTAMP_NTZ"},
        {"array<int>", "ARRAY<BIGINT>"},
        {"array<decimal(5,0)>", "ARRAY<DECIMAL(6,0)>"},
    };
    static const char *const others[][2] = {
        {"smallint", "DECIMAL(5,0)"},
        {"int", "SMALLINT"},
        {"int", "FLOAT"},
        {"int", "DECIMAL(11,2)"},
        {"bigint", "DOUBLE"},
        {"bigint", "DECIMAL(19,0)"},
        {"bigint", "DECIMAL(20,1)"},
        {"float", "DECIMAL(20,0)"},
        {"double", "FLOAT"},
        {"decimal(10,2)", "DECIMAL(11,3)x"},
        {"decimal(10,2)", "DECIMAL(11,4)"},
        {"decimal(10,2)", "DOUBLE"},
        {"date", "TIMESTAMP"},
        {"timestamp_ntz", "DATE"},
        {"timestamp_ntz", "TIMESTAMP"},
        {"int", "STRING"},
        {"array<int>", "BIGINT"},
        {"array<int>", "ARRAY<STRING>"},
        {"int", "ARRAY<BIGINT>"},
        {"string", "VARIANT"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof wider / sizeof *wider; i++)
        assert_true(widen_is_possible(wider[i][0], wider[i][1]));
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(widen_is_possible(others[i][0], others[i][1]));
    assert_true(widen_is_same("decimal(10,2)", "DECIMAL(10, 2)"));
    assert_false(widen_is_same("decimal(10,2)", "DECIMAL(10, 20)"));
}

/* ------------------------------------------------------------------ any table */

static unsigned seed;

static unsigned chance(unsigned n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

/* The source's columns: which there are, by attnum, and the number of each in the target. */
struct origin {
    const char *name[MAX], *type[MAX]; /* name NULL: dropped */
    int number[MAX];
    int last;
};

static bool source_has(const struct origin *s, const char *name)
{
    for (int k = 1; k <= s->last; k++)
        if (s->name[k] && names_equal(s->name[k], name))
            return true;
    return false;
}

static void change_source(struct origin *s, bool snapshot)
{
    static const char *const names[] = {"a", "b", "c", "d", "A", "ä", "Ä"};
    static const char *const types[] = {"INT", "BIGINT", "DATE", "DECIMAL(10,2)", "STRING"};
    int k = 1 + (int)chance((unsigned)s->last + 1), j = 1 + (int)chance((unsigned)s->last + 1);
    const char *name = names[chance(7)], *type = types[chance(5)], *was;

    if (k > s->last && k < MAX / 4 && !source_has(s, name)) {
        s->name[++s->last] = name;
        s->type[s->last] = type;
    } else if (k <= s->last && s->name[k]) {
        switch (chance(4)) {
        case 0:
            s->name[k] = NULL;
            break;
        case 1:
            was = s->name[k];
            s->name[k] = NULL;
            s->name[k] = source_has(s, name) ? was : name;
            break;
        case 2:
            if (j <= s->last && s->name[j]) {
                was = s->name[j];
                s->name[j] = s->name[k];
                s->name[k] = was;
            }
            break;
        case 3:
            if (snapshot || widen_is_possible(s->type[k], type))
                s->type[k] = type;
            break;
        }
    }
}

static void want_source(const struct origin *s, lsn_t lsn)
{
    want("", lsn);
    for (int k = 1; k <= s->last; k++)
        if (s->name[k])
            definition[step.ncolumns++] =
                (struct load_column){.attnum = k, .name = s->name[k], .type = s->type[k]};
}

static void play(unsigned with_seed)
{
    struct origin s = {0};
    bool foreign = false;

    seed = with_seed;
    table_with("_cdc_unrepresentable map<string,string>", NULL);
    bool drops = chance(2);
    uint32_t oid = 7;
    for (lsn_t lsn = 100; lsn < 112; lsn++) {
        bool snapshot = chance(3) == 0;
        struct origin before = s;
        if (snapshot && chance(3) == 0) { /* dropped, and made anew */
            memset(&s, 0, sizeof s);
            memset(&before, 0, sizeof before);
            oid++;
        }
        for (unsigned n = chance(6); n; n--)
            change_source(&s, snapshot);
        if (!foreign && chance(6) == 0) {
            has("mine", "int");
            foreign = true;
        }
        want_source(&s, lsn);
        batch.is_snapshot = snapshot;
        step.drops = drops;
        step.oid = oid;
        unsigned kept = table.n;
        if (chance(2))
            go_crashing();
        else
            finish();
        for (int k = 1; k <= s.last; k++) {
            if (!s.name[k])
                continue;
            unsigned at = place_of(s.name[k]);
            const struct load_column *c = &table.column[at];
            assert_string_equal(c->name, s.name[k]);
            assert_true(widen_is_same(c->type, s.type[k]));
            if (snapshot) /* all rows are written anew */
                table.key[at] = s.name[k];
            if (!strcmp(c->type, "DATE"))
                assert_string_equal(table.key[at], s.name[k]);
            if (before.name[k] && (widen_is_same(before.type[k], s.type[k]) ||
                                   widen_is_possible(before.type[k], s.type[k])))
                assert_int_equal(table.number[at], s.number[k]);
            s.number[k] = table.number[at];
        }
        assert_true(drops || table.n >= kept); /* nothing that is to be kept is lost */
        struct colmap *m = colmap_parse(table.property, &arena);
        assert_non_null(m);
        for (unsigned i = 0; i < m->n; i++)
            assert_false(m->entries[i].adding);
        if (foreign)
            place_of("mine");
        unsigned changes = table.changes;
        finish();
        assert_int_equal(table.changes, changes); /* and that is all */
    }
}

static void any_history_of_a_table(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 200; i++)
        play(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(table_without_the_property_is_matched_by_name),
        cmocka_unit_test(column_is_noted_before_it_is_added),
        cmocka_unit_test(added_column_is_filled_where_that_means_something),
        cmocka_unit_test(column_is_renamed),
        cmocka_unit_test(texts_go_with_a_column_that_may_have_some),
        cmocka_unit_test(only_the_case_of_a_name_changes),
        cmocka_unit_test(older_relation_does_nothing),
        cmocka_unit_test(dropped_column_is_kept_or_dropped),
        cmocka_unit_test(name_of_a_kept_column_is_a_free_one),
        cmocka_unit_test(column_that_comes_back_is_the_same),
        cmocka_unit_test(names_are_swapped),
        cmocka_unit_test(chain_of_renames_needs_no_detour),
        cmocka_unit_test(type_becomes_wider),
        cmocka_unit_test(other_type_of_a_snapshot_is_another_column),
        cmocka_unit_test(table_made_anew_is_matched_by_name),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(which_types_are_wider),
        cmocka_unit_test(any_history_of_a_table),
    };
    msg_init("test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
