#include "drain.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "backlog.h"
#include "cli.h"
#include "failpoint.h"
#include "link.h"
#include "msg.h"
#include "slot.h"

#define MEMORY ((size_t)16 << 20)  /* of messages put aside; the rest goes into a file */
#define STRETCH ((lsn_t)128 << 20) /* bytes of WAL for a call; doubles … */
#define STRETCH_MAX ((lsn_t)1 << 30)
#define DEAR 2000                 /* ms that a call may take in any case, */
#define DEARER 3                  /* and times as long as the first one for a byte */
#define FOLLOW ((lsn_t)256 << 20) /* bytes of WAL after which the slot follows */

#define FIELD 6 /* bytes that COPY puts before a value: the count of fields, and its length */

struct drain {
    struct changes *c;
    PGconn *conn;
    char *slot;
    struct backlog *backlog;
    lsn_t read;    /* what is before it is in the backlog, or was taken from it */
    lsn_t asked;   /* the call under way goes up to here, or to where the WAL ended */
    bool ready;    /* the backlog holds a call's result, whole, and it is being taken */
    bool ends;     /* there is no call under way any more */
    bool copying;  /* the result of the one that is has begun … */
    bool begun;    /* … and its first row was seen */
    lsn_t stretch; /* bytes that the next is to read */
    int64_t since; /* when it was made; clock_ms */
    bool waited;   /* for it, with nothing else to do */
    double a_byte; /* milliseconds that the first one took; 0: there was none */
};

/* ------------------------------------------------------------------ the copy of the slot */

