#include "changes.h"

#include <stdlib.h>

#include "failpoint.h"
#include "figures.h"
#include "frames.h"
#include "msg.h"
#include "settle.h"
#include "shape.h"
#include "snapshot.h"

#define CHECKPOINT_EVERY 1000 /* ms between those that only say that time goes by */
#define REFRESH_EVERY 10000   /* ms between looks at what is published */

static void write_checkpoint(struct changes *c)
{
    frames_checkpoint(c->run->loop.out, c->position, c->time);
    c->checkpoint = c->position;
    c->checkpoint_due = clock_ms() + CHECKPOINT_EVERY;
    read_figures[READ_POSITION].value = c->position;
    read_figures[READ_POSITION_TIME].value = (uint64_t)c->time;
}

void changes_begin(struct changes *c, struct run *run, lsn_t start, lsn_t target)
{
    *c = (struct changes){.run = run, .target = target, .position = start, .time = clock_us()};
    c->done = target && start >= target;
    c->refresh_due =
        run->arguments->snapshot == SNAPSHOT_NEVER ? INT64_MAX : clock_ms() + REFRESH_EVERY;
    write_checkpoint(c);
}

bool changes_whole(const struct changes *c)
{
    return !c->open;
}

/* While a slot is being made the position stays below what its consistent point may be. */
static void take_idle(struct changes *c)
{
    const struct making *m = &c->run->making;
    lsn_t lsn = m->c && m->limit < c->idle ? m->limit : c->idle;

    if (lsn <= c->position)
        return;
    c->position = lsn;
    c->time = c->idle_time;
    c->done = c->target && lsn >= c->target;
}

int64_t changes_tick(struct changes *c)
{
    if (c->inside || c->open)
        return INT64_MAX;
    take_idle(c);
    int64_t next = c->refresh_due;
    if (c->run->making.c && c->run->making.due < next)
        next = c->run->making.due;
    bool due = c->position > c->checkpoint;
    if (due && clock_ms() < c->checkpoint_due)
        return c->checkpoint_due < next ? c->checkpoint_due : next;
    if (due)
        write_checkpoint(c);
    return next;
}

void changes_idle(struct changes *c, lsn_t wal_end, int64_t time)
{
    if (c->inside || c->open)
        return;
    c->idle = wal_end;
    c->idle_time = time;
    changes_tick(c);
}

void changes_reset(struct changes *c)
{
    c->inside = false;
    c->idle = 0;
    c->backlog = 0;
}

void changes_end(struct changes *c)
{
    if (c->position > c->checkpoint)
        write_checkpoint(c);
    frames_end(c->run->loop.out, c->position);
}

/* ------------------------------------------------------------------ transactions */

static _Noreturn void bad(const struct changes *c, const char *what)
{
    msg_die(EX_DATAERR, "the server sent %s lsn=%s message=%llu", what, LSN_TEXT(c->lsn),
            (unsigned long long)c->seq);
}

static void take_begin(struct changes *c, const struct pgoutput *m)
{
    if (c->inside)
        bad(c, "a transaction inside another");
    if (c->open && c->open != m->begin.lsn)
        msg_die(EX_TEMPFAIL,
                "the server came back without the transaction that was being read (was it a "
                "failover?): start again lsn=%s",
                LSN_TEXT(c->open));
    c->inside = true;
    c->lsn = m->begin.lsn;
    c->begin_time = m->begin.time;
    c->xid = m->begin.xid;
    c->seen = false;
    c->seq = 0;
}

static void take_commit(struct changes *c, const struct pgoutput *m)
{
    if (!c->inside || m->commit.lsn != c->lsn)
        bad(c, "the end of a transaction that was not open");
    c->inside = false;
    c->position = m->commit.end;
    c->time = m->commit.time;
    c->done = c->target && c->position >= c->target;
    if (c->open == c->lsn) {
        c->open = 0;
        write_checkpoint(c);
        read_figures[READ_TRANSACTIONS].value++;
    } else {
        changes_tick(c);
    }
}

