#include "snapshot.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copytext.h"
#include "frames.h"
#include "msg.h"
#include "shape.h"
#include "shapes.h"

#define MAKING_EVERY 100 /* ms between looks at a slot that is being made */
#define WARN_AFTER 5000  /* ms that it may take silently */

/* Exits with what went wrong, naming the table if it is one's fault. */
static _Noreturn void give_up(const struct trouble *t, const struct table *table)
{
    char *what = table ? mem_printf("cannot read table %s.%s", table->schema, table->name)
                       : mem_strdup("cannot make a snapshot");

    trouble_die(t, what);
}

static PGresult *command(struct run *run, PGconn *c, const char *sql, const struct table *table)
{
    struct trouble t;
    PGresult *r = source_query(&run->loop, c, &t, sql, NULL);

    if (!r)
        give_up(&t, table);
    return r;
}

/* ------------------------------------------------------------------ the slot and its snapshot */

/* A slot comes to be when every transaction that writes has ended: say whom a long wait is for. */
static void warn_of_open_transactions(struct run *run)
{
    PGresult *r = command(run, run->loop.sql,
                          "SELECT max(age), string_agg(pid::text, ', ' ORDER BY age DESC)"
                          " FROM (SELECT pid, extract(epoch FROM now() - xact_start)::int AS age"
                          "  FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
                          "  ORDER BY age DESC LIMIT 5) AS open WHERE age >= 3",
                          NULL);

    if (!PQgetisnull(r, 0, 0))
        msg_warn("transactions have been open for up to %s s: reading begins when they end, server "
                 "process ids %s",
                 PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1));
    PQclear(r);
}

/* The command that creates a slot; with export its snapshot can be imported until the connection's
 * next command. */
static char *slot_command(const struct run *run, bool temporary, bool export)
{
    char *name = temporary ? mem_printf("pgcdc_%d_%llx", (int)getpid(), (long long)clock_us())
                           : mem_strdup(run->arguments->slot);
    char *sql =
        mem_printf("CREATE_REPLICATION_SLOT \"%s\"%s LOGICAL pgoutput %s", name,
                   temporary ? " TEMPORARY" : "", export ? "EXPORT_SNAPSHOT" : "NOEXPORT_SNAPSHOT");

    msg_info("creating slot %s", name);
    free(name);
    return sql;
}

static lsn_t consistent_point(const PGresult *created)
{
    lsn_t lsn;

    if (PQntuples(created) != 1 || PQnfields(created) < 3 ||
        !lsn_parse(PQgetvalue(created, 0, 1), &lsn) || !lsn)
        msg_die(EX_DATAERR, "the server's answer to CREATE_REPLICATION_SLOT has no LSN");
    return lsn;
}

/* ------------------------------------------------------------------ one table */

/* The tables that hold the rows, as SQL names: the leaves of a partitioned one, else itself. With
 * each, whether its file is still the one that the snapshot knows (the function looks at now). */
