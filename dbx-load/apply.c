#include "apply.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "alter.h"
#include "colmap.h"
#include "create.h"
#include "declare.h"
#include "fail.h"
#include "failpoint.h"
#include "figures.h"
#include "msg.h"
#include "purge.h"
#include "quote.h"

enum {
    TRIES = 10,          /* of one step that meets concurrent commits, or a table that changes */
    HISTORY_FIRST = 100, /* commits looked at; more if that does not reach back far enough */
    HISTORY_MORE = 100
};

/* What was asked about a table. */
enum {
    RENAME,
    MAKE_WAY,
    DESCRIBE,
    PROPERTIES,
    SCHEMA,
    CREATE,
    ALTER,
    SHAPE,
    DELETE_MARKED,
    RELEASE,
    DECLARE,
    FENCE,
    VERSION,
    HISTORY,
    FILL,
    APPLY
};

static void answered(struct statement *st);

static void sent(struct statement *st)
{
    struct table *t = st->arg;

    FAILPOINT("after-post");
    ledger_set(&t->step->statement, st->id);
    t->step->shaping = t->asked == SHAPE || t->asked == FILL;
    ledger_save(&t->steps->load->ledger);
    if (t->step->batch->is_snapshot)
        FAILPOINT("statement-in-flight");
}

static void ask(struct table *t, int what, char *sql)
{
    struct load *load = t->steps->load;
    bool once = what == FILL || what == APPLY || what == SHAPE;
    int64_t pause = t->pause;

    if (once)
        FAILPOINT("before-post");
    t->asked = what;
    t->pause = 0;
    statement_send(&load->compute, sql, once, pause, once ? sent : NULL, answered, t);
}

static void ask_history(struct table *t, int what, unsigned limit)
{
    t->limit = limit;
    ask(t, what, table_history_sql(t, limit));
}

static void step_done(struct table *t)
{
    struct step *step = t->step;
    struct ledger *l = &t->steps->load->ledger;
    struct snapshot *known = ledger_snapshot(l, step->oid);

    FAILPOINT("after-success");
    if (known)
        ledger_note_place(l, known, step->source, t->name);
    step->done = true;
    t->step = NULL;
    t->made = false;
    msg_debug("done batch=%llu step=%u table=%s rows=%llu", (unsigned long long)step->batch->number,
              step->index, t->name, (unsigned long long)step->rows);
    steps_ended(t->steps, t, step);
}

/* ------------------------------------------------------------------ its name */

static bool same_schema(const char *a, const char *b)
{
    size_t n = (size_t)(strrchr(a, '.') - a);

    return !strncmp(a, b, n + 1) && !strchr(b + n + 1, '.');
}

/* Where the source has renamed the step's table: the name that it still has here, else NULL. Tables
 * don't move between schemas, and another --prefix is no reason. */
const char *apply_old_name(const struct ledger *l, const struct step *step, const char *name)
{
    const struct snapshot *s = ledger_snapshot(l, step->oid);

    if (!s || !s->target || !strcmp(s->target, name) || !same_schema(s->target, name))
        return NULL;
    char *source = mem_printf("%s.%s", s->schema, s->table);
    bool renamed = strcmp(source, step->source) != 0;
    free(source);
    return renamed ? s->target : NULL;
}

/* It has its new name: since now, or since before a crash. */
static void renamed(struct table *t)
{
    struct steps *s = t->steps;
    struct snapshot *known = ledger_snapshot(&s->load->ledger, t->step->oid);
    struct table *before;

    HASH_FIND_STR(s->tables, known->target, before);
    if (before)
        table_forget(before);
    table_forget(t);
    ledger_note_place(&s->load->ledger, known, t->step->source, t->name);
    ledger_save(&s->load->ledger);
}

/* The name is still another table's, of the source that had it before: that one was dropped, or
 * will be renamed by a step of its own. It is noted under the name that it gets before it gets it.
 */
static void make_way(struct table *t)
{
    struct ledger *l = &t->steps->load->ledger;
    struct snapshot *other = ledger_snapshot_in(l, t->name, t->step->oid);
    char *name = mem_printf("%s_before_%u", t->step->name, t->step->oid);
    struct buf aside = {0};

    quote_table(&aside, t->step->catalog, t->step->schema, name);
    if (other) {
        char *source = mem_printf("%s.%s", other->schema, name); /* so that every name is another */
        ledger_note_place(l, other, source, aside.data);
        ledger_save(l);
        free(source);
    }
    free(name);
    ask(t, MAKE_WAY, table_rename_sql(t->name, aside.data));
    buf_free(&aside);
}

