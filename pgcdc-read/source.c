#include "source.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "encryption.h"
#include "mem.h"
#include "msg.h"
#include "refusal.h"

#define CONNECT_SECONDS 30

/* ------------------------------------------------------------------ what goes wrong */

bool trouble_is_temporary(const struct trouble *t)
{
    static const char *const classes[] = {
        "08",    /* connection exception */
        "40",    /* transaction rollback */
        "53",    /* insufficient resources: too many connections, disk full */
        "57",    /* operator intervention: shutting down, starting up, terminated */
        "55006", /* object in use: our own predecessor still has the slot */
        "55P03", /* lock not available */
        "XX",    /* internal error: decoding meets some by chance, beside VACUUM FULL and DDL */
    };

    if (!*t->sqlstate)
        return true;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strncmp(t->sqlstate, classes[i], strlen(classes[i])))
            return true;
    return false;
}

bool trouble_is_unpublished(const struct trouble *t)
{
    return !strcmp(t->sqlstate, "42704");
}

void trouble_die(const struct trouble *t, const char *attempted)
{
    msg_die(trouble_is_temporary(t) ? EX_TEMPFAIL : EX_CONFIG, "%s: %s", attempted, t->text);
}

/* One line out of the several that libpq gives, without the places in the server's source. */
static void set_text(struct trouble *t, const char *text)
{
    size_t n = 0;

    while (*text && n + 3 < sizeof t->text) {
        size_t len = strcspn(text, "\n");
        if (len && strncmp(text, "LOCATION:", 9)) {
            if (n) {
                t->text[n++] = ';';
                t->text[n++] = ' ';
            }
            if (len > sizeof t->text - 1 - n)
                len = sizeof t->text - 1 - n;
            memcpy(t->text + n, text, len);
            n += len;
            text += strcspn(text, "\n");
        } else {
            text += len;
        }
        text += *text == '\n';
    }
    t->text[n] = '\0';
}

/* While connecting, libpq keeps no fields of an error, only its text: in verbose form that is
 * `SEVERITY:  SQLSTATE: message`. */
static void find_sqlstate(struct trouble *t)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    for (char *p = t->text; (p = strstr(p, ":  ")); p++) {
        char *code = p + 3;
        if (strspn(code, chars) == 5 && code[5] == ':' && code[6] == ' ') {
            memcpy(t->sqlstate, code, 5);
            memmove(code, code + 7, strlen(code + 7) + 1);
        }
    }
}

void trouble_of_connection(struct trouble *t, PGconn *c)
{
    *t = (struct trouble){0};
    set_text(t, PQerrorMessage(c));
    find_sqlstate(t);
}

void trouble_of_result(struct trouble *t, const PGresult *r)
{
    const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL);

    *t = (struct trouble){0};
    if (code && strlen(code) == 5)
        strcpy(t->sqlstate, code);
    char *both = mem_printf("%s%s%s", text ? text : PQresultErrorMessage(r), detail ? "\n" : "",
                            detail ? detail : "");
    set_text(t, both);
    free(both);
}

/* ------------------------------------------------------------------ connecting */

static const char settings[] =
    "SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES"
    " ('search_path', 'pg_catalog'), ('DateStyle', 'ISO'), ('IntervalStyle', 'postgres'),"
    " ('extra_float_digits', '3'), ('TimeZone', 'UTC'), ('bytea_output', 'hex'),"
    " ('lc_monetary', 'C'), ('row_security', 'off'), ('statement_timeout', '0'),"
    " ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),"
    " ('idle_session_timeout', '0'), ('transaction_timeout', '0'))"
    " AS v(name, value) JOIN pg_catalog.pg_settings AS s USING (name)";

static void drop_notice(void *arg, const char *message)
{
    (void)arg;
    msg_debug("the server says: %s", message);
}

/* Empty values count as not given; what stands behind dbname goes before what its URI says. */
static PGconn *begin_connect(const char *conninfo, bool replication, bool encrypted)
{
    const char *const keys[] = {
        "fallback_application_name", "dbname", "client_encoding", "replication", "sslmode", NULL};
    const char *const values[] = {"pgcdc-read",
                                  conninfo ? conninfo : "",
                                  "UTF8",
                                  replication ? "database" : "",
                                  encrypted ? "require" : "",
                                  NULL};
    PGconn *c = PQconnectStartParams(keys, values, 1);

    if (!c)
        msg_die(EX_TEMPFAIL, "out of memory");
    PQsetNoticeProcessor(c, drop_notice, NULL);
    PQsetErrorVerbosity(c, PQERRORS_VERBOSE);
    return c;
}

static void refuse_pooler(PGconn *c)
{
    char *direct = PQhost(c) ? refusal_direct_host(PQhost(c)) : NULL;

    if (direct)
        msg_die(EX_CONFIG,
                "%s is Neon's connection pooler, which does not replicate: connect to %s",
                PQhost(c), direct);
}

