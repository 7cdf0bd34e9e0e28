#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "slot.h"

#define STATUS_EVERY 1000 /* ms, at most */
#define ASK_EVERY 200     /* ms */

void link_close(struct loop *l)
{
    PQfinish(l->stream);
    PQfinish(l->sql);
    l->stream = l->sql = NULL;
}

static bool connect_sql(struct run *run, struct trouble *t)
{
    struct loop *l = &run->loop;

    if (l->sql)
        return true;
    l->sql = source_connect(l, run->arguments->conninfo, false, t);
    return l->sql && slot_lock(run, t);
}

/* A server that came back under the same address may be another one. */
static bool same_system(struct run *run, PGconn *c, struct trouble *t)
{
    PGresult *r = source_query(&run->loop, c, t, "IDENTIFY_SYSTEM", NULL);

    if (r && (PQntuples(r) != 1 || strcmp(PQgetvalue(r, 0, 0), run->source.system)))
        msg_die(EX_CONFIG, "the server is another one now: its system identifier is not %s",
                run->source.system);
    if (r && field_number(r, 0, 1) != run->timeline) /* the start finds out what that means */
        msg_die(EX_TEMPFAIL, "the server has been promoted to timeline %u: start again",
                field_number(r, 0, 1));
    PQclear(r);
    return r != NULL;
}

/* Three status updates fit into the time after which the server gives us up; who waits for an end
 * asks more often. */
static bool read_timeout(struct loop *l, PGconn *c, struct trouble *t)
{
    PGresult *r = source_query(
        l, c, t, "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'", NULL);
    long ms = r && PQntuples(r) ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;

    l->status_every = l->ask ? ASK_EVERY : STATUS_EVERY;
    if (ms > 0 && ms / 4 < l->status_every)
        l->status_every = ms / 4;
    PQclear(r);
    return r != NULL;
}

/* 'text' for the replication grammar, which knows no escapes but doubled quotes. */
static void quote(struct buf *b, const char *text, char with)
{
    for (; *text; text++) {
        if (*text == with)
            buf_char(b, with);
        buf_char(b, *text);
    }
}

void link_publication_names(struct buf *sql, const struct arguments *a)
{
    struct buf names = {0};

    for (unsigned i = 0; i < a->publications.n; i++) {
        buf_str(&names, i ? ",\"" : "\"");
        quote(&names, a->publications.items[i], '"');
        buf_char(&names, '"');
    }
    quote(sql, names.data, '\'');
    buf_free(&names);
}

static bool start(struct changes *c, PGconn *conn, struct trouble *t)
{
    const struct arguments *a = c->run->arguments;
    struct buf sql = {0};

    buf_printf(&sql,
               "START_REPLICATION SLOT \"%s\" LOGICAL %s (%s, messages 'true', "
               "publication_names '",
               a->slot, LSN_TEXT(c->position),
               c->run->unstreamed ? "proto_version '1'" : "proto_version '2', streaming 'on'");
    link_publication_names(&sql, a);
    buf_str(&sql, "')");
    PGresult *r = source_query(&c->run->loop, conn, t, sql.data, NULL);
    PQclear(r);
    buf_free(&sql);
    return r != NULL;
}

/* From 18 on a change that was made before the publication is skipped, with this warning. Where
 * tables are read by us they are read behind that. */
static void take_notice(void *arg, const PGresult *r)
{
    const struct run *run = arg;
    struct trouble t;

    trouble_of_result(&t, r);
    if (run->arguments->snapshot == SNAPSHOT_NEVER && !strcmp(t.sqlstate, "55000"))
        link_die_unpublished(&t);
    msg_debug("the server says: %s", t.text);
}

void link_die_unpublished(const struct trouble *t)
{
    msg_die(EX_CONFIG,
            "the slot holds a change from before the publication existed, which cannot be "
            "decoded; drop the slot (--drop-slot) and create it anew: %s",
            t->text);
}

bool link_open(struct changes *c, struct trouble *t)
{
    struct run *run = c->run;

    if (!connect_sql(run, t) || !slot_look(run, t))
        return false;
    if (run->anew)
        msg_die(EX_TEMPFAIL, "start again to read all tables again");
    if (!run->slot_exists)
        msg_die(EX_CONFIG, "slot %s does not exist", run->arguments->slot);
    if (run->slot_lsn > c->position)
        msg_die(EX_CONFIG,
                "slot %s stands at %s, past %s, where the stream has to go on: changes in between "
                "are lost; remove the state folder to read all tables anew",
                run->arguments->slot, LSN_TEXT(run->slot_lsn), LSN_TEXT(c->position));
    return true;
}

PGconn *link_connect(struct run *run, struct trouble *t)
{
    PGconn *conn = source_connect(&run->loop, run->arguments->conninfo, true, t);

    if (!conn)
        return NULL;
    PQsetNoticeReceiver(conn, take_notice, run);
    if (same_system(run, conn, t))
        return conn;
    PQfinish(conn);
    return NULL;
}

bool link_stream(struct changes *c, struct trouble *t)
{
    struct loop *l = &c->run->loop;
    PGconn *conn = link_connect(c->run, t);

    if (!conn)
        return false;
    l->ask = c->target != 0;
    if (!read_timeout(l, conn, t) || !start(c, conn, t)) {
        PQfinish(conn);
        return false;
    }
    PQsetnonblocking(conn, 1);
    l->stream = conn;
    l->received = c->position;
    loop_status(l);
    msg_info("streaming from %s", LSN_TEXT(c->position));
    return true;
}
