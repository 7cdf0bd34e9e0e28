#include "drain.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "failpoint.h"
#include "link.h"
#include "msg.h"
#include "slot.h"

#define LANES 2                        /* copies of the slot */
#define STRETCH_MIN ((lsn_t)8 << 20)   /* bytes of WAL for a call: each lane has its part … */
#define STRETCH ((lsn_t)64 << 20)      /* … of up to this; grows … */
#define STRETCH_MAX ((lsn_t)256 << 20) /* … up to this where calls are dear, */
#define LARGE_MAX ((lsn_t)4 << 30)     /* and this where a transaction goes on */
#define PAGE ((lsn_t)64 << 10)         /* at most, of the WAL: a stretch ends with one */
#define DEAR 2000                      /* ms that a call may take in any case, */
#define DEARER 3                       /* and times as long as the first one for a byte */
#define FOLLOW ((lsn_t)256 << 20)      /* bytes of WAL after which the slot follows */
#define MEMORY (512 << 10)             /* kB, at most, that calls take of the server together */

#define FIELD 6 /* bytes that COPY puts before a value: the count of fields, and its length */

/* A copy of the slot, and the call that is under way with it. */
struct lane {
    PGconn *conn;
    char *slot;
    lsn_t from, to;
    int64_t since; /* when it was made; clock_ms */
    bool called;   /* there is one … */
    bool copying;  /* … its result has begun … */
    bool begun;    /* … its first row was seen … */
    bool any;      /* … and a message */
    bool large;    /* a transaction went on behind the one before it */
    int64_t took;  /* ms until its result began, */
    bool waited;   /* with nothing else for us to do */
};

struct drain {
    struct changes *c;
    struct lane lanes[LANES];
    unsigned n;    /* of them */
    unsigned turn; /* the one with the call that was made first */
    lsn_t next;    /* what is before it was asked for */
    lsn_t end;     /* the last call ends here */
    lsn_t stretch; /* bytes that the next is to read */
    bool large;    /* a transaction goes on behind the last one that has ended */
    double a_byte; /* milliseconds that the first one with a message took; 0: there was none */
    bool dear;     /* no more calls are made, whatever is left */
    char *row;     /* that was given last; PQfreemem it */
};

/* ------------------------------------------------------------------ copies of the slot */

