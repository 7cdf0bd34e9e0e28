#include "replicate.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "figures.h"
#include "inprogress.h"
#include "link.h"
#include "msg.h"
#include "reading.h"
#include "settle.h"
#include "shapes.h"
#include "snapshot.h"

#define BACKOFF_FIRST 1000     /* ms; doubles … */
#define BACKOFF_LAST 30000     /* … up to here */
#define PATIENCE (10 * 60000)  /* ms that the server may stay away */
#define STOP_PATIENCE 10000    /* ms that a transaction may take to end after a signal */
#define POSITION_EVERY 1000    /* ms between writes of our own state, and looks at the WAL */
#define KEEPALIVES_A_SECOND 20 /* more, for nothing: the server waits for us to go */
#define WAL_HEADER 25          /* bytes before a message of pgoutput: 'w', two LSNs, a time */

/* Of the stream, or of a transaction that was put aside. */
struct message {
    char *copy; /* the stream's, to be freed with PQfreemem, or NULL */
    char *data; /* pgoutput's; NULL: it is none of pgoutput's */
    size_t len;
};

struct replication {
    struct changes *c;
    struct inprogress *aside;
    int64_t stop_deadline; /* 0: no signal yet */
    int64_t position_due;  /* for our own state, and figures */
    int64_t backoff;       /* the next one */
    int64_t away_since;    /* when the connection was lost; 0: it works */
    struct message held;   /* it is too early for it; data: NULL if there is none */
    lsn_t first;           /* transaction that this session has sent; 0: none yet */
    lsn_t idle_lsn;        /* of the last keepalive */
    int64_t idle_since;
    unsigned idle_count; /* keepalives that asked for a reply since then */
};

