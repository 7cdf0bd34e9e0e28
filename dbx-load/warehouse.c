#include "warehouse.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"

enum {
    PENDING_MS = 3000, /* so long nobody wants to know why a statement waits */
    SAY_MS = 30 * 1000,
    CLOSED_MAX = 3
};

#define STATEMENTS "/api/2.0/sql/statements"

struct warehouse {
    struct http *http;
    const char *id;
    int64_t since; /* when a statement was first seen waiting for the warehouse; 0: none is */
    int64_t asked; /* when its state was last asked for */
};

struct warehouse *warehouse_new(struct http *h, const char *id)
{
    struct warehouse *w = mem_alloc(sizeof *w);

    w->http = h;
    w->id = id;
    return w;
}

void warehouse_free(struct warehouse *w)
{
    free(w);
}

const char *warehouse_id(const struct warehouse *w)
{
    return w->id;
}

/* ------------------------------------------------------------------ while it starts */

static void state_came(struct http_request *r)
{
    struct warehouse *w = r->arg;
    json_t *root = r->status == 200 ? json_loadb(r->body.data, r->body.len, 0, NULL) : NULL;
    const char *state = json_string_value(json_object_get(root, "state"));

    if (state && strcmp(state, "RUNNING"))
        msg_line("waiting for SQL warehouse %s to start: %.40s seconds=%lld", w->id, state,
                 (long long)(clock_ms() - w->since) / 1000);
    json_decref(root);
    http_request_free(r);
}

/* A statement that is pending waits for the warehouse to start, or for others before it. */
static void watch(struct warehouse *w, const struct statement *s)
{
    int64_t now = clock_ms();

    if (!w || now - s->started < PENDING_MS || (w->asked && now - w->asked < SAY_MS))
        return;
    if (!w->since || now - w->asked > 2 * SAY_MS)
        w->since = s->started;
    w->asked = now;
    struct http_request *r = http_request("GET", mem_printf(WAREHOUSE_STATE, w->id));
    r->done = state_came;
    r->arg = w;
    http_send(w->http, r);
}

/* ------------------------------------------------------------------ answers */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static void take_rows(struct statement *s, const json_t *result)
{
    json_t *rows = json_object_get(result, "data_array");

    if (!s->rows)
        s->rows = json_array();
    if (json_is_array(rows))
        json_array_extend(s->rows, rows);
}

bool warehouse_parse(struct statement *s, const char *body, size_t len)
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
    if (!s->id)
        s->id = mem_strdup(id);
    statement_error(s, text_of(error, "error_code"), text_of(error, "message"),
                    text_of(status, "sql_state"));
    if (s->state == STATEMENT_SUCCEEDED) {
        const json_t *manifest = json_object_get(root, "manifest");
        s->chunks = (uint64_t)json_integer_value(json_object_get(manifest, "total_chunk_count"));
        s->chunk = 1;
        if (json_is_true(json_object_get(manifest, "truncated")))
            fail(EX_TEMPFAIL, "the service sent a part of a result only statement=%s", id);
        if (strcmp(name, "CLOSED"))
            take_rows(s, json_object_get(root, "result"));
        s->written =
            figures_changed_rows(json_object_get(json_object_get(manifest, "schema"), "columns"),
                                 json_array_get(s->rows, 0));
    }
    json_decref(root);
    return true;
}

/* ------------------------------------------------------------------ following one */

static void poll_later(struct statement *s);

static void chunk_came(struct http_request *r);

/* The result is gone, though the statement succeeded. One that may run twice is sent again. */
static void closed(struct statement *s)
{
    if (s->once || !s->sql) {
        statement_ended(s);
        return;
    }
    if (++s->closed > CLOSED_MAX)
        fail(EX_TEMPFAIL, "the service closes results before they are read statement=%s", s->id);
    free(s->id);
    s->id = NULL;
    json_decref(s->rows);
    s->rows = NULL;
    warehouse_send(s->warehouse, s);
}

/* The next chunk of the result, or the end. */
static void proceed(struct statement *s)
{
    if (s->state != STATEMENT_SUCCEEDED || (s->rows && s->chunk >= s->chunks)) {
        statement_ended(s);
        return;
    }
    if (!s->rows) {
        closed(s);
        return;
    }
    struct http_request *r = http_request("GET", mem_printf(STATEMENTS "/%s/result/chunks/%llu",
                                                            s->id, (unsigned long long)s->chunk));
    r->done = chunk_came;
    r->arg = s;
    http_send(s->http, r);
}

static void chunk_came(struct http_request *r)
{
    struct statement *s = r->arg;
    bool gone = r->status == 404;
    json_t *chunk = r->status == 200
                        ? json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, NULL)
                        : NULL;

    if (!chunk && !gone)
        http_fail(r, "reading a result", NULL);
    http_request_free(r);
    if (gone) {
        closed(s);
        return;
    }
    take_rows(s, chunk);
    json_decref(chunk);
    s->chunk++;
    proceed(s);
}

static void came(struct http_request *r)
{
    struct statement *s = r->arg;
    bool first = !s->id;

    statement_lost(r);
    if (r->status == 404 && !first) {
        s->state = STATEMENT_UNKNOWN;
        http_request_free(r);
        statement_ended(s);
        return;
    }
    if (r->status != 200 || !r->body.data)
        http_fail(r, "running a statement", WAREHOUSE_RIGHT(s->warehouse ? s->warehouse->id : ""));
    if (!warehouse_parse(s, r->body.data, r->body.len))
        http_fail(r, "running a statement", NULL);
    bool pending = strstr(r->body.data, "PENDING");
    http_request_free(r);
    if (first)
        statement_known(s, s->id);
    if (s->state != STATEMENT_WAITING) {
        proceed(s);
        return;
    }
    if (pending)
        watch(s->warehouse, s);
    poll_later(s);
}

static void poll_later(struct statement *s)
{
    struct http_request *r = http_request("GET", mem_printf(STATEMENTS "/%s", s->id));

    r->delay_ms = statement_pause(s);
    r->done = came;
    r->arg = s;
    http_send(s->http, r);
}

void warehouse_send(struct warehouse *w, struct statement *s)
{
    struct http_request *r = http_request("POST", mem_strdup(STATEMENTS));
    /* What must not run twice is to be known by its id at once, for recovery to cancel it. */
    json_t *body = json_pack("{ss ss ss ss ss ss}", "statement", s->sql, "warehouse_id", w->id,
                             "wait_timeout", s->once ? "0s" : "5s", "on_wait_timeout", "CONTINUE",
                             "disposition", "INLINE", "format", "JSON_ARRAY");

    if (!body)
        fail(EX_DATAERR, "a statement is not UTF-8");
    s->warehouse = w;
    r->json = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    r->once = s->once;
    r->delay_ms = s->delay_ms;
    r->done = came;
    r->arg = s;
    http_send(w->http, r);
}

static void canceled(struct http_request *r)
{
    struct statement *s = r->arg;

    http_request_free(r);
    poll_later(s); /* whatever the answer was: the state is what counts */
}

void warehouse_settle(struct statement *s)
{
    struct http_request *r = http_request("POST", mem_printf(STATEMENTS "/%s/cancel", s->id));

    r->json = mem_strdup("{}");
    r->done = canceled;
    r->arg = s;
    http_send(s->http, r);
}
