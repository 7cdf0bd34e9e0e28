#include "replicate.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "drain.h"
#include "figures.h"
#include "link.h"
#include "msg.h"
#include "reading.h"
#include "settle.h"
#include "shapes.h"
#include "snapshot.h"

#define BACKOFF_FIRST 1000        /* ms; doubles … */
#define BACKOFF_LAST 30000        /* … up to here */
#define BACKLOG ((lsn_t)64 << 20) /* bytes of WAL from which on it is read by SQL */
#define PATIENCE (10 * 60000)     /* ms that the server may stay away */
#define STOP_PATIENCE 10000       /* ms that a transaction may take to end after a signal */
#define POSITION_EVERY 1000       /* ms between writes of our own state, and looks at the WAL */
#define KEEPALIVES_A_SECOND 20    /* more, for nothing: the server waits for us to go */

struct replication {
    struct changes *c;
    struct drain *drain;   /* what changes come by at first, or NULL: the stream */
    int64_t stop_deadline; /* 0: no signal yet */
    int64_t position_due;  /* for our own state, and figures */
    int64_t backoff;       /* the next one */
    int64_t away_since;    /* when the connection was lost; 0: it works */
    char *message;         /* the last that the stream gave: PQfreemem it */
    char *held;            /* one for which it is too early, or NULL */
    size_t held_len;
    lsn_t first;    /* transaction that this session has sent; 0: none yet */
    lsn_t idle_lsn; /* of the last keepalive */
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

static bool take_keepalive(struct replication *r, const char *data, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;
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

static bool take_message(struct replication *r, const char *data, size_t len, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    read_figures[READ_RECEIVED_BYTES].value += len;
    if (len >= 18 && *data == 'k')
        return take_keepalive(r, data, t);
    if (len < 25 || *data != 'w')
        msg_die(EX_DATAERR, "the server sent a message of unknown type in the replication stream");
    lsn_t lsn = get64(data + 1);
    if (lsn > l->received)
        l->received = lsn;
    return changes_take(r->c, data + 25, len - 25, t);
}

static bool is_begin(const char *data, size_t len)
{
    return *data == 'w' && len >= 34 && data[25] == 'B';
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
static bool is_outdated(struct replication *r, const char *data, size_t len)
{
    struct run *run = r->c->run;

    if (run->version >= 150000 || !is_begin(data, len))
        return false;
    lsn_t lsn = get64(data + 26);
    if (!r->first) {
        r->first = lsn;
        run->renew = next_snapshot(run, lsn);
    }
    return run->renew && lsn >= run->renew;
}

/* Whether there is so much to read that reading it by SQL is worth its beginning and its end. */
static bool drains(const struct replication *r, bool *yes, struct trouble *t)
{
    struct run *run = r->c->run;
    lsn_t wal_end = 0;
    int64_t delay;

    *yes = run->arguments->fetch == FETCH_SQL;
    if (run->arguments->fetch != FETCH_AUTO)
        return true;
    bool good = settle_ask_wal(run, &wal_end, &delay, t);
    *yes = wal_end > r->c->position + BACKLOG;
    return good;
}

/* The publications exist now: that was tested. */
static bool is_unpublished(const struct trouble *t)
{
    return !strcmp(t->sqlstate, "42704");
}

static void streams_instead(const struct replication *r, const struct trouble *t)
{
    bool asked = r->c->run->arguments->fetch == FETCH_SQL;

    if (is_unpublished(t))
        link_die_unpublished(t);

    (asked ? msg_warn : msg_info)("changes cannot be read by SQL, streaming instead: %s", t->text);
}

/* Has changes come, from c->position on. */
static bool open_source(struct replication *r, struct trouble *t)
{
    bool by_sql;

    if (!link_open(r->c, t) || !drains(r, &by_sql, t))
        return false;
    r->drain = by_sql ? drain_open(r->c, t) : NULL;
    if (by_sql && !r->drain)
        streams_instead(r, t);
    return r->drain || link_stream(r->c, t);
}

static void close_source(struct replication *r)
{
    struct loop *l = &r->c->run->loop;

    drain_close(r->drain);
    r->drain = NULL;
    PQfinish(l->stream);
    l->stream = NULL;
    PQfreemem(r->message);
    r->message = r->held = NULL;
    r->first = 0;
    changes_reset(r->c);
}

static bool renew(struct replication *r, struct trouble *t)
{
    close_source(r);
    return open_source(r, t);
}

/* A transaction that may lie behind the consistent point of a slot that is being made: what it does
 * to a table that will be read there has to be passed on. At the target there is nothing to take.
 */
static bool is_too_early(const struct replication *r, const char *data, size_t len)
{
    const struct making *m = &r->c->run->making;

    if (*data != 'w' || len < 34)
        return false;
    if (!is_begin(data, len))
        return r->c->done;
    lsn_t lsn = get64(data + 26);
    return changes_reach(r->c, lsn) || (m->c && lsn >= m->limit);
}

enum next { NEXT_MESSAGE, NEXT_WAIT, NEXT_AGAIN, NEXT_LOST };

static enum next next_of_drain(struct replication *r, char **data, size_t *len, struct trouble *t)
{
    switch (drain_next(r->drain, data, len, t)) {
    case DRAIN_MESSAGE:
        return NEXT_MESSAGE;
    case DRAIN_WAIT:
        return NEXT_WAIT;
    case DRAIN_FAILED:
        streams_instead(r, t);
        break;
    case DRAIN_END:
        break;
    }
    close_source(r);
    return NEXT_AGAIN;
}

/* Behind the target there is nothing to take, unless the target moves. */
static enum next next_of_none(struct replication *r, struct trouble *t)
{
    if (r->c->done)
        return NEXT_WAIT;
    return link_stream(r->c, t) ? NEXT_AGAIN : NEXT_LOST;
}

static enum next next_of_stream(struct replication *r, char **data, size_t *len, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    PQfreemem(r->message);
    r->message = NULL;
    int n = source_copy_data(l->stream, &r->message);
    *data = r->message;
    *len = n > 0 ? (size_t)n : 0;
    if (n >= 0)
        return n ? NEXT_MESSAGE : NEXT_WAIT;
    if (source_finish(l, l->stream, t))
        *t = (struct trouble){.text = "the server ended the replication"};
    return NEXT_LOST;
}

/* *data stays until the next call. */
static enum next next_message(struct replication *r, char **data, size_t *len, struct trouble *t)
{
    enum next next = NEXT_MESSAGE;

    *data = r->held;
    *len = r->held_len;
    if (!r->held)
        next = r->drain                 ? next_of_drain(r, data, len, t)
               : r->c->run->loop.stream ? next_of_stream(r, data, len, t)
                                        : next_of_none(r, t);
    r->held = NULL;
    if (next != NEXT_MESSAGE || !is_too_early(r, *data, *len))
        return next;
    r->held = *data;
    r->held_len = *len;
    return NEXT_WAIT;
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
    fds[0] = r->held ? -1 : r->drain ? drain_socket(r->drain) : PQsocket(run->loop.stream);
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
        char *data;
        size_t len;
        if (!stop_requested() && !changes_refresh(r->c, t))
            return false;
        if (ends(r))
            return true;
        bool rows = reading_some(r->c->run);
        if (!note_position(r, t))
            return false;
        enum next next = next_message(r, &data, &len, t);
        if (next == NEXT_LOST)
            return false;
        if (next == NEXT_MESSAGE) {
            r->away_since = 0;
            r->backoff = BACKOFF_FIRST;
            bool good = is_outdated(r, data, len) ? renew(r, t) : take_message(r, data, len, t);
            if (!good || !wait_for_room(r, t))
                return false;
            loop_push(l);
        } else if (next == NEXT_WAIT) {
            int64_t until = changes_tick(r->c);
            if (!rows)
                wait_for_more(r, until);
            if (PQstatus(l->sql) != CONNECTION_OK) { /* and with it went the lock on the slot */
                trouble_of_connection(t, l->sql);
                return false;
            }
        }
    }
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

static void lost(struct replication *r, const struct trouble *t)
{
    if (is_unpublished(t))
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
    struct replication r = {.c = c, .backoff = BACKOFF_FIRST};
    struct trouble t;

    c->run->loop.quit_on_stop = false;
    while (!open_source(&r, &t) || !stream(&r, &t)) {
        close_source(&r);
        link_close(&c->run->loop);
        snapshot_cancel(c->run);
        lost(&r, &t);
        wait_before_retry(&r);
        if (ends(&r))
            break;
    }
    drain_close(r.drain);
    PQfreemem(r.message);
}