static PGresult *parts_of(struct run *run, const struct table *table)
{
    static const char whole[] = "SELECT format('%I.%I', n.nspname, c.relname),"
                                " c.relfilenode = pg_relation_filenode(c.oid) FROM pg_class c"
                                " JOIN pg_namespace n ON n.oid = c.relnamespace"
                                " WHERE c.oid = $1::oid";
    static const char leaves[] = "SELECT format('%I.%I', n.nspname, c.relname),"
                                 " c.relfilenode = pg_relation_filenode(c.oid)"
                                 " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                                 " WHERE c.relkind = 'r' AND c.oid IN ("
                                 " WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION"
                                 "  SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = oid)"
                                 " SELECT oid FROM tree) ORDER BY 1";
    char oid[16];
    struct trouble t;

    snprintf(oid, sizeof oid, "%u", table->oid);
    PGresult *r =
        source_query(&run->loop, run->loop.sql, &t, table->partitioned ? leaves : whole, oid, NULL);
    if (!r)
        give_up(&t, table);
    return r;
}

struct copy {
    struct run *run;
    const struct table *table;
    lsn_t lsn;
    struct tuple row; /* its values are overwritten by every row */
    uint64_t rows;
};

static void copy_row(struct copy *c, char *line, int len)
{
    if (!copytext_split(line, (size_t)len, c->row.values, c->row.n))
        msg_die(EX_DATAERR, "a row of COPY cannot be taken apart table=%s.%s row=%llu",
                c->table->schema, c->table->name, (unsigned long long)c->rows + 1);
    frames_insert(c->run->loop.out, c->table->oid, c->lsn, 0, &c->row);
    c->rows++;
}

/* Takes the rows off a connection in COPY state. */
static void copy_rows(struct copy *c)
{
    struct loop *l = &c->run->loop;
    struct trouble t;
    char *line;
    int n;

    while ((n = source_copy_data(l->sql, &line)) >= 0) {
        if (n == 0) {
            loop_wait(l, PQsocket(l->sql), POLLIN, -1);
            continue;
        }
        copy_row(c, line, n);
        PQfreemem(line);
        loop_push(l);
    }
    if (n != -1) {
        trouble_of_connection(&t, l->sql);
        give_up(&t, c->table);
    }
    if (!source_finish(l, l->sql, &t))
        give_up(&t, c->table);
}

static void copy_part(struct copy *c, const char *part)
{
    const struct table *table = c->table;
    char *sql = mem_printf("COPY (SELECT %s FROM ONLY %s%s%s) TO STDOUT", table->columns, part,
                           table->filter ? " WHERE " : "", table->filter ? table->filter : "");

    PQclear(command(c->run, c->run->loop.sql, sql, table));
    copy_rows(c);
    free(sql);
}

/* Locks a part of the table against ALTER TABLE, until the end of the transaction. False: there is
 * none of this name any more, or one is under way: the next slot comes to be when it has ended. */
static bool hold_part(struct run *run, const struct table *table, const char *part)
{
    char *sql = mem_printf("SELECT FROM %s LIMIT 0", part);
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, sql, NULL);

    if (!r && strcmp(t.sqlstate, "42P01") && strcmp(t.sqlstate, "3F000") &&
        strcmp(t.sqlstate, "55P03"))
        give_up(&t, table);
    PQclear(r);
    free(sql);
    return r != NULL;
}

/*
 * Whether the table was altered or rewritten since the snapshot: its rows are as of then, but COPY
 * looks names up as of now, and a file that is there no more has no rows. If not, it stays as it is
 * from here on, for it is locked first. now: a connection outside of the snapshot.
 */
static bool was_altered(struct run *run, PGconn *now, const struct table *table)
{
    uint64_t stamp;
    struct trouble t;
    PGresult *parts = parts_of(run, table);
    bool altered = false;

    for (int i = 0; i < PQntuples(parts) && !altered; i++)
        altered = !hold_part(run, table, PQgetvalue(parts, i, 0));
    PQclear(parts);
    if (altered)
        return true;
    if (!catalog_stamp(run, now, table, &stamp, &t))
        give_up(&t, table);
    parts = parts_of(run, table);
    for (int i = 0; i < PQntuples(parts); i++)
        altered |= !field_truth(parts, i, 1);
    PQclear(parts);
    return altered || stamp != table->stamp;
}

static void announce_table(struct run *run, struct table *table, lsn_t lsn)
{
    struct trouble t;
    const char *why;

    attributes_free(table->attributes); /* whatever was seen before does not matter any more */
    shape_free(table->shape);
    table->attributes = NULL;
    table->shape = NULL;
    table->settle = 0;
    struct shape *shape =
        attributes_read(run, table, lsn, &t) ? shape_of_catalog(run, table, &t, &why) : NULL;
    if (!shape)
        give_up(&t, table);
    shape->relation->lsn = lsn;
    relation_pack(run->loop.out, shape->relation);
    shape_add(table, shape);
    table->told = true;
    loop_push(&run->loop);
}

/* A table that is gone and had this one's name: its changes that are still to come are older than
 * the snapshot, and what they go to is this one's now. */
static void replace_namesakes(struct run *run, const struct table *table)
{
    for (struct table *other = run->tables; other; other = other->hh.next)
        if (other->selected && !other->listed && !strcmp(other->name, table->name) &&
            !strcmp(other->schema, table->schema))
            other->selected = false;
}