bool changes_reach(struct changes *c, lsn_t lsn)
{
    if (!c->target || lsn < c->target)
        return false;
    if (c->target > c->position)
        c->position = c->target;
    c->done = true;
    return true;
}

/* ------------------------------------------------------------------ reading tables again */

/* Tables that were read behind the target: the others get there, too. */
static void move_target(struct changes *c)
{
    if (!c->run->arguments->once || c->run->read_lsn <= c->target)
        return;
    c->target = c->run->read_lsn;
    c->done = c->position >= c->target;
}

static void withhold(struct changes *c, struct table *table, const char *why)
{
    settle_unread(c->run, table, c->position, why);
}

/* Looks at all that is published. What is new, or published otherwise, is unread then. */
static bool look_again(struct changes *c, struct trouble *t)
{
    if (!catalog_tables(c->run, false, t))
        return false;
    if (c->run->unread)
        progress_write(c->run, c->position);
    return settle_look(c->run, t);
}

bool changes_refresh(struct changes *c, struct trouble *t)
{
    if (c->inside || c->open)
        return true;
    if (clock_ms() >= c->refresh_due) {
        if (!look_again(c, t))
            return false;
        c->refresh_due = clock_ms() + REFRESH_EVERY;
    }
    if (!settle_define(c->run, c->position, t))
        return false;
    if (c->run->unread && !snapshot_take_more(c->run, c->position, t))
        return false;
    move_target(c);
    return true;
}

/* ------------------------------------------------------------------ relations */

/* What a table holds that was not published when we read the tables, or not ever since, is not in
 * the stream. Whatever is done to a publication, the server announces the table again before its
 * next change. */
static bool test_membership(struct changes *c, struct table *table, struct trouble *t)
{
    bool stayed;

    if (!catalog_stayed(c->run, table, &stayed, t))
        return false;
    if (!stayed)
        withhold(c, table, "is published in another way, or under another name");
    return true;
}

/*
 * Of a backlog the server announces each table again and again. One look at the catalog, which is
 * behind all of it, is enough for as long as the message is the same: whoever has altered the table
 * since then comes behind the backlog, too, and whose rows are in it, of an altered table, had seen
 * the table altered before we looked. A transaction that has altered it itself must have been
 * visible by then.
 */
static bool is_known(const struct changes *c, const struct table *table, const char *data,
                     size_t len)
{
    const struct buf *known = &table->known;

    if (c->lsn > table->known_to || (int32_t)(c->xid - c->horizon) >= 0)
        return false;
    return !table->selected ||
           (!table->unread && known->len == len && !memcmp(known->data, data, len));
}

static bool take_relation(struct changes *c, const struct pgoutput *m, const char *data, size_t len,
                          struct trouble *t)
{
    struct table *table = catalog_ignore(c->run, m->relation.oid);

    if (is_known(c, table, data, len)) {
        buf_clear(&table->announced);
        c->leaf = table->selected ? c->leaf : table->oid;
        return true;
    }
    if (!c->seen && !catalog_wait(c->run, c->xid, t))
        return false;
    c->seen = true;
    if (!table->selected && !look_again(c, t))
        return false;
    if (!table->selected) {
        table->known_to = c->backlog;
        c->leaf = table->oid;
        return true;
    }
    if (!table->unread &&
        !arguments_select(c->run->arguments, m->relation.schema, m->relation.table))
        withhold(c, table, "has a name by which it is not selected");
    bool reads = c->run->arguments->snapshot != SNAPSHOT_NEVER;
    if (reads && !table->unread && !test_membership(c, table, t))
        return false;
    /* asked of the catalog when a row needs it: many never do, and it may be hard to answer */
    buf_clear(&table->announced);
    buf_add(&table->announced, data, len);
    table->announced_lsn = c->lsn;
    table->announced_seq = c->seq;
    return true;
}