static uint64_t get64(const char *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* A server that wants to shut down, and cannot while we lag, asks for replies as fast as we give
 * them. */
static bool wants_us_to_go(struct replication *r, lsn_t wal_end)
{
    int64_t now = clock_ms();

    if (wal_end != r->idle_lsn || now - r->idle_since > 1000) {
        r->idle_lsn = wal_end;
        r->idle_since = now;
        r->idle_count = 0;
    }
    return ++r->idle_count > KEEPALIVES_A_SECOND;
}

static bool take_keepalive(struct replication *r, const char *data, size_t len, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    if (len < 18 || *data != 'k')
        msg_die(EX_DATAERR, "the server sent a message of unknown type in the replication stream");
    lsn_t wal_end = get64(data + 1);
    int64_t time = (int64_t)(get64(data + 9) + (uint64_t)LSN_EPOCH_US);

    if (wal_end > l->received)
        l->received = wal_end;
    changes_idle(r->c, wal_end, time);
    if (!data[17])
        return true;
    loop_status(l);
    if (wants_us_to_go(r, wal_end)) {
        *t = (struct trouble){.text = "the server is shutting down"};
        return false;
    }
    return true;
}

/* The next message: above 0. Else as source_copy_data. */
static int receive(struct replication *r, struct message *m)
{
    struct loop *l = &r->c->run->loop;

    *m = (struct message){0};
    if (inprogress_next(r->aside, &m->data, &m->len))
        return 1;
    int n = source_copy_data(l->stream, &m->copy);
    if (n <= 0)
        return n;
    m->len = (size_t)n;
    read_figures[READ_RECEIVED_BYTES].value += m->len;
    if (*m->copy != 'w' || n < WAL_HEADER)
        return n;
    lsn_t lsn = get64(m->copy + 1);
    if (lsn > l->received)
        l->received = lsn;
    m->data = m->copy + WAL_HEADER;
    m->len -= WAL_HEADER;
    return n;
}

static bool take_message(struct replication *r, const struct message *m, struct trouble *t)
{
    if (!m->data)
        return take_keepalive(r, m->copy, m->len, t);
    if (m->copy && inprogress_take(r->aside, m->data, m->len))
        return true;
    return changes_take(r->c, m->data, m->len, t);
}

static bool is_begin(const struct message *m)
{
    return m->data && m->len >= 9 && *m->data == 'B';
}

static lsn_t begin_lsn(const struct message *m)
{
    return get64(m->data + 1);
}

/* The first snapshot of a table that lies behind a session's first transaction. */
static lsn_t next_snapshot(const struct run *run, lsn_t first)
{
    lsn_t next = 0;

    for (const struct table *table = run->tables; table; table = table->hh.next)
        if (table->from > first && (!next || table->from < next))
            next = table->from;
    return next;
}

/*
 * Before 15 a session that has seen a change of a table goes on to send its changes, or not to, as
 * what it was published as then, also when it has become a partition or ceased to be one (15's
 * rel_sync_cache_relation_cb looks again). The tables concerned are read again, and what is behind
 * their snapshot has to come from a session that has seen nothing before it.
 */
static bool is_outdated(struct replication *r, const struct message *m)
{
    struct run *run = r->c->run;

    if (run->version >= 150000 || !is_begin(m))
        return false;
    lsn_t lsn = begin_lsn(m);
    if (!r->first) {
        r->first = lsn;
        run->renew = next_snapshot(run, lsn);
    }
    return run->renew && lsn >= run->renew;
}

static void forget_session(struct replication *r)
{
    PQfreemem(r->held.copy);
    r->held = (struct message){0};
    r->first = 0;
    inprogress_reset(r->aside);
}

static bool renew(struct replication *r, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    PQfinish(l->stream);
    l->stream = NULL;
    forget_session(r);
    return link_open(r->c, t);
}

/* A transaction that may lie behind the consistent point of a slot that is being made: what it does
 * to a table that will be read there has to be passed on. At the target there is nothing to take.
 */
static bool is_too_early(const struct replication *r, const struct message *m)
{
    const struct making *making = &r->c->run->making;

    if (!m->data)
        return false;
    if (!is_begin(m))
        return r->c->done;
    lsn_t lsn = begin_lsn(m);
    return changes_reach(r->c, lsn) || (making->c && lsn >= making->limit);
}

static int next_message(struct replication *r, struct message *m)
{
    int n = 1;

    *m = r->held;
    if (!m->data)
        n = receive(r, m);
    r->held = (struct message){0};
    if (n <= 0 || !is_too_early(r, m))
        return n;
    r->held = *m;
    return 0;
}

static void stop_streaming(struct run *run, const char *why)
{
    msg_info("from here on transactions are not sent while they are in progress: %s", why);
    run->unstreamed = true;
}

/* False: as changes_take. */
static bool take(struct replication *r, struct message *m, struct trouble *t)
{
    bool good = is_outdated(r, m) ? renew(r, t) : take_message(r, m, t);

    PQfreemem(m->copy);
    if (!good || !inprogress_unclear(r->aside))
        return good;
    stop_streaming(r->c->run, "a logical message may have been rolled back");
    return renew(r, t);
}

/* For eyes, now and then: how far we are, and the server; its messages don't say where its WAL
 * ends, only how far it has got itself. False: it could not be asked. */
static bool note_position(struct replication *r, struct trouble *t)
{
    struct run *run = r->c->run;
    lsn_t wal_end;
    int64_t delay;

    if (clock_ms() < r->position_due)
        return true;
    progress_write(run, r->c->position);
    shapes_note(run);
    bool good = !metrics_wanted() || settle_ask_wal(run, &wal_end, &delay, t);
    r->position_due = clock_ms() + POSITION_EVERY;
    return good;
}

/* Whether the stream ends here. */
static bool ends(struct replication *r)
{
    int64_t now = clock_ms();

    if (r->c->done && !r->c->run->unread && !r->c->run->reading)
        return true;
    if (!stop_requested())
        return false;
    if (changes_whole(r->c))
        return true;
    if (!r->stop_deadline)
        r->stop_deadline = now + STOP_PATIENCE;
    if (now >= r->stop_deadline) {
        msg_info("stopped inside a transaction; it will be read again");
        msg_exit(EX_TEMPFAIL);
    }
    return false;
}

/* Until there is a message, or rows of a table that is being read, or it is time. */
static void wait_for_more(struct replication *r, int64_t until)
{
    struct run *run = r->c->run;
    int fds[1 + SNAPSHOT_JOBS_MAX];

    if (r->stop_deadline && until > r->stop_deadline)
        until = r->stop_deadline;
    fds[0] = r->held.data ? -1 : PQsocket(run->loop.stream);
    loop_wait_any(&run->loop, fds, 1 + reading_sockets(run, fds + 1), until);
}

/* While a slow downstream makes us wait, how far we lag behind is what people want to know. */
static bool wait_for_room(struct replication *r, struct trouble *t)
{
    while (loop_is_full(&r->c->run->loop)) {
        if (!note_position(r, t))
            return false;
        loop_wait(&r->c->run->loop, -1, 0, r->position_due);
    }
    return true;
}

/* True: the stream ends here. False: the connection is lost, *t says why. */
static bool stream(struct replication *r, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    for (;;) {
        struct message m;
        bool piece = inprogress_inside(r->aside) && !r->held.data; /* comes as fast as it can */
        if (!piece && !stop_requested() && !changes_refresh(r->c, t))
            return false;
        if (ends(r))
            return true;
        bool rows = reading_some(r->c->run);
        if (!note_position(r, t))
            return false;
        int n = next_message(r, &m);
        if (n > 0) {
            r->away_since = 0;
            r->backoff = BACKOFF_FIRST;
            if (!take(r, &m, t) || !wait_for_room(r, t))
                return false;
            loop_push(l);
        } else if (n == 0) {
            int64_t until = changes_tick(r->c);
            if (!rows)
                wait_for_more(r, until);
            if (PQstatus(l->sql) != CONNECTION_OK) { /* and with it went the lock on the slot */
                trouble_of_connection(t, l->sql);
                return false;
            }
        } else {
            break;
        }
    }
    if (source_finish(l, l->stream, t))
        *t = (struct trouble){.text = "the server ended the replication"};
    return false;
}

static void wait_before_retry(struct replication *r)
{
    struct loop *l = &r->c->run->loop;
    int64_t now = clock_ms();
    int64_t pause = r->backoff / 2 + (int64_t)((uint64_t)clock_us() % (uint64_t)r->backoff) / 2;

    r->backoff = r->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : r->backoff * 2;
    for (int64_t until = now + pause; now < until && !stop_requested(); now = clock_ms())
        loop_wait(l, -1, 0, until);
}

/*
 * With `streaming` a large transaction is sent while it is in progress, and not first written to
 * the server's disk. Not before 15, where is_outdated could not tell what a session has seen of it.
 */
static bool can_stream(const struct run *run)
{
    return run->version >= 150000;
}

/* Of a transaction in progress the server may not see the catalog as it was, as when ALTER TABLE is
 * rolled back to a savepoint and another one follows. Once all of the transaction is there, it
 * does. */
static bool is_of_streaming(const struct run *run, const struct trouble *t)
{
    return !run->unstreamed && *t->sqlstate &&
           (!trouble_is_temporary(t) || !strncmp(t->sqlstate, "XX", 2));
}

static void lost(struct replication *r, const struct trouble *t)
{
    if (!strcmp(t->sqlstate, "42704")) /* the publications exist now: that was tested */
        link_die_unpublished(t);
    if (!trouble_is_temporary(t))
        trouble_die(t, "replication failed");
    int64_t now = clock_ms();
    if (!r->away_since)
        r->away_since = now;
    if (now - r->away_since > PATIENCE)
        trouble_die(t, "the server stayed away for 10 minutes");
    msg_warn("lost the server, trying again: %s", t->text);
    read_figures[READ_RECONNECTS].value++;
}

void replicate_run(struct changes *c)
{
    struct replication r = {
        .c = c, .aside = inprogress_new(c->run->arguments->spool), .backoff = BACKOFF_FIRST};
    struct trouble t;

    c->run->loop.quit_on_stop = false;
    c->run->unstreamed = !can_stream(c->run);
    while (!link_open(c, &t) || !stream(&r, &t)) {
        bool unstreamed = c->run->loop.stream && is_of_streaming(c->run, &t);
        link_close(&c->run->loop);
        snapshot_cancel(c->run);
        forget_session(&r);
        if (unstreamed)
            stop_streaming(c->run, t.text);
        else
            lost(&r, &t);
        wait_before_retry(&r);
        if (ends(&r))
            break;
    }
    forget_session(&r);
}
