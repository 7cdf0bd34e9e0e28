#include "fetch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "drain.h"
#include "figures.h"
#include "inprogress.h"
#include "link.h"
#include "msg.h"
#include "settle.h"
#include "slot.h"

#define BACKLOG ((lsn_t)8 << 20) /* bytes of WAL from which on it is read by SQL */
#define KEEPALIVES_A_SECOND 20   /* more, for nothing: the server waits for us to go */
#define NAP_FIRST 100000         /* ns in which more may come, */
#define NAP_UNIX (2 * NAP_FIRST) /* and the longest of them, */
#define NAP_TCP (128 * NAP_FIRST)
#define NS_A_MESSAGE 20000 /* while one comes in that time */
#define WAL_HEADER 25      /* bytes before a message: 'w', two LSNs, a time */
#define KEEPALIVE_SIZE 18  /* 'k', an LSN, a time, whether a reply is wanted */

struct fetch {
    struct changes *c;
    struct drain *drain; /* or NULL: the stream, if loop.stream is there */
    struct inprogress *aside;
    char *last;     /* that the stream gave; PQfreemem it */
    long nap;       /* ns that we did last, or 0 */
    long taken;     /* messages of the stream since then */
    lsn_t idle_lsn; /* of the last keepalive */
    int64_t idle_since;
    unsigned idle_count; /* keepalives that asked for a reply since then */
};

/*
 * With `streaming` large transactions are sent while they are in progress, and not first written to
 * the server's disk. Not before 15, where a session that has seen a change of a table may go on to
 * send the table as it was published then: in a transaction that began before the publication's
 * change nobody could tell.
 */
struct fetch *fetch_new(struct changes *c)
{
    struct fetch *f = mem_alloc(sizeof *f);

    c->run->unstreamed = c->run->version < 150000;
    *f = (struct fetch){.c = c, .aside = inprogress_new(c->run->arguments->spool)};
    return f;
}

void fetch_free(struct fetch *f)
{
    drain_close(f->drain);
    inprogress_free(f->aside);
    PQfreemem(f->last);
    free(f);
}

/* ------------------------------------------------------------------ the choice */

/* Up to where changes are read by SQL: where there is so much to read that it is worth its
 * beginning and its end, and more than the server has to read again, for each copy of the slot,
 * from where the oldest transaction began that was open. 0: they are not. */
static bool choose(const struct fetch *f, bool by_sql, lsn_t *end, struct trouble *t)
{
    struct run *run = f->c->run;
    lsn_t from = f->c->position;
    int64_t delay;

    *end = 0;
    if (run->arguments->fetch == FETCH_STREAM)
        return true;
    if (!settle_ask_wal(run, end, &delay, t))
        return false;
    if (!by_sql && *end <= from + BACKLOG)
        *end = 0;
    else if (!by_sql && !slot_look(run, t))
        return false;
    else if (!by_sql && from - run->slot_restart > *end - from)
        *end = 0;
    if (f->c->target && *end > f->c->target)
        *end = f->c->target;
    return true;
}

static void streams_instead(const struct fetch *f, const struct trouble *t)
{
    bool asked = f->c->run->arguments->fetch == FETCH_SQL;

    if (trouble_is_unpublished(t))
        link_die_unpublished(t);
    (asked ? msg_warn : msg_info)("changes cannot be read by SQL, streaming instead: %s", t->text);
}

static bool begin(struct fetch *f, bool by_sql, struct trouble *t)
{
    lsn_t end;

    if (!choose(f, by_sql, &end, t))
        return false;
    f->drain = end ? drain_open(f->c, end, t) : NULL;
    if (f->drain) {
        f->c->backlog = end;
        return catalog_horizon(f->c->run, &f->c->horizon, t);
    }
    if (end)
        streams_instead(f, t);
    return link_stream(f->c, t);
}

bool fetch_open(struct fetch *f, struct trouble *t)
{
    return link_open(f->c, t) && begin(f, f->c->run->arguments->fetch == FETCH_SQL, t);
}

void fetch_close(struct fetch *f)
{
    struct loop *l = &f->c->run->loop;

    drain_close(f->drain);
    f->drain = NULL;
    PQfinish(l->stream);
    l->stream = NULL;
    PQfreemem(f->last);
    f->last = NULL;
    f->taken = 0;
    f->nap = 0;
    inprogress_reset(f->aside);
    changes_reset(f->c);
}

int fetch_socket(const struct fetch *f)
{
    return f->drain ? drain_socket(f->drain) : PQsocket(f->c->run->loop.stream);
}

bool fetch_inside(const struct fetch *f)
{
    return inprogress_inside(f->aside);
}

/* ------------------------------------------------------------------ the stream */