/* The first row of a partition that comes as its root's comes right behind the shape of the
 * partition. One that is none any more was detached or dropped, and its rows with it, of which the
 * WAL says nothing. */
static bool test_partition(struct changes *c, struct table *table, uint32_t leaf, struct trouble *t)
{
    bool is = true;

    if (!leaf || !table->partitioned || c->run->arguments->snapshot == SNAPSHOT_NEVER)
        return true;
    if (!catalog_is_partition(c->run, leaf, table, &is, t))
        return false;
    if (!is)
        withhold(c, table, "had a partition that is gone");
    return true;
}

/* Keeps what the table was announced with. */
static void know(const struct changes *c, struct table *table)
{
    lsn_t next = attributes_next(table->attributes, table->announced_lsn);
    struct buf spare = table->known;

    table->known = table->announced;
    table->known_to = next <= c->backlog ? next - 1 : c->backlog;
    buf_clear(&spare);
    table->announced = spare;
}

/* Writes the table's shape, unless downstream knows it. Afterwards the table may be unread. */
static bool announce(struct changes *c, struct table *table, struct trouble *t)
{
    struct pgoutput m;
    const char *why;

    if (!table->announced.len)
        return true;
    const char *problem =
        pgoutput_parse(&c->arena, table->announced.data, table->announced.len, &m);
    if (problem)
        bad(c, problem);
    struct shape *s = shape_of_message(c->run, table, &m, table->announced_lsn, t, &why);
    if (!s && !why)
        return false;
    if (!s) {
        buf_clear(&table->announced);
        withhold(c, table, why);
        return true;
    }
    if (table->attributes->changed) /* perhaps after this message */
        table->settle = table->attributes->lsn;
    bool same = table->shape && shape_same(s->relation, table->shape->relation);
    if (same && table->told) {
        shape_free(s);
    } else {
        s->relation->lsn = table->announced_lsn;
        s->relation->seq = table->announced_seq;
        relation_pack(c->run->loop.out, s->relation);
        same ? shape_replace(table, s) : shape_add(table, s);
        table->told = true;
    }
    know(c, table);
    return true;
}

/* ------------------------------------------------------------------ rows */

/* Whether a row of the table at the current position has to be written. */
static bool wanted(const struct changes *c, const struct table *table)
{
    bool was_sent = c->lsn < c->sent_lsn || (c->lsn == c->sent_lsn && c->seq <= c->sent_seq);

    return table->selected && !table->unread && c->lsn >= table->from && !was_sent;
}

static struct table *table_of(const struct changes *c, uint32_t oid)
{
    struct table *table = catalog_find(c->run, oid);

    if (!table)
        bad(c, "a row of a table that it has not announced");
    return table;
}

/* To be called before something of the transaction is written. */
static void open_transaction(struct changes *c)
{
    if (c->open == c->lsn)
        return;
    frames_begin(c->run->loop.out, c->lsn, c->begin_time, c->xid);
    c->open = c->lsn;
    c->message_lsn = 0;
}

/* To be called right before a row is written. */
static void before_row(struct changes *c)
{
    if (c->run->read_lsn && !c->run->reading)
        FAILPOINT("rejoin");
    open_transaction(c);
    c->sent_lsn = c->lsn;
    c->sent_seq = c->seq;
}

/* Under REPLICA IDENTITY FULL the old row carries what the new one leaves out. */
static void fill_unchanged(struct tuple *row, const struct tuple *old)
{
    for (unsigned i = 0; i < row->n; i++)
        if (row->values[i].kind == VALUE_UNCHANGED)
            row->values[i] = old->values[i];
}

/* An UPDATE that moves a row into a row filter comes as an INSERT, but without the values that are
 * TOASTed and did not change. Nobody downstream can have them. */
static bool is_whole(const struct tuple *row)
{
    for (unsigned i = 0; i < row->n; i++)
        if (row->values[i].kind == VALUE_UNCHANGED)
            return false;
    return true;
}

