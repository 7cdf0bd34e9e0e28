#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "alter.h"
#include "colmap.h"
#include "create.h"
#include "fail.h"
#include "failpoint.h"
#include "figures.h"
#include "msg.h"
#include "purge.h"
#include "quote.h"
#include "table.h"

enum {
    TRIES = 10,          /* of one step that meets concurrent commits, or a table that changes */
    PRICE = 2,           /* steps that a table which is behind does for each that it gets */
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
    FENCE,
    VERSION,
    HISTORY,
    FILL,
    APPLY
};

struct steps {
    struct load *load;
    struct table *tables;
    unsigned busy;
};

struct steps *steps_new(struct load *load)
{
    struct steps *s = mem_alloc(sizeof *s);

    s->load = load;
    return s;
}

void steps_free(struct steps *s)
{
    struct table *t, *next;

    if (!s)
        return;
    HASH_ITER(hh, s->tables, t, next)
    {
        HASH_DEL(s->tables, t);
        table_free(t);
    }
    free(s);
}

/* ------------------------------------------------------------------ one table */

static void answered(struct statement *st);

static void sent(struct statement *st)
{
    struct table *t = st->arg;

    FAILPOINT("after-post");
    ledger_set(&t->step->statement, st->id);
    t->step->shaping = t->asked == SHAPE;
    ledger_save(&t->steps->load->ledger);
    if (t->step->batch->is_snapshot)
        FAILPOINT("statement-in-flight");
}

static void ask(struct table *t, int what, char *sql)
{
    struct steps *s = t->steps;
    bool once = what == FILL || what == APPLY || what == SHAPE;
    int64_t pause = t->pause;

    if (once)
        FAILPOINT("before-post");
    t->asked = what;
    t->pause = 0;
    statement_send(&s->load->compute, sql, once, pause, once ? sent : NULL, answered, t);
}

static void ask_history(struct table *t, int what, unsigned limit)
{
    t->limit = limit;
    ask(t, what, table_history_sql(t, limit));
}

/* Whether the table has steps left in batches that are acknowledged. */
static bool is_behind(const struct ledger *l, uint32_t oid)
{
    for (const struct batch *b = l->batches; b; b = b->next)
        for (unsigned i = 0; b->acknowledged && i < b->nsteps; i++)
            if (!b->steps[i].done && b->steps[i].oid == oid)
                return true;
    return false;
}

static void step_done(struct table *t)
{
    struct steps *s = t->steps;
    struct step *step = t->step;
    struct ledger *l = &s->load->ledger;
    struct snapshot *known = ledger_snapshot(l, step->oid);

    FAILPOINT("after-success");
    if (known)
        ledger_note_place(l, known, step->source, t->name);
    step->done = true;
    t->step = NULL;
    t->credit = is_behind(l, step->oid) ? t->credit + 1 : 0;
    s->busy--;
    msg_debug("done batch=%llu step=%u table=%s rows=%llu", (unsigned long long)step->batch->number,
              step->index, t->name, (unsigned long long)step->rows);
    bool whole = batch_is_done(step->batch);
    if (!steps_acknowledge(s))
        ledger_save(l);
    if (!whole)
        FAILPOINT("between-tables");
    steps_start(s);
}

/* ------------------------------------------------------------------ its name */

static bool same_schema(const char *a, const char *b)
{
    size_t n = (size_t)(strrchr(a, '.') - a);

    return !strncmp(a, b, n + 1) && !strchr(b + n + 1, '.');
}

/* Where the source has renamed the step's table: the name that it still has here, else NULL. Tables
 * don't move between schemas, and another --prefix is no reason. */
