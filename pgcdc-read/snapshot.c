#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "failpoint.h"
#include "msg.h"
#include "reading.h"
#include "shape.h"
#include "shapes.h"
#include "slot.h"

#define MAKING_EVERY 100 /* ms between looks at a slot that is being made */
#define WARN_AFTER 5000  /* ms that it may take silently */

static PGresult *command(struct run *run, PGconn *c, const char *sql)
{
    struct trouble t;
    PGresult *r = source_query(&run->loop, c, &t, sql, NULL);

    if (!r)
        reading_give_up(&t, NULL);
    return r;
}

/*
 * ------------------------------------------------------------------ the slot and its snapshot
 *
 * The snapshot is that of a transaction in which the slot is created (USE_SNAPSHOT), as
 * PostgreSQL's own subscriptions take theirs, and exported from there. What EXPORT_SNAPSHOT exports
 * is unprotected for a moment: ReplicationSlotRelease() takes back the slot's xmin first, and only
 * then lets the session's own count. A row deleted in that moment can be pruned though the snapshot
 * still sees it, and is missing in what is read: seen on 14, 15 and 18, a few times in ten
 * thousand.
 */

/* A slot comes to be when every transaction that writes has ended: say whom a long wait is for. */
static void warn_of_open_transactions(struct run *run)
{
    PGresult *r = command(run, run->loop.sql,
                          "SELECT max(age), string_agg(pid::text, ', ' ORDER BY age DESC)"
                          " FROM (SELECT pid, extract(epoch FROM now() - xact_start)::int AS age"
                          "  FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
                          "  ORDER BY age DESC LIMIT 5) AS open WHERE age >= 3");

    if (!PQgetisnull(r, 0, 0))
        msg_warn("transactions have been open for up to %s s: reading begins when they end, server "
                 "process ids %s",
                 PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1));
    PQclear(r);
}

static const char snapshot_transaction[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/* The command that creates a slot; with use as the first of a transaction, for its snapshot. */
static char *slot_command(const struct run *run, bool temporary, bool use)
{
    char *name = temporary ? slot_temporary_name() : mem_strdup(run->arguments->slot);
    bool failover = !temporary && run->arguments->failover;
    char *sql =
        failover
            ? mem_printf(
                  "CREATE_REPLICATION_SLOT \"%s\" LOGICAL pgoutput (SNAPSHOT '%s', FAILOVER)", name,
                  use ? "use" : "nothing")
            : mem_printf("CREATE_REPLICATION_SLOT \"%s\"%s LOGICAL pgoutput %s", name,
                         temporary ? " TEMPORARY" : "", use ? "USE_SNAPSHOT" : "NOEXPORT_SNAPSHOT");

    msg_info("creating slot %s", name);
    free(name);
    return sql;
}

static lsn_t consistent_point(const PGresult *created)
{
    lsn_t lsn;

    if (PQntuples(created) != 1 || PQnfields(created) < 2 ||
        !lsn_parse(PQgetvalue(created, 0, 1), &lsn) || !lsn)
        msg_die(EX_DATAERR, "the server's answer to CREATE_REPLICATION_SLOT has no LSN");
    return lsn;
}

/* ------------------------------------------------------------------ one table */

/* Whether somebody else has had it locked for longer than lock_timeout. */
static bool is_being_altered(const struct trouble *t)
{
    return !strcmp(t->sqlstate, "55P03");
}

/* Locks a part of the table against ALTER TABLE, until the end of the transaction. False: there is
 * none of this name any more, or one is under way: the next slot comes to be when it has ended. */
static bool hold_part(struct run *run, const struct table *table, const char *part)
{
    char *sql = mem_printf("SELECT FROM %s LIMIT 0", part);
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, sql, NULL);

    if (!r && strcmp(t.sqlstate, "42P01") && strcmp(t.sqlstate, "3F000") && !is_being_altered(&t))
        reading_give_up(&t, table);
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
    PGresult *parts = reading_parts(run, table, &t);
    bool altered = false;

    if (!parts)
        reading_give_up(&t, table);
    for (int i = 0; i < PQntuples(parts) && !altered; i++)
        altered = !hold_part(run, table, PQgetvalue(parts, i, 0));
    PQclear(parts);
    if (altered)
        return true;
    if (!catalog_stamp(run, now, table, &stamp, &t) || !(parts = reading_parts(run, table, &t)))
        reading_give_up(&t, table);
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
        reading_give_up(&t, table);
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
        bool refresh =
            table->selected && arguments_refresh(run->arguments, table->schema, table->name);
        bool covered = done && !refresh && !run->anew && table->shape &&
                       progress_covers(run, table, done->attempt);
        if (covered && mode != SNAPSHOT_ONLY)
            table->attempt = done->attempt;
        if (done && (mode == SNAPSHOT_NEVER || table->attempt)) {
            table->from = done->lsn;
            table->unread = false;
        }
        if (table->unread && done && !refresh && !run->anew && mode == SNAPSHOT_INITIAL &&
            run->progress.exists)
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

/* Locks and announces what is unread, in the transaction of loop.sql. now: a connection outside of
 * it. False: one of the tables has changed its shape since the snapshot, and a later one is needed.
 */
static bool hold_tables(struct run *run, PGconn *now, lsn_t lsn, lsn_t position)
{
    struct trouble t;

    if (!catalog_tables(run, true, &t)) { /* columns, filters, partitions: as of the snapshot */
        if (!is_being_altered(&t))
            reading_give_up(&t, NULL);
        msg_info("a table is being altered: trying again");
        return false;
    }
    leave_out_unlisted(run);
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread && was_altered(run, now, table)) {
            msg_info("table %s.%s was altered before it could be read: trying again", table->schema,
                     table->name);
            return false;
        }
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread)
            table->attempt = new_attempt(run, table);
    /* ahead of the snapshots: a table is only taken as read when dbx-load has the attempt, too */
    progress_write(run, position);
    /* all of them first: one that cannot be replicated is found before a row of any is loaded */
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->unread) {
            announce_table(run, table, lsn);
            replace_namesakes(run, table);
        }
    shapes_write(run);
    return true;
}