static bool take_row(struct changes *c, struct pgoutput *m, struct trouble *t)
{
    struct table *table = table_of(c, m->row.oid);
    struct stream_out *out = c->run->loop.out;
    const struct tuple *old = m->row.has_old ? &m->row.old : NULL;
    uint32_t leaf = c->leaf;

    c->seq++;
    c->leaf = 0;
    if (!wanted(c, table))
        return true;
    if (!test_partition(c, table, leaf, t) || !announce(c, table, t))
        return false;
    if (table->unread)
        return true;
    if (!table->told)
        bad(c, "a row of a table that it has not announced");
    unsigned n = table->shape->relation->ncolumns;
    if ((m->type != PGOUTPUT_DELETE && m->row.new.n != n) || (old && old->n != n))
        bad(c, "a row with another number of columns than its table");
    if (m->type == PGOUTPUT_INSERT && !is_whole(&m->row.new)) {
        withhold(c, table,
                 "has a row that moved into the row filter, of which the WAL lacks values (REPLICA "
                 "IDENTITY FULL keeps that from happening)");
        return true;
    }
    before_row(c);
    if (m->type == PGOUTPUT_INSERT) {
        frames_insert(out, table->oid, c->lsn, c->seq, &m->row.new);
        read_figures[READ_INSERTS].value++;
    } else if (m->type == PGOUTPUT_UPDATE) {
        if (m->row.old_is_whole)
            fill_unchanged(&m->row.new, old);
        frames_update(out, table->oid, c->lsn, c->seq, &m->row.new, old);
        read_figures[READ_UPDATES].value++;
    } else {
        frames_delete(out, table->oid, c->lsn, c->seq, old);
        read_figures[READ_DELETES].value++;
    }
    return true;
}

static bool take_truncate(struct changes *c, struct pgoutput *m, struct trouble *t)
{
    uint32_t *oids = m->truncate.oids;
    unsigned n = 0;

    c->seq++;
    for (unsigned i = 0; i < m->truncate.n; i++) {
        struct table *table = table_of(c, oids[i]);
        if (!wanted(c, table))
            continue;
        if (!announce(c, table, t))
            return false;
        if (!table->unread)
            oids[n++] = oids[i];
    }
    if (!n)
        return true;
    before_row(c);
    frames_truncate(c->run->loop.out, oids, n, c->lsn, c->seq, m->truncate.flags);
    read_figures[READ_TRUNCATES].value += n;
    return true;
}

/* After a reconnect what was written comes again. */
static void take_message(struct changes *c, const struct pgoutput *m)
{
    bool transactional = m->message.transactional;
    lsn_t *last = transactional ? &c->message_lsn : &c->loose_lsn;

    if (transactional)
        open_transaction(c);
    if (m->message.lsn <= *last)
        return;
    *last = m->message.lsn;
    frames_message(c->run->loop.out, transactional ? c->lsn : m->message.lsn, m);
}

bool changes_take(struct changes *c, const char *data, size_t len, struct trouble *t)
{
    struct pgoutput m;

    arena_reset(&c->arena);
    const char *problem = pgoutput_parse(&c->arena, data, len, &m);
    if (problem)
        bad(c, problem);
    bool loose = m.type == PGOUTPUT_BEGIN || m.type == PGOUTPUT_OTHER ||
                 (m.type == PGOUTPUT_MESSAGE && !m.message.transactional);
    if (!c->inside && !loose)
        bad(c, "a change outside a transaction");
    switch (m.type) {
    case PGOUTPUT_BEGIN:
        take_begin(c, &m);
        return true;
    case PGOUTPUT_COMMIT:
        take_commit(c, &m);
        return true;
    case PGOUTPUT_RELATION:
        return take_relation(c, &m, data, len, t);
    case PGOUTPUT_TRUNCATE:
        return take_truncate(c, &m, t);
    case PGOUTPUT_MESSAGE:
        take_message(c, &m);
        return true;
    case PGOUTPUT_OTHER:
        return true;
    default:
        return take_row(c, &m, t);
    }
}