/* ------------------------------------------------------------------ its shape and rows */

/* Sends the next statement that brings the table to the step's shape. False: it has it. */
static bool shape(struct table *t)
{
    struct load *load = t->steps->load;
    struct step *step = t->step;
    struct columns_have have = {.table = t->name,
                                .n = t->ncolumns,
                                .columns = t->columns,
                                .property = table_property(t, PROPERTY_COLUMNS),
                                .moved = t->moved,
                                .filled = t->filled};
    char *sql, *defaults;

    arena_reset(&t->memory);
    t->change = columns_next(&have, step, &t->memory);
    if (!t->change.kind)
        return false;
    if ((sql = declare_release_sql(t))) {
        ask(t, RELEASE, sql);
        return true;
    }
    if ((sql = alter_prepare_sql(t, step))) {
        ask(t, ALTER, sql);
        return true;
    }
    step->version = -1; /* of a table without a key: this is no commit of the step's own */
    defaults = step->defaults_file ? purge_path(load, step->batch->run, step->defaults_file) : NULL;
    ask(t, SHAPE, alter_sql(t, step, defaults, load->permit_path));
    free(defaults);
    return true;
}

/* Sends the next statement that declares what the step says of the table. False: it is. */
static bool declare(struct table *t)
{
    char *sql = declare_sql(t, t->step);

    if (sql)
        ask(t, DECLARE, sql);
    return sql;
}

/* The table is the step's create-as-select's, which says of it what has to be declared yet. */
static void made(struct table *t)
{
    t->made = true;
    if (!declare(t))
        step_done(t);
}

/* Sends whatever has to come next for the table's step, judging by what is known. */
static void proceed(struct table *t)
{
    struct load *load = t->steps->load;
    struct step *step = t->step;
    const char *name;
    char *mapping;

    if (t->made) {
        made(t);
        return;
    }
    if ((name = apply_old_name(&t->steps->load->ledger, step, t->name))) {
        ask(t, RENAME, table_rename_sql(name, t->name));
        return;
    }
    if (!t->described) {
        ask(t, DESCRIBE, table_describe_sql(t));
        return;
    }
    if (!t->exists) {
        if (step->create.n)
            ask(t, FILL, create_sql(load, step));
        else if (ledger_snapshot(&load->ledger, step->oid)) /* which filled it once */
            fail(EX_CONFIG,
                 "%s is gone, or has another name with cdc-merge --prefix: put it back, or move "
                 "the state folder away to read the tables again",
                 t->name);
        else if (!step->apply.n) /* its rows are still to come, or it has none */
            step_done(t);
        else
            ask(t, CREATE, create_sql(load, step));
        return;
    }
    if (!t->read) {
        ask(t, PROPERTIES, table_properties_sql(t));
        return;
    }
    enum table_owner owner = table_owner(t, step);
    if (owner != TABLE_OURS) {
        if (owner == TABLE_FOREIGN && !load->adopt)
            fail(EX_CONFIG,
                 "%s exists and is not ours: drop it, write to another schema with cdc-merge "
                 "--namespace, or take it over with --adopt",
                 t->name);
        ask(t, ALTER, table_adopt_sql(t, step));
        return;
    }
    if (step->unsure && step->create.n && table_made_by(t, step)) {
        made(t);
        return;
    }
    table_require_mode(t, step);
    if (table_deletes_differ(t, step)) {
        if (table_has_marked(t, step))
            ask(t, DELETE_MARKED, table_delete_marked_sql(t));
        else
            ask(t, ALTER, table_deletes_sql(t, step));
        return;
    }
    /* What an earlier life of the pipeline left running, whose state is lost, must not be added to
     * what the table is about to be replaced by. */
    if (step->create.n && !t->fenced) {
        ask(t, FENCE, table_fence_sql(t, load->start.run));
        return;
    }
    if (!step->nkey && step->version >= 0 && step->unsure) {
        ask_history(t, HISTORY, HISTORY_FIRST);
        return;
    }
    if (step_property(step, PROPERTY_MAPPING) && (mapping = table_mapping_sql(t))) {
        ask(t, ALTER, mapping);
        return;
    }
    if (shape(t) || declare(t))
        return;
    if (!step->apply.n) {
        step_done(t);
        return;
    }
    if (!step->nkey && step->version < 0) {
        ask_history(t, VERSION, 1);
        return;
    }
    ask(t, APPLY, batch_sql(&step->apply, load->permit_path));
}

