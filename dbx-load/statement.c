#include "statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cluster.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"
#include "rights.h"
#include "warehouse.h"

enum {
    POLL_MIN_MS = 100,
    POLL_MAX_MS = 5000,
    CONFLICTS_MAX = 8, /* statement_run */
    MESSAGE_MAX = 400
};

void statement_free(struct statement *s)
{
    if (!s)
        return;
    json_decref(s->rows);
    free(s->id);
    free(s->code);
    free(s->message);
    free(s->sql);
    free(s);
}

/* How a sentence begins that the statement itself raises, see cdc-merge. The service wraps it into
 * others. */
#define OURS "pgcdc: "

static bool is_ours(const char *message)
{
    return !strncmp(message, OURS, strlen(OURS));
}

/* Our own sentence, or the first line of it: what follows is a stack trace or the plan. */
static char *shortened(const char *message)
{
    const char *ours = strstr(message, OURS);

    message = ours ? ours : message;
    size_t len = strcspn(message, "\r\n");

    return mem_printf("%.*s%s", (int)(len < MESSAGE_MAX ? len : MESSAGE_MAX), message,
                      len > MESSAGE_MAX ? "…" : "");
}

void statement_error(struct statement *s, const char *code, const char *message,
                     const char *sql_state)
{
    free(s->code);
    free(s->message);
    s->code = mem_strdup(code);
    s->message = shortened(message);
    snprintf(s->sql_state, sizeof s->sql_state, "%s", sql_state);
}

void statement_known(struct statement *s, char *id)
{
    s->id = id;
    if (s->once && s->known)
        s->known(s);
}

/* Those of earlier starts, which are settled, are not counted: how long they took is not known. */
void statement_ended(struct statement *s)
{
    if (s->sql)
        figures_statement(s->sql, clock_ms() - s->started);
    s->done(s);
}

void statement_lost(struct http_request *r)
{
    if (r->lost)
        fail(EX_TEMPFAIL,
             "the connection broke while a statement was on its way, so that it may run or not; "
             "start again to recover: %s",
             http_reason(r));
}

/* Often at first, so that a short statement costs no waiting; later a quarter of its age. */
int64_t statement_pause(const struct statement *s)
{
    int64_t pause = (clock_ms() - s->started) / 4;

    return pause < POLL_MIN_MS ? POLL_MIN_MS : pause > POLL_MAX_MS ? POLL_MAX_MS : pause;
}

struct statement *statement_send(struct compute *c, char *sql, bool once, int64_t delay_ms,
                                 void (*known)(struct statement *s),
                                 void (*done)(struct statement *s), void *arg)
{
    struct statement *s = mem_alloc(sizeof *s);

    *s = (struct statement){.http = c->http,
                            .sql = sql,
                            .once = once,
                            .delay_ms = delay_ms,
                            .started = clock_ms() + delay_ms,
                            .known = known,
                            .done = done,
                            .arg = arg};
    msg_debug("statement: %.200s", sql);
    if (c->cluster)
        cluster_send(c->cluster, s);
    else
        warehouse_send(c->warehouse, s);
    return s;
}

struct statement *statement_settle(struct compute *c, const char *id,
                                   void (*done)(struct statement *s), void *arg)
{
    struct statement *s = mem_alloc(sizeof *s);

    *s = (struct statement){
        .http = c->http, .id = mem_strdup(id), .started = clock_ms(), .done = done, .arg = arg};
    if (cluster_ran(id))
        cluster_settle(s);
    else
        warehouse_settle(s);
    return s;
}

static void run_done(struct statement *s)
{
    bool *done = s->arg;

    *done = true;
}

struct statement *statement_run(struct compute *c, char *sql)
{
    struct statement *s;

    for (unsigned tries = 1;; tries++) {
        bool done = false;
        int64_t delay = tries > 1 ? http_pause(tries - 1, 0, 0.5) : 0;
        s = statement_send(c, mem_strdup(sql), false, delay, NULL, run_done, &done);
        http_wait(c->http, &done);
        if (!statement_conflict(s) || tries == CONFLICTS_MAX)
            break;
        load_figures[LOAD_RETRIES_CONFLICT].value++;
        statement_free(s);
    }
    free(sql);
    return s;
}