static uint64_t get64(const char *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* A server that wants to shut down, and cannot while we lag, asks for replies as fast as we give
 * them. */
static bool wants_us_to_go(struct fetch *f, lsn_t wal_end)
{
    int64_t now = clock_ms();

    if (wal_end != f->idle_lsn || now - f->idle_since > 1000) {
        f->idle_lsn = wal_end;
        f->idle_since = now;
        f->idle_count = 0;
    }
    return ++f->idle_count > KEEPALIVES_A_SECOND;
}

static enum fetched take_keepalive(struct fetch *f, const char *data, struct trouble *t)
{
    struct loop *l = &f->c->run->loop;
    lsn_t wal_end = get64(data + 1);
    int64_t time = (int64_t)(get64(data + 9) + (uint64_t)LSN_EPOCH_US);

    if (wal_end > l->received)
        l->received = wal_end;
    changes_idle(f->c, wal_end, time);
    if (!data[KEEPALIVE_SIZE - 1])
        return FETCHED_OTHER;
    loop_status(l);
    if (!wants_us_to_go(f, wal_end))
        return FETCHED_OTHER;
    *t = (struct trouble){.text = "the server is shutting down"};
    return FETCHED_LOST;
}

/* Begins again at c->position; from here on transactions come after their commit. */
static enum fetched stop_streaming(struct fetch *f, const char *why, struct trouble *t)
{
    msg_info("no transaction is taken while it is in progress from here on: %s", why);
    f->c->run->unstreamed = true;
    fetch_close(f);
    return fetch_open(f, t) ? FETCHED_OTHER : FETCHED_LOST;
}

/* A message for us is one of a transaction that has ended. */
static enum fetched take_message(struct fetch *f, const char **data, size_t *len, struct trouble *t)
{
    struct loop *l = &f->c->run->loop;
    lsn_t lsn = get64(*data + 1);

    if (lsn > l->received)
        l->received = lsn;
    *data += WAL_HEADER;
    *len -= WAL_HEADER;
    if (!inprogress_take(f->aside, *data, *len))
        return FETCHED_MESSAGE;
    return inprogress_unclear(f->aside)
               ? stop_streaming(f, "a logical message may have been rolled back", t)
               : FETCHED_OTHER;
}

/* Of a transaction in progress the server may not see the catalog as it was, as when ALTER TABLE is
 * rolled back to a savepoint and another one follows. Once it has all of the transaction, it does.
 */
static bool is_of_streaming(const struct run *run, const struct trouble *t)
{
    return !run->unstreamed && *t->sqlstate &&
           (!trouble_is_temporary(t) || !strncmp(t->sqlstate, "XX", 2));
}

/* A server with a backlog sends each message by itself. Who takes each as it comes spends most of
 * the time on the way into the kernel and back, and so does the server, waking us up. While many
 * come we nap, longer and longer: of TCP the kernels hold much, and join what is small; a Unix
 * socket holds some 270 messages, and then the server stands still. False: no more is to come, and
 * what was taken is to go on. */
static bool nap(struct fetch *f)
{
    bool by_tcp = !source_is_socket(f->c->run->loop.stream);
    bool many = f->nap && f->taken >= f->nap / NS_A_MESSAGE;
    long longer = f->nap < (by_tcp ? NAP_TCP : NAP_UNIX) ? f->nap * 2 : f->nap;

    if (f->c->run->reading || !f->taken)
        f->nap = 0;
    else
        f->nap = many ? longer : f->nap ? 0 : NAP_FIRST;
    f->taken = 0;
    if (f->nap)
        nanosleep(&(struct timespec){.tv_nsec = f->nap}, NULL);
    return f->nap;
}

static enum fetched next_of_stream(struct fetch *f, const char **data, size_t *len,
                                   struct trouble *t)
{
    struct loop *l = &f->c->run->loop;
    char *aside;

    if (inprogress_next(f->aside, &aside, len)) {
        *data = aside;
        return FETCHED_MESSAGE;
    }
    PQfreemem(f->last);
    f->last = NULL;
    int n = source_copy_data(l->stream, &f->last);
    if (n == 0 && nap(f))
        n = source_copy_data(l->stream, &f->last);
    if (n == 0)
        return FETCHED_NOTHING;
    if (n < 0) {
        if (source_finish(l, l->stream, t))
            *t = (struct trouble){.text = "the server ended the replication"};
        return is_of_streaming(f->c->run, t) ? stop_streaming(f, t->text, t) : FETCHED_LOST;
    }
    read_figures[READ_RECEIVED_BYTES].value += (uint64_t)n;
    f->taken++;
    *data = f->last;
    *len = (size_t)n;
    if (n >= KEEPALIVE_SIZE && **data == 'k')
        return take_keepalive(f, *data, t);
    if (n < WAL_HEADER || **data != 'w')
        msg_die(EX_DATAERR, "the server sent a message of unknown type in the replication stream");
    return take_message(f, data, len, t);
}

/* ------------------------------------------------------------------ both */

enum fetched fetch_next(struct fetch *f, const char **data, size_t *len, struct trouble *t)
{
    if (f->drain) {
        enum drain_status status = drain_next(f->drain, data, len, t);
        if (status == DRAIN_MESSAGE) {
            read_figures[READ_RECEIVED_BYTES].value += *len;
            return FETCHED_MESSAGE;
        }
        if (status == DRAIN_WAIT)
            return FETCHED_NOTHING;
        fetch_close(f);
        if (status == DRAIN_END)
            return FETCHED_OTHER; /* perhaps this is the target */
        streams_instead(f, t);
        return link_stream(f->c, t) ? FETCHED_OTHER : FETCHED_LOST;
    }
    if (f->c->run->loop.stream)
        return next_of_stream(f, data, len, t);
    if (f->c->done) /* unless the target moves */
        return FETCHED_NOTHING;
    return begin(f, false, t) ? FETCHED_OTHER : FETCHED_LOST;
}