/* Begins to read what is unread, as of lsn, the consistent point of a new slot, whose connection is
 * in a transaction with its snapshot. False: as above. */
static bool begin_reading(struct run *run, PGconn *slot, lsn_t lsn, lsn_t position)
{
    struct loop *l = &run->loop;
    PGconn *usual = l->sql;
    struct trouble t;

    FAILPOINT("slot-made");
    PGresult *exported = command(run, slot, "SELECT pg_export_snapshot()");
    char *import = mem_printf("SET TRANSACTION SNAPSHOT '%s'", PQgetvalue(exported, 0, 0));
    PQclear(exported);
    PGconn *c = source_connect(l, run->arguments->conninfo, false, &t);
    if (!c)
        reading_give_up(&t, NULL);
    PQclear(command(run, c, snapshot_transaction));
    PQclear(command(run, c, import));
    PQclear(command(run, c, "SET LOCAL lock_timeout = '1s'"));
    free(import);
    l->sql = c; /* the catalog is asked inside of the snapshot */
    bool held = hold_tables(run, usual, lsn, position);
    if (held)
        reading_begin(run, c, lsn);
    else
        PQfinish(c);
    l->sql = usual;
    return held;
}

/* Creates a slot, the main one or a temporary one, and begins to read what is unread at its
 * consistent point, which it returns. */
static lsn_t read_at_new_slot(struct run *run, bool temporary, lsn_t position)
{
    struct trouble t;
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, &t);

    if (!c)
        reading_give_up(&t, NULL);
    warn_of_open_transactions(run);
    if (run->unread)
        PQclear(command(run, c, snapshot_transaction));
    char *sql = slot_command(run, temporary, run->unread);
    PGresult *created = command(run, c, sql);
    free(sql);
    lsn_t lsn = consistent_point(created);
    if (!temporary) {
        run->slot_exists = true;
        run->slot_lsn = lsn;
    }
    bool begun = !run->unread || begin_reading(run, c, lsn, position);
    PQclear(created);
    PQfinish(c); /* a temporary slot goes with it */
    return begun ? lsn : read_at_new_slot(run, true, position);
}

/* A slot that the server has invalidated is good for nothing any more. */
static void drop_lost_slot(struct run *run)
{
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t,
                               "SELECT pg_drop_replication_slot(slot_name)"
                               " FROM pg_replication_slots"
                               " WHERE slot_name = $1 AND wal_status = 'lost'",
                               run->arguments->slot, NULL);

    if (!r)
        trouble_die(&t, "cannot drop the slot");
    if (PQntuples(r))
        run->slot_exists = false;
    PQclear(r);
}

lsn_t snapshot_take(struct run *run)
{
    lsn_t open = run->loop.load.open_lsn;

    choose(run);
    if (run->anew)
        drop_lost_slot(run);
    bool create = !run->slot_exists && (run->arguments->create_slot || run->anew);
    run->anew = false;
    if (!create && (!run->unread || (open && run->arguments->snapshot != SNAPSHOT_ONLY))) {
        progress_write(run, open);
        return 0;
    }
    bool read = run->unread;
    lsn_t lsn = read_at_new_slot(run, !create, open);
    return read ? lsn : 0;
}

void snapshot_finish(struct run *run)
{
    int sockets[SNAPSHOT_JOBS_MAX];

    while (run->reading)
        if (!reading_some(run))
            loop_wait_any(&run->loop, sockets, reading_sockets(run, sockets), -1);
}

/* ------------------------------------------------------------------ in mid-stream */

static bool begin_making(struct run *run, lsn_t position, struct trouble *t)
{
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, t);

    if (!c)
        return false;
    run->making = (struct making){.c = c, .limit = position, .since = clock_ms()};
    PGresult *begun = source_query(&run->loop, c, t, snapshot_transaction, NULL);
    if (!begun)
        return false;
    PQclear(begun);
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

    if (!created)
        return false;
    begin_reading(run, run->making.c, consistent_point(created), position);
    PQclear(created);
    snapshot_cancel(run); /* it has served; what is unread still gets another one */
    return true;
}

bool snapshot_take_more(struct run *run, lsn_t position, struct trouble *t)
{
    struct making *m = &run->making;

    if (run->reading) /* first what was begun */
        return true;
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