size_t statement_rows(const struct statement *s)
{
    return json_array_size(s->rows);
}

const char *statement_cell(const struct statement *s, size_t row, size_t column)
{
    return json_string_value(json_array_get(json_array_get(s->rows, row), column));
}

static bool failed_with(const struct statement *s, const char *sql_state, const char *const *words)
{
    if (s->state != STATEMENT_FAILED)
        return false;
    if (sql_state && !strcmp(s->sql_state, sql_state))
        return true;
    for (; *words; words++)
        if (strstr(s->message, *words) || strstr(s->code, *words))
            return true;
    return false;
}

bool statement_conflict(const struct statement *s)
{
    static const char *const words[] = {"DELTA_CONCURRENT_", "DELTA_METADATA_CHANGED",
                                        "DELTA_PROTOCOL_CHANGED", NULL};
    return failed_with(s, "2D521", words);
}

bool statement_no_table(const struct statement *s)
{
    static const char *const words[] = {"TABLE_OR_VIEW_NOT_FOUND", "DELTA_TABLE_NOT_FOUND", NULL};
    return failed_with(s, "42P01", words) || statement_no_schema(s);
}

bool statement_no_schema(const struct statement *s)
{
    static const char *const words[] = {"SCHEMA_NOT_FOUND", "SCHEMA_DOES_NOT_EXIST", NULL};
    return failed_with(s, NULL, words);
}

bool statement_no_catalog(const struct statement *s)
{
    static const char *const words[] = {"CATALOG_NOT_FOUND", "NO_SUCH_CATALOG",
                                        "CATALOG_DOES_NOT_EXIST", NULL};
    return failed_with(s, NULL, words);
}

bool statement_exists(const struct statement *s)
{
    static const char *const words[] = {"ALREADY_EXISTS", NULL};
    return failed_with(s, "42P07", words);
}

bool statement_no_column(const struct statement *s)
{
    static const char *const words[] = {"UNRESOLVED_COLUMN", "COLUMN_NOT_FOUND", NULL};
    return failed_with(s, "42703", words);
}

bool statement_forbidden(const struct statement *s)
{
    static const char *const words[] = {"PERMISSION_DENIED", "INSUFFICIENT_PERMISSIONS", NULL};
    return failed_with(s, "42501", words);
}

void statement_fail(const struct statement *s, const char *what, const struct right *right)
{
    const char *sql_state = *s->sql_state ? s->sql_state : "-";

    if (s->state == STATEMENT_CANCELED)
        fail(EX_TEMPFAIL, "%s: somebody canceled the statement statement=%s", what, s->id);
    if (s->state == STATEMENT_UNKNOWN)
        fail(EX_TEMPFAIL, "%s: the service no longer knows the statement statement=%s", what,
             s->id);
    if (statement_forbidden(s))
        fail(EX_CONFIG, "%s: not allowed: %s%s%s", what, s->message, right ? "; it takes " : "",
             right ? rights_sentence(right) : "");
    if (is_ours(s->message))
        fail(
            EX_CONFIG,
            "%s: %s: was a row of the target changed by hand? Remove the state folder, to read all "
            "tables anew",
            what, s->message + strlen(OURS));
    if (statement_no_catalog(s))
        fail(EX_CONFIG,
             "%s: the catalog does not exist; create it, or name another with cdc-merge "
             "--catalog: %s",
             what, s->message);
    if (!strcmp(sql_state, "42K03")) /* a newer run may have fenced this one off */
        fail(
            EX_TEMPFAIL,
            "%s: a staged file is gone; if it is at the next start, too, somebody deleted it: move "
            "the state folder away to read the tables again: %s",
            what, s->message);
    /* Class 42 is a statement that can't succeed as it is. What else fails may pass. */
    bool hopeless = !strncmp(sql_state, "42", 2);
    fail(hopeless ? EX_CONFIG : EX_TEMPFAIL, "%s: %s sql_state=%s", what,
         *s->message ? s->message : s->code, sql_state);
}
