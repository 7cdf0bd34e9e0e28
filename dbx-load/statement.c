#include "statement.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"

enum {
    POLL_MIN_MS = 100,
    POLL_MAX_MS = 5000,
    CONFLICTS_MAX = 8, /* statement_run */
    MESSAGE_MAX = 400
};

#define STATEMENTS "/api/2.0/sql/statements"

static void poll_later(struct statement *s);

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

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
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

static void take_rows(struct statement *s, const json_t *result)
{
    json_t *rows = json_object_get(result, "data_array");

    if (!s->rows)
        s->rows = json_array();
    if (json_is_array(rows))
        json_array_extend(s->rows, rows);
}

bool statement_parse(struct statement *s, const char *body, size_t len)
{
    static const struct {
        const char *name;
        enum statement_state state;
    } states[] = {
        {"PENDING", STATEMENT_WAITING},     {"RUNNING", STATEMENT_WAITING},
        {"SUCCEEDED", STATEMENT_SUCCEEDED}, {"CLOSED", STATEMENT_SUCCEEDED},
        {"FAILED", STATEMENT_FAILED},       {"CANCELED", STATEMENT_CANCELED},
    };
    json_t *root = json_loadb(body, len, 0, NULL);
    const json_t *status = json_object_get(root, "status");
    const json_t *error = json_object_get(status, "error");
    const char *name = text_of(status, "state"), *id = text_of(root, "statement_id");
    size_t i = 0, n = sizeof states / sizeof *states;

    while (i < n && strcmp(states[i].name, name))
        i++;
    if (i == n || !*id) {
        json_decref(root);
        return false;
    }
    s->state = states[i].state;
    free(s->id);
    free(s->code);
    free(s->message);
    s->id = mem_strdup(id);
    s->code = mem_strdup(text_of(error, "error_code"));
    s->message = shortened(text_of(error, "message"));
    snprintf(s->sql_state, sizeof s->sql_state, "%s", text_of(status, "sql_state"));
    if (s->state == STATEMENT_SUCCEEDED) {
        const json_t *manifest = json_object_get(root, "manifest");
        s->chunks = (uint64_t)json_integer_value(json_object_get(manifest, "total_chunk_count"));
        s->chunk = 1;
        take_rows(s, json_object_get(root, "result"));
        figures_changed_rows(root);
    }
    json_decref(root);
    return true;
}

/* Those of earlier starts, which are settled, are not counted: theirs is not known. */
static void ended(struct statement *s)
{
    if (s->sql)
        figures_statement(s->sql, clock_ms() - s->started);
    s->done(s);
}

static void chunk_came(struct http_request *r);

/* The next chunk of the result, or the end. */
static void proceed(struct statement *s)
{
    if (s->state != STATEMENT_SUCCEEDED || s->chunk >= s->chunks) {
        ended(s);
        return;
    }
    struct http_request *r = http_request("GET", mem_printf(STATEMENTS "/%s/result/chunks/%llu",
                                                            s->id, (unsigned long long)s->chunk));
    r->done = chunk_came;
    r->arg = s;
    http_send(s->warehouse->http, r);
}

static void chunk_came(struct http_request *r)
{
    struct statement *s = r->arg;

    if (r->status != 200)
        http_fail(r, "reading a result", NULL);
    json_t *chunk = json_loadb(r->body.data, r->body.len, 0, NULL);
    take_rows(s, chunk);
    json_decref(chunk);
    http_request_free(r);
    s->chunk++;
    proceed(s);
}

static void came(struct http_request *r)
{
    struct statement *s = r->arg;
    bool first = !s->id;

    if (r->lost)
        fail(EX_TEMPFAIL,
             "the connection broke while a statement was on its way, so that it may run or not; "
             "start again to recover: %s",
             http_reason(r));
    if (r->status == 404 && !first) {
        s->state = STATEMENT_UNKNOWN;
        http_request_free(r);
        ended(s);
        return;
    }
    if (r->status != 200 || !r->body.data)
        http_fail(r, "running a statement", "CAN USE on the SQL warehouse");
    if (!statement_parse(s, r->body.data, r->body.len))
        fail(EX_TEMPFAIL, "the service gave an answer that is none: %.80s", r->body.data);
    http_request_free(r);
    if (first && s->known)
        s->known(s);
    if (s->state == STATEMENT_WAITING)
        poll_later(s);
    else
        proceed(s);
}

