#include "replicate.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fetch.h"
#include "figures.h"
#include "link.h"
#include "msg.h"
#include "reading.h"
#include "settle.h"
#include "shapes.h"
#include "snapshot.h"

#define BACKOFF_FIRST 1000    /* ms; doubles … */
#define BACKOFF_LAST 30000    /* … up to here */
#define PATIENCE (10 * 60000) /* ms that the server may stay away */
#define STOP_PATIENCE 10000   /* ms that a transaction may take to end after a signal */
#define POSITION_EVERY 1000   /* ms between writes of our own state, and looks at the WAL */
struct replication {
    struct changes *c;
    struct fetch *fetch;
    int64_t stop_deadline; /* 0: no signal yet */
    int64_t position_due;  /* for our own state, and figures */
    int64_t backoff;       /* the next one */
    int64_t away_since;    /* when the connection was lost; 0: it works */
    const char *held;      /* a message for which it is too early, or NULL */
    size_t held_len;
    lsn_t first; /* transaction that this session has sent; 0: none yet */
};

static bool is_begin(const char *data, size_t len)
{
    return len >= 9 && *data == 'B';
}

static lsn_t begin_lsn(const char *data)
{
    lsn_t lsn = 0;

    for (int i = 1; i <= 8; i++)
        lsn = lsn << 8 | (unsigned char)data[i];
    return lsn;
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
    lsn_t lsn = begin_lsn(data);
    if (!r->first) {
        r->first = lsn;
        run->renew = next_snapshot(run, lsn);
    }
    return run->renew && lsn >= run->renew;
}

static void close_session(struct replication *r)
{
    fetch_close(r->fetch);
    r->held = NULL;
    r->first = 0;
}

static bool renew(struct replication *r, struct trouble *t)
{
    close_session(r);
    return fetch_open(r->fetch, t);
}

/* A transaction that may lie behind the consistent point of a slot that is being made: what it does
 * to a table that will be read there has to be passed on. At the target there is nothing to take.
 */
static bool is_too_early(const struct replication *r, const char *data, size_t len)
{
    const struct making *m = &r->c->run->making;

    if (!is_begin(data, len))
        return r->c->done;
    lsn_t lsn = begin_lsn(data);
    return changes_reach(r->c, lsn) || (m->c && lsn >= m->limit);
}

static enum fetched next_message(struct replication *r, const char **data, size_t *len,
                                 struct trouble *t)
{
    enum fetched fetched = FETCHED_MESSAGE;

    *data = r->held;
    *len = r->held_len;
    if (!r->held)
        fetched = fetch_next(r->fetch, data, len, t);
    r->held = NULL;
    if (fetched != FETCHED_MESSAGE || !is_too_early(r, *data, *len))
        return fetched;
    r->held = *data;
    r->held_len = *len;
    return FETCHED_NOTHING;
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
    if (r->c->done && !r->c->run->unread && !r->c->run->reading)
        return true;
    if (!stop_requested())
        return false;
    if (changes_whole(r->c))
        return true;
    int64_t now = clock_ms();
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
    fds[0] = r->held ? -1 : fetch_socket(r->fetch);
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

static bool take(struct replication *r, const char *data, size_t len, struct trouble *t)
{
    return is_outdated(r, data, len) ? renew(r, t) : changes_take(r->c, data, len, t);
}

/* True: the stream ends here. False: the connection is lost, *t says why. */
static bool stream(struct replication *r, struct trouble *t)
{
    struct loop *l = &r->c->run->loop;

    for (;;) {
        const char *data;
        size_t len;
        bool piece = fetch_inside(r->fetch); /* more comes as fast as it can */
        if (!piece && !stop_requested() && !changes_refresh(r->c, t))
            return false;
        if (ends(r))
            return true;
        bool rows = reading_some(r->c->run);
        if (!note_position(r, t))
            return false;
        enum fetched fetched = next_message(r, &data, &len, t);
        if (fetched == FETCHED_LOST)
            return false;
        if (fetched != FETCHED_NOTHING) {
            r->away_since = 0;
            r->backoff = BACKOFF_FIRST;
            if (fetched == FETCHED_MESSAGE && !take(r, data, len, t))
                return false;
            if (!wait_for_room(r, t))
                return false;
            loop_push(l);
        } else {
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
    if (trouble_is_unpublished(t))
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
    struct replication r = {.c = c, .fetch = fetch_new(c), .backoff = BACKOFF_FIRST};
    struct trouble t;

    c->run->loop.quit_on_stop = false;
    while (!fetch_open(r.fetch, &t) || !stream(&r, &t)) {
        close_session(&r);
        link_close(&c->run->loop);
        snapshot_cancel(c->run);
        lost(&r, &t);
        wait_before_retry(&r);
        if (ends(&r))
            break;
    }
    fetch_free(r.fetch);
}