/* Asks anew, after a pause, what the table is like, unless that was done often enough. */
static bool start_over(struct table *t)
{
    if (++t->step->tries > TRIES)
        return false;
    load_figures[LOAD_RETRIES_CONFLICT].value++;
    table_forget(t);
    t->moved = t->filled = false;
    t->pause = http_pause(t->step->tries, 0, 0.5);
    proceed(t);
    return true;
}

/* The row of DESCRIBE HISTORY: version, timestamp, user id, user name, operation, … */
static int64_t version_of(const struct statement *st, size_t row)
{
    const char *text = statement_cell(st, row, 0);
    char *end;
    long long version = text ? strtoll(text, &end, 10) : -1;

    if (version < 0 || *end)
        fail(EX_TEMPFAIL, "DESCRIBE HISTORY gave no version");
    return version;
}

/* Columns of DESCRIBE HISTORY. */
enum { OPERATION = 4, PARAMETERS = 5, METRICS = 12 };

/* Whether the commit can be of a statement of ours: those are INSERT and MERGE. */
static bool is_ours(const char *operation)
{
    return operation && (!strcmp(operation, "WRITE") || !strcmp(operation, "MERGE"));
}

/* A number in a map of texts, as JSON; -1: it is not there. */
static int64_t number_in(const char *map, const char *key)
{
    json_t *json = map ? json_loads(map, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(json, key));
    int64_t number = text ? strtoll(text, NULL, 10) : -1;

    json_decref(json);
    return number;
}

/* The rows that a commit inserted and updated, as the history says; -1: it does not. */
static int64_t rows_of(const struct statement *st, size_t row)
{
    const char *metrics = statement_cell(st, row, METRICS);
    int64_t inserted = number_in(metrics, "numTargetRowsInserted");
    int64_t updated = number_in(metrics, "numTargetRowsUpdated");

    if (!strcmp(statement_cell(st, row, OPERATION), "WRITE"))
        return number_in(metrics, "numOutputRows");
    return inserted < 0 || updated < 0 ? -1 : inserted + updated;
}

/* Whether somebody has undone here what came after the version. */
static bool is_undone(const struct statement *st, size_t row, int64_t version)
{
    const char *operation = statement_cell(st, row, OPERATION);

    return operation && !strcmp(operation, "RESTORE") &&
           number_in(statement_cell(st, row, PARAMETERS), "version") == version;
}

/* Did the step commit since the version that was noted? The newest commits come first. */
static void search_history(struct table *t, const struct statement *st)
{
    struct step *step = t->step;
    size_t rows = statement_rows(st);
    int64_t oldest = INT64_MAX;

    for (size_t i = 0; i < rows && oldest > step->version; i++) {
        int64_t version = version_of(st, i);
        if (version > step->version && is_ours(statement_cell(st, i, OPERATION))) {
            table_require_rows(t, step, rows_of(st, i));
            msg_info("the history says that it was applied already table=%s version=%lld", t->name,
                     (long long)version);
            step_done(t);
            return;
        }
        oldest = is_undone(st, i, step->version) ? step->version : version;
    }
    if (rows == t->limit && oldest > step->version + 1) {
        ask_history(t, HISTORY, t->limit * HISTORY_MORE);
        return;
    }
    step->unsure = false;
    proceed(t);
}

static void succeeded(struct table *t, struct statement *st)
{
    switch (t->asked) {
    case DESCRIBE:
        table_take_columns(t, st);
        break;
    case PROPERTIES:
        table_take_properties(t, st);
        break;
    case SCHEMA:
        break;
    case RENAME:
        FAILPOINT("after-alter");
        renamed(t);
        break;
    case MAKE_WAY:
    case CREATE:
    case ALTER:
        table_forget(t);
        break;
    case SHAPE:
        FAILPOINT("after-alter");
        table_take_change(t);
        break;
    case DELETE_MARKED:
        t->no_marked = true;
        break;
    case RELEASE:
    case DECLARE:
        t->declared++;
        break;
    case FENCE:
        t->fenced = true;
        break;
    case VERSION:
        t->step->version = version_of(st, 0);
        t->step->unsure = false; /* what is not noted was never sent */
        ledger_save(&t->steps->load->ledger);
        break;
    case HISTORY:
        search_history(t, st);
        return;
    case FILL:
        table_forget(t);
        made(t);
        return;
    case APPLY:
        table_require_rows(t, t->step, st->written);
        step_done(t);
        return;
    }
    proceed(t);
}