/* Often at first, so that a short statement costs no waiting; later a quarter of its age. */
static void poll_later(struct statement *s)
{
    struct http_request *r = http_request("GET", mem_printf(STATEMENTS "/%s", s->id));
    int64_t pause = (clock_ms() - s->started) / 4;

    r->delay_ms = pause < POLL_MIN_MS ? POLL_MIN_MS : pause > POLL_MAX_MS ? POLL_MAX_MS : pause;
    r->done = came;
    r->arg = s;
    http_send(s->warehouse->http, r);
}

struct statement *statement_send(struct warehouse *w, char *sql, bool once, int64_t delay_ms,
                                 void (*known)(struct statement *s),
                                 void (*done)(struct statement *s), void *arg)
{
    struct statement *s = mem_alloc(sizeof *s);
    struct http_request *r = http_request("POST", mem_strdup(STATEMENTS));
    /* What must not run twice is to be known by its id at once, for recovery to cancel it. */
    json_t *body = json_pack("{ss ss ss ss ss ss}", "statement", sql, "warehouse_id", w->id,
                             "wait_timeout", once ? "0s" : "10s", "on_wait_timeout", "CONTINUE",
                             "disposition", "INLINE", "format", "JSON_ARRAY");

    if (!body)
        fail(EX_DATAERR, "a statement is not UTF-8");
    s->warehouse = w;
    s->sql = sql;
    s->known = known;
    s->done = done;
    s->arg = arg;
    s->started = clock_ms() + delay_ms;
    r->json = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    r->once = once;
    r->delay_ms = delay_ms;
    r->done = came;
    r->arg = s;
    msg_debug("statement: %.200s", sql);
    http_send(w->http, r);
    return s;
}

static void canceled(struct http_request *r)
{
    struct statement *s = r->arg;

    http_request_free(r);
    poll_later(s); /* whatever the answer was: the state is what counts */
}

struct statement *statement_settle(struct warehouse *w, const char *id,
                                   void (*done)(struct statement *s), void *arg)
{
    struct statement *s = mem_alloc(sizeof *s);
    struct http_request *r = http_request("POST", mem_printf(STATEMENTS "/%s/cancel", id));

    s->warehouse = w;
    s->id = mem_strdup(id);
    s->done = done;
    s->arg = arg;
    s->started = clock_ms();
    r->json = mem_strdup("{}");
    r->done = canceled;
    r->arg = s;
    http_send(w->http, r);
    return s;
}

static void run_done(struct statement *s)
{
    bool *done = s->arg;

    *done = true;
}

struct statement *statement_run(struct warehouse *w, char *sql)
{
    struct statement *s;

    for (unsigned tries = 1;; tries++) {
        bool done = false;
        int64_t delay = tries > 1 ? http_pause(tries - 1, 0, 0.5) : 0;
        s = statement_send(w, mem_strdup(sql), false, delay, NULL, run_done, &done);
        http_wait(w->http, &done);
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

void statement_fail(const struct statement *s, const char *what, const char *right)
{
    const char *sql_state = *s->sql_state ? s->sql_state : "-";

    if (s->state == STATEMENT_CANCELED)
        fail(EX_TEMPFAIL, "%s: somebody canceled the statement statement=%s", what, s->id);
    if (s->state == STATEMENT_UNKNOWN)
        fail(EX_TEMPFAIL, "%s: the service no longer knows the statement statement=%s", what,
             s->id);
    if (statement_forbidden(s))
        fail(EX_CONFIG, "%s: not allowed%s%s: %s", what, right ? ", it takes " : "",
             right ? right : "", s->message);
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
    /* Class 42 is a statement that can't succeed as it is (but for 42K03, a file that is gone: a
     * newer run may have fenced this one off). What else fails may pass. */
    bool hopeless = !strncmp(sql_state, "42", 2) && strcmp(sql_state, "42K03");
    fail(hopeless ? EX_CONFIG : EX_TEMPFAIL, "%s: %s sql_state=%s", what,
         *s->message ? s->message : s->code, sql_state);
}