/* Names of slots need no quotes. */
static bool ask(struct drain *d, struct lane *l, struct trouble *t, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool ask(struct drain *d, struct lane *l, struct trouble *t, const char *format, ...)
{
    char sql[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(sql, sizeof sql, format, ap);
    va_end(ap);
    PGresult *r = source_query(&d->c->run->loop, l->conn, t, sql, NULL);
    PQclear(r);
    return r != NULL;
}

static bool copy_slot(struct drain *d, struct lane *l, struct trouble *t)
{
    return ask(d, l, t, "SELECT pg_copy_logical_replication_slot('%s', '%s', true)",
               d->c->run->arguments->slot, l->slot);
}

static void close_lane(struct lane *l)
{
    PQfinish(l->conn);
    free(l->slot);
    *l = (struct lane){0};
}

static bool open_lane(struct drain *d, struct trouble *t)
{
    struct lane *l = &d->lanes[d->n];
    struct trouble ignored;

    l->slot = slot_temporary_name();
    l->conn = link_connect(d->c->run, t);
    if (!l->conn || !copy_slot(d, l, t)) {
        close_lane(l);
        return false;
    }
    /* one that refuses this, because of what it runs on, does not notice before it sends that we
     * are gone */
    ask(d, l, &ignored, "SET client_connection_check_interval = '1s'");
    d->n++;
    return true;
}

/* ------------------------------------------------------------------ calls */

/* How large a transaction may be before the server writes it to its disk, and reads it again, while
 * it decodes: one with much memory gives more of it, in kB, unless somebody has settled this. */
static void add_memory(const struct drain *d, struct buf *sql)
{
    int share = d->large ? 1 : LANES;

    buf_printf(sql,
               "SELECT set_config(name, greatest(setting::bigint, least(%d,"
               " pg_size_bytes(current_setting('shared_buffers')) / %d))::text, true)"
               " FROM pg_settings WHERE name = 'logical_decoding_work_mem'"
               " AND source IN ('default', 'configuration file');",
               MEMORY / share, 2048 * share);
}

/* Asks for the next stretch. The copy may stand beyond where it begins, if a record does not end
 * there. */
static bool call(struct drain *d, struct lane *l, struct trouble *t)
{
    struct buf sql = {0};

    *l = (struct lane){
        .conn = l->conn, .slot = l->slot, .from = d->next, .large = d->large, .since = clock_ms()};
    l->to = d->end - l->from > d->stretch ? (l->from + d->stretch) & ~(PAGE - 1) : d->end;
    add_memory(d, &sql);
    buf_printf(&sql,
               "SELECT pg_replication_slot_advance(slot_name, greatest(confirmed_flush_lsn, '%s'))"
               " FROM pg_replication_slots WHERE slot_name = '%s';",
               LSN_TEXT(l->from), l->slot);
    buf_printf(&sql,
               "COPY (SELECT data FROM pg_logical_slot_get_binary_changes('%s', '%s', NULL, "
               "'proto_version', '1', 'messages', 'true', 'publication_names', '",
               l->slot, LSN_TEXT(l->to));
    link_publication_names(&sql, d->c->run->arguments);
    buf_str(&sql, "')) TO STDOUT (FORMAT binary);");
    buf_printf(&sql, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '%s'",
               l->slot);
    l->called = PQsendQuery(l->conn, sql.data);
    buf_free(&sql);
    if (!l->called)
        trouble_of_connection(t, l->conn);
    d->next = l->to;
    return l->called;
}

/* Calls are made in turn, and taken in turn. A large transaction is decoded by one lane, with the
 * memory of all: the others would do so, too, only to go on behind it. */
static bool call_all(struct drain *d, struct trouble *t)
{
    for (unsigned i = 0; i < d->n; i++) {
        struct lane *l = &d->lanes[(d->turn + i) % d->n];
        if (!l->called && d->next < d->end && !d->dear && !call(d, l, t))
            return false;
        if (d->large && l->called && !l->any)
            break;
    }
    return true;
}

/* A call reads again from where the oldest transaction began that was open at its start. Where that
 * is far behind it is dear, unless nobody waits for the server. */
static bool is_dear(struct drain *d, const struct lane *l)
{
    double a_byte = (double)(l->took + 1) / (double)(l->to - l->from);

    if (d->a_byte == 0)
        d->a_byte = a_byte;
    return l->waited && l->took >= DEAR && a_byte >= DEARER * d->a_byte;
}

/* After a call without a message a transaction goes on, and will be read again: the more there is
 * of it already, the more is asked for. Where calls are dear they are to be fewer. In both cases
 * there are none in the end. */
static void choose_stretch(struct drain *d, const struct lane *l)
{
    if (!l->any) {
        d->large = true;
        d->stretch *= 4;
        d->dear |= d->stretch > LARGE_MAX;
    } else if (!l->large && is_dear(d, l)) {
        d->stretch *= 2;
        d->dear |= d->stretch > STRETCH_MAX;
    }
}

/* There is a message: a transaction that went on has come to its end. */
static void end_large(struct drain *d)
{
    if (d->large)
        d->stretch = STRETCH;
    d->large = false;
}

/* The slot keeps the WAL from where it stands, and nothing else moves it meanwhile. */
static bool let_slot_follow(struct run *run, struct trouble *t)
{
    lsn_t applied = run->loop.load.applied;

    return applied < run->slot_lsn + FOLLOW || slot_advance(run, applied, t);
}

/* The result is taken; the copy tells where it stands now: all that is before it was given. */
static bool finish_call(struct drain *d, struct lane *l, struct trouble *t)
{
    PGresult *r = source_result(&d->c->run->loop, l->conn, t);
    lsn_t at;

    if (!r)
        return false;
    bool good = PQntuples(r) == 1 && lsn_parse(PQgetvalue(r, 0, 0), &at);
    PQclear(r);
    if (!good) {
        *t = (struct trouble){.text = "the copy of the slot is gone"};
        return false;
    }
    FAILPOINT("drain");
    changes_idle(d->c, at, clock_us());
    l->called = false;
    choose_stretch(d, l);
    d->turn = (d->turn + 1) % d->n;
    return call_all(d, t) && let_slot_follow(d->c->run, t);
}

/* ------------------------------------------------------------------ messages */

static uint32_t get32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* The rows of COPY in binary: before the first stands a header, and the last, in which there is no
 * message, has -1 for its count of fields. */
static bool find_message(struct lane *l, const char **row, size_t *len)
{
    static const char header[19] = "PGCOPY\n\377\r\n"; /* a NUL, no flags, no extension */

    if (!l->begun) {
        if (*len < sizeof header || memcmp(*row, header, sizeof header))
            return false;
        *row += sizeof header;
        *len -= sizeof header;
        l->begun = true;
    }
    if (*len == 2 && !memcmp(*row, "\377\377", 2)) {
        *len = 0;
        return true;
    }
    if (*len <= FIELD || memcmp(*row, "\0\1", 2) || get32(*row + 2) != *len - FIELD)
        return false;
    *row += FIELD;
    *len -= FIELD;
    l->any = true;
    return true;
}

/* DRAIN_END: of this result. */
static enum drain_status receive(struct drain *d, struct lane *l, const char **data, size_t *len,
                                 struct trouble *t)
{
    int n;

    do {
        PQfreemem(d->row);
        d->row = NULL;
        n = source_copy_data(l->conn, &d->row);
        if (n == -2)
            trouble_of_connection(t, l->conn);
        if (n <= 0)
            return n == 0 ? DRAIN_WAIT : n == -1 ? DRAIN_END : DRAIN_FAILED;
        *data = d->row;
        *len = (size_t)n;
        if (!find_message(l, data, len))
            msg_die(EX_DATAERR, "a row of COPY cannot be taken apart");
    } while (!*len);
    return DRAIN_MESSAGE;
}

/* The server has nothing to say before it has decoded it all. */
static enum drain_status wait_for_result(struct lane *l, struct trouble *t)
{
    if (!PQconsumeInput(l->conn)) {
        trouble_of_connection(t, l->conn);
        return DRAIN_FAILED;
    }
    while (!l->copying) {
        l->took = clock_ms() - l->since;
        if (PQisBusy(l->conn)) {
            l->waited = true;
            return DRAIN_WAIT;
        }
        PGresult *r = PQgetResult(l->conn);
        ExecStatusType status = PQresultStatus(r);
        l->copying = status == PGRES_COPY_OUT;
        bool good = l->copying || status == PGRES_TUPLES_OK; /* of the advance */
        if (!good)
            trouble_of_result(t, r);
        PQclear(r);
        if (!good)
            return DRAIN_FAILED;
    }
    return DRAIN_MESSAGE;
}

static enum drain_status end(struct drain *d, struct trouble *t)
{
    if (d->next >= d->end)
        return DRAIN_END;
    *t = (struct trouble){.text = "a transaction has been open for long, and the server reads from "
                                  "where it began again and again"};
    return DRAIN_FAILED;
}

enum drain_status drain_next(struct drain *d, const char **data, size_t *len, struct trouble *t)
{
    enum drain_status status;

    for (;;) {
        struct lane *l = &d->lanes[d->turn];
        bool any = l->any;
        if (!l->called)
            return end(d, t);
        if (!l->copying && (status = wait_for_result(l, t)) != DRAIN_MESSAGE)
            return status;
        status = receive(d, l, data, len, t);
        if (l->any != any) {
            end_large(d);
            if (!call_all(d, t))
                return DRAIN_FAILED;
        }
        if (status != DRAIN_END)
            return status;
        if (!finish_call(d, l, t))
            return DRAIN_FAILED;
    }
}

int drain_socket(const struct drain *d)
{
    return PQsocket(d->lanes[d->turn].conn);
}

/* ------------------------------------------------------------------ begin and end */

static lsn_t first_stretch(lsn_t backlog)
{
    lsn_t part = backlog / LANES + PAGE; /* it is cut to a page */

    return part < STRETCH_MIN ? STRETCH_MIN : part > STRETCH ? STRETCH : part;
}

struct drain *drain_open(struct changes *c, lsn_t end, struct trouble *t)
{
    struct drain *d = mem_alloc(sizeof *d);
    struct trouble later;

    *d = (struct drain){.c = c, .next = c->position, .end = end};
    d->stretch = first_stretch(end - c->position);
    if (!open_lane(d, t) || !call_all(d, t)) {
        drain_close(d);
        return NULL;
    }
    msg_info("reading changes by SQL from %s", LSN_TEXT(c->position));
    while (d->next < d->end && d->n < LANES)
        if (!open_lane(d, &later)) {
            msg_debug("no second copy of the slot: %s", later.text);
            break;
        } else if (!call_all(d, t)) {
            drain_close(d);
            return NULL;
        }
    return d;
}

void drain_close(struct drain *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < d->n; i++)
        close_lane(&d->lanes[i]);
    PQfreemem(d->row);
    free(d);
}