static int64_t connect_deadline(PGconn *c)
{
    PQconninfoOption *all = PQconninfo(c);
    long seconds = 0;

    for (PQconninfoOption *o = all; o && o->keyword; o++)
        if (!strcmp(o->keyword, "connect_timeout") && o->val)
            seconds = strtol(o->val, NULL, 10);
    PQconninfoFree(all);
    return clock_ms() + 1000 * (seconds > 0 ? seconds : CONNECT_SECONDS);
}

static bool finish_connect(struct loop *l, PGconn *c, struct trouble *t)
{
    int64_t deadline = connect_deadline(c);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (PQstatus(c) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        while (!loop_wait(l, PQsocket(c), events, deadline))
            if (clock_ms() >= deadline) {
                *t = (struct trouble){.text = "the server does not answer"};
                return false;
            }
        status = PQconnectPoll(c);
    }
    if (status == PGRES_POLLING_OK)
        return true;
    trouble_of_connection(t, c);
    refusal_explain(t);
    return false;
}

PGconn *source_connect(struct loop *l, const char *conninfo, bool replication, struct trouble *t)
{
    PGconn *c = begin_connect(conninfo, replication, false);

    refuse_pooler(c);
    if (encryption_is_missing(c)) { /* nothing was sent yet */
        PQfinish(c);
        c = begin_connect(conninfo, replication, true);
    }
    PGresult *r = finish_connect(l, c, t) ? source_query(l, c, t, settings, NULL) : NULL;
    if (!r) {
        PQfinish(c);
        return NULL;
    }
    PQclear(r);
    return c;
}

/* ------------------------------------------------------------------ queries */

/* Input is taken before it is waited for: TLS may hold bytes that the socket no longer shows. */
static bool wait_for_result(struct loop *l, PGconn *c)
{
    while (PQisBusy(c)) {
        if (!PQconsumeInput(c))
            return false;
        if (PQisBusy(c))
            loop_wait(l, PQsocket(c), POLLIN, -1);
    }
    return true;
}

bool source_is_socket(const PGconn *c)
{
    const char *host = PQhost(c);

    return *host == '/' || *host == '@';
}

int source_copy_data(PGconn *c, char **data)
{
    int n = PQgetCopyData(c, data, 1);

    if (n == 0)
        n = PQconsumeInput(c) ? PQgetCopyData(c, data, 1) : -2;
    return n;
}

static bool is_good(const PGresult *r)
{
    switch (PQresultStatus(r)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        return true;
    default:
        return false;
    }
}

PGresult *source_result(struct loop *l, PGconn *c, struct trouble *t)
{
    PGresult *last = NULL, *r;

    while (wait_for_result(l, c) && (r = PQgetResult(c))) {
        if (last && !is_good(last)) { /* the first error is the one that tells */
            PQclear(r);
            continue;
        }
        PQclear(last);
        last = r;
        ExecStatusType status = PQresultStatus(r);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
            return r;
    }
    if (last && is_good(last) && PQstatus(c) == CONNECTION_OK)
        return last;
    if (last && !is_good(last))
        trouble_of_result(t, last);
    else
        trouble_of_connection(t, c);
    PQclear(last);
    return NULL;
}

PGresult *source_query(struct loop *l, PGconn *c, struct trouble *t, const char *sql, ...)
{
    const char *params[4];
    int n = 0;
    va_list ap;

    va_start(ap, sql);
    for (const char *p; n < 4 && (p = va_arg(ap, const char *));)
        params[n++] = p;
    va_end(ap);
    int sent = n ? PQsendQueryParams(c, sql, n, NULL, params, NULL, NULL, 0) : PQsendQuery(c, sql);
    if (!sent) {
        trouble_of_connection(t, c);
        return NULL;
    }
    return source_result(l, c, t);
}

bool source_finish(struct loop *l, PGconn *c, struct trouble *t)
{
    PGresult *r = source_result(l, c, t);

    PQclear(r);
    return r != NULL;
}

char *field_text(const PGresult *r, int row, int column)
{
    return PQgetisnull(r, row, column) ? NULL : mem_strdup(PQgetvalue(r, row, column));
}

bool field_truth(const PGresult *r, int row, int column)
{
    return *PQgetvalue(r, row, column) == 't';
}

uint32_t field_number(const PGresult *r, int row, int column)
{
    return (uint32_t)strtoul(PQgetvalue(r, row, column), NULL, 10);
}

char *source_array(const char *const *items, unsigned n)
{
    struct buf b = {0};

    buf_char(&b, '{');
    for (unsigned i = 0; i < n; i++) {
        buf_str(&b, i ? ",\"" : "\"");
        for (const char *p = items[i]; *p; p++) {
            if (*p == '"' || *p == '\\')
                buf_char(&b, '\\');
            buf_char(&b, *p);
        }
        buf_char(&b, '"');
    }
    buf_char(&b, '}');
    return b.data;
}