/* What was tried, and the right that it takes, for a message. */
static _Noreturn void give_up(struct table *t, const struct statement *st)
{
    static const char *const doing[] = {
        [RENAME] = "giving its new name to",
        [MAKE_WAY] = "renaming what has the name of",
        [DESCRIBE] = "looking at",
        [PROPERTIES] = "reading the properties of",
        [SCHEMA] = "making the schema of",
        [CREATE] = "making",
        [ALTER] = "changing",
        [SHAPE] = "changing the columns of",
        [DELETE_MARKED] = "deleting the rows that are marked as deleted in",
        [RELEASE] = "taking back the key of",
        [DECLARE] = "declaring the key or the comments of",
        [FENCE] = "fencing",
        [VERSION] = "reading the version of",
        [HISTORY] = "reading the history of",
        [FILL] = "making and filling",
        [APPLY] = "applying to",
    };
    const struct step *step = t->step;
    struct right right = *STEP_TABLE_RIGHT(step);
    char *what = mem_printf("%s %s (batch %llu, source %s)", doing[t->asked], t->name,
                            (unsigned long long)step->batch->number, step->source);

    if (t->asked == SCHEMA) {
        right.privileges = "CREATE SCHEMA";
        right.on = "CATALOG";
    } else if (t->asked == CREATE || t->asked == FILL) {
        right.privileges = "CREATE TABLE";
        right.on = "SCHEMA";
    } else if (t->asked == RENAME || t->asked == MAKE_WAY || t->asked == RELEASE ||
               (t->asked == SHAPE && t->change.kind == CHANGE_RENAME)) {
        right.privileges = "OWNER";
        right.name =
            t->asked == RENAME ? apply_old_name(&t->steps->load->ledger, step, t->name) : t->name;
    }
    statement_fail(st, what, &right);
}

/* What cannot be declared is missing, but rows don't need it. */
static void warn(const struct table *t, const struct statement *st)
{
    const struct right owner = {.privileges = "OWNER", .on = "TABLE", .name = t->name};
    char *sentence = statement_forbidden(st) ? rights_sentence(&owner) : NULL;

    msg_warn("%s: %s: %s%s%s", t->name, st->sql, st->message, sentence ? "; it takes " : "",
             sentence ? sentence : "");
    free(sentence);
}

static void failed(struct table *t, struct statement *st)
{
    bool makes = t->asked == CREATE || t->asked == FILL;

    if (t->asked == DESCRIBE && statement_no_table(st)) {
        t->described = true; /* and does not exist */
        proceed(t);
        return;
    }
    if (t->asked == RENAME && statement_no_table(st)) {
        renamed(t);
        proceed(t);
        return;
    }
    if (t->asked == RENAME && statement_exists(st)) {
        make_way(t);
        return;
    }
    if (makes && statement_no_schema(st)) {
        ask(t, SCHEMA, table_schema_sql(t->step));
        return;
    }
    if (t->asked == DECLARE && !statement_conflict(st)) {
        warn(t, st);
        t->declared++;
        proceed(t);
        return;
    }
    if (t->asked == APPLY || t->asked == FILL)
        t->step->unsure = true; /* even FAILED may have been committed */
    bool changed = statement_conflict(st) || statement_no_table(st) ||
                   ((makes || t->asked == ALTER) && statement_exists(st)) ||
                   (t->asked == SHAPE && (statement_exists(st) || statement_no_column(st)));
    if (changed && start_over(t)) {
        msg_info("trying again: %s table=%s", st->message, t->name);
        return;
    }
    give_up(t, st);
}

static void answered(struct statement *st)
{
    struct table *t = st->arg;

    if (st->state == STATEMENT_SUCCEEDED)
        succeeded(t, st);
    else
        failed(t, st);
    statement_free(st);
}

void apply_step(struct table *t)
{
    proceed(t);
}