static void read_table(struct run *run, struct table *table, lsn_t lsn)
{
    struct stream_out *out = run->loop.out;
    struct copy c = {
        .run = run, .table = table, .lsn = lsn, .row = {.n = table->shape->relation->ncolumns}};

    c.row.values = mem_alloc(c.row.n * sizeof *c.row.values);
    frames_snapshot(out, table->oid, table->attempt, lsn, clock_us());
    PGresult *parts = parts_of(run, table);
    for (int i = 0; i < PQntuples(parts); i++)
        copy_part(&c, PQgetvalue(parts, i, 0));
    frames_snapshot_end(out, table->oid, table->attempt, lsn, c.rows);
    table->from = lsn;
    table->unread = false;
    replace_namesakes(run, table);
    msg_info("table %s.%s read rows=%llu lsn=%s", table->schema, table->name,
             (unsigned long long)c.rows, LSN_TEXT(lsn));
    PQclear(parts);
    free(c.row.values);
}

/* ------------------------------------------------------------------ all of them */

/* Decides for every table whether the snapshot that dbx-load has is one to go on from. */
static void choose(struct run *run)
{
    enum snapshot_mode mode = run->arguments->snapshot;

    progress_read(run);
    if (mode == SNAPSHOT_INITIAL && !run->progress.exists && run->loop.load.nsnapshots)
        msg_warn("the state file of pgcdc-read is missing: reading all tables again");
    run->unread = false;
    for (struct table *table = run->tables; table; table = table->hh.next) {
        const struct load_snapshot *done = load_find(&run->loop.load, table->oid);
        bool covered = done && table->shape && progress_covers(run, table, done->attempt);
        if (covered && mode != SNAPSHOT_ONLY)
            table->attempt = done->attempt;
        if (done && (mode == SNAPSHOT_NEVER || table->attempt)) {
            table->from = done->lsn;
            table->unread = false;
        }
        if (table->unread && done && mode == SNAPSHOT_INITIAL && run->progress.exists)
            msg_warn("table %s.%s was not replicated for a while, moved, or not read to its end: "
                     "reading it again",
                     table->schema, table->name);
        run->unread |= table->unread;
    }
}

/* Grows from run to run. */
static uint64_t new_attempt(const struct run *run, const struct table *table)
{
    const struct load_snapshot *last = load_find(&run->loop.load, table->oid);
    uint64_t attempt = (uint64_t)clock_us() / 1000;

    return last && last->attempt >= attempt ? last->attempt + 1 : attempt;
}

/* A table that has gone meanwhile, from the publication or altogether, has nothing to be read. */
static void leave_out_unlisted(struct run *run)
{
    for (struct table *table = run->tables; table; table = table->hh.next) {
        if (!table->unread || table->listed)
            continue;
        msg_warn("table %s.%s is not published any more", table->schema, table->name);
        free(table->membership);
        table->membership = NULL;
        table->selected = table->unread = false;
    }
}

/* False: one of them has changed its shape since the snapshot, and a later one is needed. */
static bool read_tables(struct run *run, PGconn *slot, const char *snapshot, lsn_t lsn,
                        lsn_t position)
{
    PGconn *sql = run->loop.sql;
    char *import = mem_printf("SET TRANSACTION SNAPSHOT '%s'", snapshot);
    struct trouble t;

    PQclear(command(run, sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL));
    PQclear(command(run, sql, import, NULL));
    PQclear(command(run, sql, "SET LOCAL lock_timeout = '1s'", NULL));
    free(import);
    if (!catalog_tables(run, &t)) /* columns, filters, partitions: as of the snapshot */
        give_up(&t, NULL);
    leave_out_unlisted(run);
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread && was_altered(run, slot, table)) {
            msg_info("table %s.%s was altered before it could be read: trying again", table->schema,
                     table->name);
            PQclear(command(run, sql, "ROLLBACK", NULL));
            return false;
        }
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread)
            table->attempt = new_attempt(run, table);
    /* ahead of the snapshots: a table is only taken as read when dbx-load has the attempt, too */
    progress_write(run, position);
    /* all of them first: one that cannot be replicated is found before a row of any is loaded */
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread)
            announce_table(run, table, lsn);
    shapes_write(run);
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread)
            read_table(run, table, lsn);
    run->unread = false;
    PQclear(command(run, sql, "COMMIT", NULL));
    return true;
}