static const char *old_name(const struct steps *steps, const struct step *step, const char *name)
{
    const struct snapshot *s = ledger_snapshot(&steps->load->ledger, step->oid);

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

/* Sends whatever has to come next for the table's step, judging by what is known. */
static void proceed(struct table *t)
{
    struct load *load = t->steps->load;
    struct step *step = t->step;
    const char *name;
    char *mapping;

    if ((name = old_name(t->steps, step, t->name))) {
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
        step_done(t);
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
    if (shape(t))
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

/* Whether the commit can be of a statement of ours: those are INSERT and MERGE. */
static bool is_ours(const char *operation)
{
    return operation && (!strcmp(operation, "WRITE") || !strcmp(operation, "MERGE"));
}

/* Did the step commit since the version that was noted? */
static void search_history(struct table *t, const struct statement *st)
{
    struct step *step = t->step;
    size_t rows = statement_rows(st);
    int64_t oldest = INT64_MAX;

    for (size_t i = 0; i < rows; i++) {
        int64_t version = version_of(st, i);
        if (version > step->version && is_ours(statement_cell(st, i, 4))) {
            msg_info("the history says that it was applied already table=%s version=%lld", t->name,
                     (long long)version);
            step_done(t);
            return;
        }
        if (version < oldest)
            oldest = version;
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
        step_done(t);
        return;
    case APPLY:
        table_require_rows(t, t->step, st);
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
    } else if (t->asked == RENAME || t->asked == MAKE_WAY ||
               (t->asked == SHAPE && t->change.kind == CHANGE_RENAME)) {
        right.privileges = "OWNER";
        right.name = t->asked == RENAME ? old_name(t->steps, step, t->name) : t->name;
    }
    statement_fail(st, what, &right);
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

/* ------------------------------------------------------------------ all tables */

static struct table *table_of(struct steps *s, struct step *step)
{
    if (!step->table) {
        struct table *new = table_new(step), *known;
        HASH_FIND_STR(s->tables, new->name, known);
        if (known) {
            table_free(new);
        } else {
            new->steps = s;
            HASH_ADD_KEYPTR(hh, s->tables, new->name, strlen(new->name), new);
            known = new;
        }
        step->table = known;
    }
    return step->table;
}

/* Whether the shape of the one is older than that of the other. */
static bool is_older(const struct step *a, const struct step *b)
{
    if (a->relation.lsn != b->relation.lsn)
        return a->relation.lsn < b->relation.lsn;
    return a->relation.seq != b->relation.seq ? a->relation.seq < b->relation.seq : a->oid < b->oid;
}

/* Whether of two tables the one, whose shape is older, comes first: they have one name there, or
 * both get new names, and may want each other's. */
static bool are_in_order(struct steps *s, struct step *older, const struct step *step)
{
    const struct table *there = table_of(s, older);

    return is_older(older, step) &&
           (there == step->table ||
            (old_name(s, step, step->table->name) && old_name(s, older, there->name)));
}

/* Whether a step that is not done has to come before this one: of the same table, whatever its name
 * there, or of another in the order of the source. */
static bool comes_later(struct steps *s, const struct step *step)
{
    bool before = true;

    for (struct batch *b = s->load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++) {
            struct step *o = &b->steps[i];
            before &= o != step;
            if (o->done || o == step)
                continue;
            if (o->oid == step->oid ? before : are_in_order(s, o, step))
                return true;
        }
    return false;
}

/* Whether a snapshot has to wait because another table has its name there: that one was dropped in
 * the source, or a step that may be still to come, if there are changes at all, renames it. */
static bool waits_for_name(const struct steps *s, const struct step *step)
{
    const struct ledger *l = &s->load->ledger;
    const struct batch *b = step->batch;

    return b->is_snapshot && l->prepared && l->applied < b->snapshot.lsn &&
           ledger_snapshot_in(l, step->table->name, step->oid);
}

/* Whether one more job may go to a table that is behind: one is kept for the others. */
static bool has_job_for_behind(const struct steps *s)
{
    unsigned n = 1;

    for (const struct table *t = s->tables; t; t = t->hh.next)
        n += t->step && t->step->batch->acknowledged;
    return n == 1 || n < s->load->jobs;
}

/* The first step that may begin: it waits for no other step. */
static struct step *next_step(struct steps *s)
{
    bool behind = has_job_for_behind(s);

    for (struct batch *b = s->load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps && (behind || !b->acknowledged); i++) {
            struct step *step = &b->steps[i];
            if (!step->done && !table_of(s, step)->step && !comes_later(s, step) &&
                !waits_for_name(s, step))
                return step;
        }
    return NULL;
}

void steps_start(struct steps *s)
{
    struct step *step;

    while (s->busy < s->load->jobs && (step = next_step(s))) {
        step->table->step = step;
        s->busy++;
        proceed(step->table);
    }
}

bool steps_busy(const struct steps *s)
{
    return s->busy > 0;
}

/* ------------------------------------------------------------------ acknowledging */

/* Whether the batch need not wait for the step: it is done, or of a table whose snapshot is being
 * applied. */
static bool is_free(const struct ledger *l, const struct step *step)
{
    if (step->done || step->batch->is_snapshot)
        return true;
    for (const struct batch *b = l->batches; b != step->batch; b = b->next)
        if (b->is_snapshot && b->snapshot.oid == step->oid && !batch_is_done(b))
            return true;
    return false;
}

/* A table that is behind may stay so as long as it gains on what is left to it. */
static bool can_be_acknowledged(struct steps *s, const struct batch *b)
{
    const struct ledger *l = &s->load->ledger;

    for (unsigned i = 0; i < b->nsteps; i++) {
        struct step *step = &b->steps[i];
        if (!is_free(l, step) && !(is_behind(l, step->oid) && table_of(s, step)->credit >= PRICE))
            return false;
    }
    for (unsigned i = 0; i < b->nsteps; i++)
        if (!is_free(l, &b->steps[i]))
            b->steps[i].table->credit -= PRICE;
    return true;
}

static void forget(struct load *load, struct batch *b)
{
    msg_info("loaded batch=%llu steps=%u applied=%s", (unsigned long long)b->number, b->nsteps,
             LSN_TEXT(load->ledger.applied));
    if (b->nsteps)
        batch_forget(b, load->ledger.dir);
    batch_free(b);
}

bool steps_acknowledge(struct steps *s)
{
    struct ledger *l = &s->load->ledger;
    struct batch *done = NULL, **tail = &done, **at = &l->batches, *b;
    bool first = true, any = false;

    while ((b = *at)) {
        if (!b->acknowledged && first && (first = can_be_acknowledged(s, b))) {
            ledger_acknowledge(l, b);
            any = true;
        }
        if (b->acknowledged && batch_is_done(b)) {
            *at = b->next;
            b->next = NULL;
            *tail = b;
            tail = &b->next;
            any = true;
        } else {
            at = &b->next;
        }
    }
    if (!any)
        return false;
    ledger_save(l);
    for (b = l->batches; b; b = b->next)
        if (b->acknowledged)
            purge_done(s->load, b);
    while ((b = done)) {
        done = b->next;
        purge_done(s->load, b);
        forget(s->load, b);
    }
    return true;
}