/* Names of slots need no quotes. */
static PGresult *ask(struct drain *d, struct trouble *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static PGresult *ask(struct drain *d, struct trouble *t, const char *format, ...)
{
    char sql[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(sql, sizeof sql, format, ap);
    va_end(ap);
    return source_query(&d->c->run->loop, d->conn, t, sql, NULL);
}

static bool copy_slot(struct drain *d, struct trouble *t)
{
    const char *slot = d->c->run->arguments->slot;
    PGresult *r = ask(d, t, "SELECT lsn FROM pg_copy_logical_replication_slot('%s', '%s', true)",
                      slot, d->slot);

    if (!r || !lsn_parse(PQgetvalue(r, 0, 0), &d->read)) {
        PQclear(r);
        return false;
    }
    PQclear(r);
    if (d->read >= d->c->position)
        return true;
    d->read = d->c->position;
    r = ask(d, t, "SELECT pg_replication_slot_advance('%s', '%s')", d->slot, LSN_TEXT(d->read));
    PQclear(r);
    return r != NULL;
}

/* A server that does not know the setting, because of what it runs on, does not notice before it
 * sends that we are gone. */
static void notice_our_end(struct drain *d)
{
    struct trouble t;

    PQclear(ask(d, &t, "SET client_connection_check_interval = '1s'"));
}

/* ------------------------------------------------------------------ calls */

static bool call(struct drain *d, struct trouble *t)
{
    struct buf sql = {0};

    d->asked = d->read + d->stretch;
    if (d->c->target && d->asked > d->c->target)
        d->asked = d->c->target;
    buf_printf(&sql,
               "COPY (SELECT data FROM pg_logical_slot_get_binary_changes('%s', '%s', NULL, "
               "'proto_version', '1', 'messages', 'true', 'publication_names', '",
               d->slot, LSN_TEXT(d->asked));
    link_publication_names(&sql, d->c->run->arguments);
    buf_str(&sql, "')) TO STDOUT (FORMAT binary)");
    bool sent = PQsendQuery(d->conn, sql.data);
    buf_free(&sql);
    if (!sent)
        trouble_of_connection(t, d->conn);
    d->copying = d->begun = d->waited = false;
    d->since = clock_ms();
    return sent;
}

/* A call reads again from where the oldest transaction began that was open at its start. Where that
 * is far behind calls for more are made, and in the end none. It does not matter where nobody waits
 * for the server. */
static bool is_dear(struct drain *d, lsn_t from)
{
    double ms = (double)(clock_ms() - d->since), bytes = (double)(d->read - from + 1);

    if (d->a_byte == 0 && d->waited)
        d->a_byte = ms / bytes;
    if (!d->waited || ms < DEAR || ms / bytes < DEARER * d->a_byte)
        return false;
    d->stretch *= 2;
    if (d->stretch <= STRETCH_MAX)
        return false;
    msg_info("a transaction has been open for long, and the server reads from where it began again "
             "and again: streaming instead");
    return true;
}

/* Where the copy stands: all that is before it was given. */
static bool ask_where(struct drain *d, struct trouble *t)
{
    PGresult *r =
        ask(d, t, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '%s'",
            d->slot);
    bool good = r && PQntuples(r) == 1 && lsn_parse(PQgetvalue(r, 0, 0), &d->read);

    if (r && !good)
        *t = (struct trouble){.text = "the copy of the slot is gone"};
    PQclear(r);
    return good;
}

/* The slot keeps the WAL from where it stands, and nothing else moves it meanwhile. */
static bool let_slot_follow(struct run *run, struct trouble *t)
{
    lsn_t applied = run->loop.load.applied;

    return applied < run->slot_lsn + FOLLOW || slot_advance(run, applied, t);
}

static bool finish_call(struct drain *d, struct trouble *t)
{
    lsn_t from = d->read;

    if (!source_finish(&d->c->run->loop, d->conn, t) || !ask_where(d, t))
        return false;
    FAILPOINT("drain");
    d->ready = true;
    d->ends = d->read < d->asked || (d->c->target && d->read >= d->c->target) || is_dear(d, from);
    return d->ends || (call(d, t) && let_slot_follow(d->c->run, t));
}

/* ------------------------------------------------------------------ messages */

static uint32_t get32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* The rows of COPY in binary: before the first stands a header, and the last has -1 for its count
 * of fields. */
static bool put_aside(struct drain *d, const char *row, size_t len)
{
    static const char header[19] = "PGCOPY\n\377\r\n"; /* a NUL, no flags, no extension */

    if (!d->begun) {
        if (len < sizeof header || memcmp(row, header, sizeof header))
            return false;
        row += sizeof header;
        len -= sizeof header;
        d->begun = true;
    }
    if (len == 2)
        return !memcmp(row, "\377\377", 2);
    if (len < FIELD || memcmp(row, "\0\1", 2) || get32(row + 2) != len - FIELD)
        return false;
    backlog_put(d->backlog, row + FIELD, len - FIELD);
    return true;
}

/* Takes what has come of the call's result. DRAIN_END: all of it. */
static enum drain_status receive(struct drain *d, struct trouble *t)
{
    char *row;
    int n;

    while ((n = source_copy_data(d->conn, &row)) > 0) {
        bool good = put_aside(d, row, (size_t)n);
        PQfreemem(row);
        if (!good)
            msg_die(EX_DATAERR, "a row of COPY cannot be taken apart");
    }
    if (n == -2)
        trouble_of_connection(t, d->conn);
    return n == 0 ? DRAIN_WAIT : n == -1 ? DRAIN_END : DRAIN_FAILED;
}

/* The server has nothing to say before it has decoded it all. */
static enum drain_status wait_for_result(struct drain *d, struct trouble *t)
{
    if (!PQconsumeInput(d->conn)) {
        trouble_of_connection(t, d->conn);
        return DRAIN_FAILED;
    }
    if (PQisBusy(d->conn)) {
        d->waited = true;
        return DRAIN_WAIT;
    }
    PGresult *r = source_result(&d->c->run->loop, d->conn, t);
    d->copying = r != NULL;
    PQclear(r);
    return r ? DRAIN_MESSAGE : DRAIN_FAILED;
}

enum drain_status drain_next(struct drain *d, const char **data, size_t *len, struct trouble *t)
{
    enum drain_status status;
    char *message;

    for (;;) {
        if (d->ready && backlog_take(d->backlog, &message, len)) {
            *data = message;
            return DRAIN_MESSAGE;
        }
        if (d->ready)
            changes_idle(d->c, d->read, clock_us());
        d->ready = false;
        if (d->ends)
            return DRAIN_END;
        if (!d->copying && (status = wait_for_result(d, t)) != DRAIN_MESSAGE)
            return status;
        if ((status = receive(d, t)) != DRAIN_END)
            return status;
        if (!finish_call(d, t))
            return DRAIN_FAILED;
    }
}

int drain_socket(const struct drain *d)
{
    return PQsocket(d->conn);
}

/* ------------------------------------------------------------------ begin and end */

struct drain *drain_open(struct changes *c, struct trouble *t)
{
    struct drain *d = mem_alloc(sizeof *d);

    d->c = c;
    d->stretch = STRETCH;
    d->slot = slot_temporary_name();
    d->backlog = backlog_new(c->run->arguments->spool, MEMORY);
    d->conn = link_connect(c->run, t);
    if (d->conn && copy_slot(d, t)) {
        notice_our_end(d);
        if (call(d, t)) {
            msg_info("reading changes by SQL from %s", LSN_TEXT(d->read));
            return d;
        }
    }
    drain_close(d);
    return NULL;
}

void drain_close(struct drain *d)
{
    if (!d)
        return;
    PQfinish(d->conn);
    backlog_free(d->backlog);
    free(d->slot);
    free(d);
}