/* Creates a slot, the main one or a temporary one, and reads what is unread at its consistent
 * point, which it returns. */
static lsn_t read_at_new_slot(struct run *run, bool temporary, lsn_t position)
{
    struct trouble t;
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, &t);

    if (!c)
        give_up(&t, NULL);
    warn_of_open_transactions(run);
    char *sql = slot_command(run, temporary, run->unread);
    PGresult *created = command(run, c, sql, NULL);
    free(sql);
    lsn_t lsn = consistent_point(created);
    if (!temporary) {
        run->slot_exists = true;
        run->slot_lsn = lsn;
    }
    bool done = !run->unread || read_tables(run, c, PQgetvalue(created, 0, 2), lsn, position);
    PQclear(created);
    PQfinish(c); /* a temporary slot goes with it */
    return done ? lsn : read_at_new_slot(run, true, position);
}

lsn_t snapshot_take(struct run *run)
{
    bool create = !run->slot_exists && run->arguments->create_slot;

    choose(run);
    bool read = run->unread;
    if (!read)
        progress_write(run, run->loop.load.open_lsn);
    lsn_t lsn = read || create ? read_at_new_slot(run, !create, run->loop.load.open_lsn) : 0;
    return read ? lsn : 0;
}

/* ------------------------------------------------------------------ in mid-stream */

static bool begin_making(struct run *run, lsn_t position, struct trouble *t)
{
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, t);

    if (!c)
        return false;
    run->making = (struct making){.c = c, .limit = position, .since = clock_ms()};
    char *sql = slot_command(run, true, true);
    bool sent = PQsendQuery(c, sql);
    free(sql);
    if (!sent)
        trouble_of_connection(t, c);
    return sent;
}

/*
 * While the server waits for a transaction to end, every consistent point is still to come: it is
 * that of a record that is written when the transaction has ended. So first the end of the WAL is
 * asked for, and then whether it waits.
 */
static bool raise_limit(struct run *run, struct trouble *t)
{
    struct making *m = &run->making;
    struct loop *l = &run->loop;
    char *pid = mem_printf("%d", PQbackendPID(m->c));
    lsn_t end = 0;

    PGresult *r = source_query(
        l, l->sql, t, "SELECT pg_current_wal_flush_lsn() WHERE NOT pg_is_in_recovery()", NULL);
    if (r && PQntuples(r))
        lsn_parse(PQgetvalue(r, 0, 0), &end);
    bool good = r != NULL;
    PQclear(r);
    r = good ? source_query(l, l->sql, t,
                            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1::int"
                            " AND locktype = 'transactionid' AND NOT granted)",
                            pid, NULL)
             : NULL;
    if (r && field_truth(r, 0, 0) && end > m->limit)
        m->limit = end;
    good = r != NULL;
    PQclear(r);
    free(pid);
    m->due = clock_ms() + MAKING_EVERY;
    return good;
}

static bool read_at_made_slot(struct run *run, lsn_t position, struct trouble *t)
{
    PGresult *created = source_result(&run->loop, run->making.c, t);
    bool quit = run->loop.quit_on_stop;

    if (!created)
        return false;
    run->loop.quit_on_stop = true;
    read_tables(run, run->making.c, PQgetvalue(created, 0, 2), consistent_point(created), position);
    run->loop.quit_on_stop = quit;
    PQclear(created);
    snapshot_cancel(run); /* it has served; what is unread still gets another one */
    return true;
}

bool snapshot_take_more(struct run *run, lsn_t position, struct trouble *t)
{
    struct making *m = &run->making;

    if (!m->c && !begin_making(run, position, t))
        return false;
    if (!PQconsumeInput(m->c)) {
        trouble_of_connection(t, m->c);
        return false;
    }
    if (!PQisBusy(m->c))
        return read_at_made_slot(run, position, t);
    if (!m->warned && clock_ms() - m->since > WARN_AFTER) {
        warn_of_open_transactions(run);
        m->warned = true;
    }
    return clock_ms() < m->due || raise_limit(run, t);
}

void snapshot_cancel(struct run *run)
{
    PQfinish(run->making.c);
    run->making = (struct making){0};
}
