#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"

enum {
    LOOK_MS = 1000,  /* between two looks at a context that comes or goes, */
    START_MS = 3000, /* and at a cluster that starts, which takes minutes */
    SAY_MS = 30 * 1000,
    LOOKS_MAX = 60
};

#define CONTEXTS "/api/1.2/contexts"
#define COMMANDS "/api/1.2/commands"

/* What every context is told first. */
static const char *const settings[] = {"SET spark.sql.ansi.enabled = true", "SET TIME ZONE 'UTC'"};

struct context {
    struct context *next;
    char *id;
    bool busy;
    size_t told; /* of the settings */
};

struct cluster {
    struct http *http;
    const char *id;
    void (*opened)(void *arg, const char *cluster, const char *context);
    void *arg;
    struct context *contexts;
};

struct cluster *cluster_new(struct http *h, const char *id,
                            void (*opened)(void *arg, const char *cluster, const char *context),
                            void *arg)
{
    struct cluster *c = mem_alloc(sizeof *c);

    *c = (struct cluster){.http = h, .id = id, .opened = opened, .arg = arg};
    return c;
}

void cluster_free(struct cluster *c)
{
    struct context *x;

    if (!c)
        return;
    while ((x = c->contexts)) {
        c->contexts = x->next;
        free(x->id);
        free(x);
    }
    free(c);
}

const char *cluster_id(const struct cluster *c)
{
    return c->id;
}

/* The answer's text under this key, or ""; *root is what to json_decref. */
static const char *answer(const struct http_request *r, const char *key, json_t **root)
{
    *root = r->status == 200 ? json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, NULL)
                             : NULL;
    const char *text = json_string_value(json_object_get(*root, key));

    return text ? text : "";
}

/* A request with a JSON body of the pairs key, value, …, NULL. */
static struct http_request *post(const char *path, ...)
{
    struct http_request *r = http_request("POST", mem_strdup(path));
    json_t *body = json_object();
    const char *key;
    va_list ap;

    va_start(ap, path);
    while ((key = va_arg(ap, const char *)))
        if (json_object_set_new(body, key, json_string(va_arg(ap, const char *))))
            fail(EX_DATAERR, "a statement is not UTF-8");
    va_end(ap);
    r->json = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return r;
}

static void send_to(struct statement *s, struct http_request *r,
                    void (*done)(struct http_request *r))
{
    r->done = done;
    r->arg = s;
    http_send(s->http, r);
}

/* ------------------------------------------------------------------ the cluster */

static void start(struct cluster *c)
{
    struct http_request *r =
        http_run(c->http, post("/api/2.1/clusters/start", "cluster_id", c->id, NULL));

    if (r->status != 200 && r->status != 400) /* 400: somebody else has started it just now */
        http_fail(r, "starting the cluster", CLUSTER_RIGHT(c->id));
    http_request_free(r);
}

void cluster_start(struct cluster *c)
{
    int64_t began = clock_ms(), said = 0;
    bool started = false;

    for (unsigned looks = 0;; looks++) {
        struct http_request *r = http_request("GET", mem_printf(CLUSTER_STATE, c->id));
        json_t *root;
        r->delay_ms = looks ? START_MS : 0;
        http_run(c->http, r);
        if (r->status != 200)
            http_fail(r, "looking at the cluster", CLUSTER_RIGHT(c->id));
        const char *state = answer(r, "state", &root);
        const char *why = json_string_value(json_object_get(root, "state_message"));
        bool runs = !strcmp(state, "RUNNING") || !strcmp(state, "RESIZING");
        bool stopped = !strcmp(state, "TERMINATED");

        if ((stopped && started) || !strcmp(state, "ERROR") || !*state)
            fail(EX_TEMPFAIL, "the cluster does not start: %s %.300s cluster=%s", state,
                 why ? why : "", c->id);
        if (stopped)
            start(c);
        started = started || stopped;
        if (!runs && (!said || clock_ms() - said > SAY_MS)) {
            said = clock_ms();
            msg_line("waiting for cluster %s to start: %.40s seconds=%lld", c->id, state,
                     (long long)(said - began) / 1000);
        }
        json_decref(root);
        http_request_free(r);
        if (runs)
            return;
    }
}

/* ------------------------------------------------------------------ contexts */

static struct http_request *context_status(const char *cluster, const char *context)
{
    return http_request("GET",
                        mem_printf(CONTEXTS "/status?clusterId=%s&contextId=%s", cluster, context));
}

/* What refuses everything, or cannot be reached, says nothing about a context. */
static bool says_nothing(struct http_request *r)
{
    return !r->status || r->status == 403 || r->status == 429 || r->status == 503 ||
           http_token_refused(r);
}

void cluster_destroy(struct http *h, const char *cluster, const char *context)
{
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        struct http_request *r = http_run(
            h, post(CONTEXTS "/destroy", "clusterId", cluster, "contextId", context, NULL));
        json_t *root;
        if (says_nothing(r))
            http_fail(r, "ending what an earlier run left on the cluster", CLUSTER_RIGHT(cluster));
        http_request_free(r);
        r = context_status(cluster, context);
        r->delay_ms = looks ? LOOK_MS : 0;
        http_run(h, r);
        if (says_nothing(r))
            http_fail(r, "ending what an earlier run left on the cluster", CLUSTER_RIGHT(cluster));
        const char *state = answer(r, "status", &root);
        bool gone = strcmp(state, "Running") && strcmp(state, "Pending");
        json_decref(root);
        http_request_free(r);
        if (gone)
            return;
    }
    fail(EX_TEMPFAIL, "what an earlier run left on the cluster does not end cluster=%s context=%s",
         cluster, context);
}

void cluster_close(struct cluster *c)
{
    for (struct context *x = c->contexts; x; x = x->next)
        if (x->id)
            cluster_destroy(c->http, c->id, x->id);
}

/* A request that the cluster did not take. It may have been stopped, restarted or full: the next
 * start begins with looking after it. */
static _Noreturn void refused(struct http_request *r, const char *what)
{
    const struct statement *s = r->arg;

    statement_lost(r);
    if (says_nothing(r))
        http_fail(r, what, CLUSTER_RIGHT(s->cluster->id));
    fail(EX_TEMPFAIL, "%s: the cluster did not take it, and may have been stopped; start again: %s",
         what, http_reason(r));
}

static void execute(struct statement *s);

static void context_looked(struct http_request *r)
{
    struct statement *s = r->arg;
    json_t *root;
    const char *state = answer(r, "status", &root);

    if (!strcmp(state, "Running")) {
        execute(s);
    } else if (!strcmp(state, "Pending")) {
        struct http_request *again = context_status(s->cluster->id, s->context->id);
        again->delay_ms = LOOK_MS;
        send_to(s, again, context_looked);
    } else {
        refused(r, "making an execution context");
    }
    json_decref(root);
    http_request_free(r);
}

static void context_made(struct http_request *r)
{
    struct statement *s = r->arg;
    json_t *root;
    const char *id = answer(r, "id", &root);

    if (!*id || strpbrk(id, "/ &?#"))
        refused(r, "making an execution context");
    s->context->id = mem_strdup(id);
    if (s->cluster->opened)
        s->cluster->opened(s->cluster->arg, s->cluster->id, id);
    send_to(s, context_status(s->cluster->id, id), context_looked);
    json_decref(root);
    http_request_free(r);
}

void cluster_send(struct cluster *c, struct statement *s)
{
    struct context *x = c->contexts;

    while (x && x->busy)
        x = x->next;
    s->cluster = c;
    s->context = x;
    if (x) {
        x->busy = true;
        execute(s);
        return;
    }
    s->context = x = mem_alloc(sizeof *x);
    x->busy = true;
    x->next = c->contexts;
    c->contexts = x;
    send_to(s, post(CONTEXTS "/create", "clusterId", c->id, "language", "sql", NULL), context_made);
}

/* ------------------------------------------------------------------ commands */

/* Cells as a warehouse gives them: strings, or null. */
static json_t *as_text(const json_t *cell)
{
    char text[40];

    if (json_is_integer(cell))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(cell));
    else if (json_is_real(cell))
        snprintf(text, sizeof text, "%.17g", json_real_value(cell));
    else if (json_is_boolean(cell))
        snprintf(text, sizeof text, "%s", json_is_true(cell) ? "true" : "false");
    else
        return json_is_string(cell) ? json_copy((json_t *)(uintptr_t)cell) : json_null();
    return json_string(text);
}

static json_t *take_rows(const json_t *data)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *cells = json_array_get(data, i);
        json_t *row = json_array();
        for (size_t k = 0; k < json_array_size(cells); k++)
            json_array_append_new(row, as_text(json_array_get(cells, k)));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The cause is the exception as text; the summary has markup in it. */
static void take_error(struct statement *s, const json_t *results)
{
    const char *cause = json_string_value(json_object_get(results, "cause"));
    const char *summary = json_string_value(json_object_get(results, "summary"));
    const char *message = cause && *cause ? cause : summary ? summary : "";
    const char *at = strstr(message, "SQLSTATE: ");
    char sql_state[6];

    snprintf(sql_state, sizeof sql_state, "%.5s", at ? at + strlen("SQLSTATE: ") : "");
    s->state = STATEMENT_FAILED;
    statement_error(s, "", message, sql_state);
}

bool cluster_parse(struct statement *s, const char *body, size_t len)
{
    static const struct {
        const char *name;
        enum statement_state state;
    } states[] = {
        {"Queued", STATEMENT_WAITING},     {"Running", STATEMENT_WAITING},
        {"Cancelling", STATEMENT_WAITING}, {"Finished", STATEMENT_SUCCEEDED},
        {"Error", STATEMENT_FAILED},       {"Cancelled", STATEMENT_CANCELED},
    };
    json_t *root = json_loadb(body, len, 0, NULL);
    const json_t *results = json_object_get(root, "results");
    const char *name = json_string_value(json_object_get(root, "status"));
    const char *type = json_string_value(json_object_get(results, "resultType"));
    size_t i = 0, n = sizeof states / sizeof *states;

    while (i < n && (!name || strcmp(states[i].name, name)))
        i++;
    if (i == n) {
        json_decref(root);
        return false;
    }
    s->state = states[i].state;
    statement_error(s, "", "", "");
    if (s->state == STATEMENT_FAILED || (type && !strcmp(type, "error"))) {
        take_error(s, results);
    } else if (s->state == STATEMENT_SUCCEEDED) {
        if (json_is_true(json_object_get(results, "truncated")))
            fail(EX_CONFIG, "the cluster sends a part of a result only; a SQL warehouse sends all");
        s->rows = take_rows(json_object_get(results, "data"));
        s->written =
            figures_changed_rows(json_object_get(results, "schema"), json_array_get(s->rows, 0));
    }
    json_decref(root);
    return true;
}

static struct http_request *command_status(const char *cluster, const char *context,
                                           const char *command)
{
    return http_request("GET", mem_printf(COMMANDS "/status?clusterId=%s&contextId=%s&commandId=%s",
                                          cluster, context, command));
}

static void status_came(struct http_request *r);

static void poll_later(struct statement *s)
{
    const char *context = strchr(s->id, '/') + 1, *command = strchr(context, '/') + 1;
    char *cluster = mem_printf("%.*s", (int)(context - s->id - 1), s->id);
    char *in = mem_printf("%.*s", (int)(command - context - 1), context);
    struct http_request *r = command_status(cluster, in, command);

    r->delay_ms = statement_pause(s);
    send_to(s, r, status_came);
    free(cluster);
    free(in);
}

static void status_came(struct http_request *r)
{
    struct statement *s = r->arg;

    if (r->status == 200 && r->body.data) {
        if (!cluster_parse(s, r->body.data, r->body.len))
            http_fail(r, "running a statement", NULL);
    } else if (says_nothing(r)) {
        http_fail(r, "running a statement", CLUSTER_RIGHT(s->cluster ? s->cluster->id : ""));
    } else {
        s->state = STATEMENT_UNKNOWN; /* with its context */
    }
    http_request_free(r);
    if (s->state == STATEMENT_WAITING) {
        poll_later(s);
        return;
    }
    if (s->context)
        s->context->busy = false;
    statement_ended(s);
}

static void told(struct http_request *r);
static void accepted(struct http_request *r);

/* Sends the statement, or first what its context has not been told yet. */
static void execute(struct statement *s)
{
    struct context *x = s->context;
    bool ready = x->told == sizeof settings / sizeof *settings;
    struct http_request *r =
        post(COMMANDS "/execute", "clusterId", s->cluster->id, "contextId", x->id, "language",
             "sql", "command", ready ? s->sql : settings[x->told], NULL);

    r->once = ready && s->once;
    r->delay_ms = ready ? s->delay_ms : 0;
    send_to(s, r, ready ? accepted : told);
}

static void setting_came(struct http_request *r);

static void look_at_setting(struct statement *s, const char *command)
{
    struct http_request *r = command_status(s->cluster->id, s->context->id, command);

    r->delay_ms = statement_pause(s);
    send_to(s, r, setting_came);
}

/* What becomes of a setting. Without it, values would be other ones: it has to be made. */
static void setting_came(struct http_request *r)
{
    struct statement *s = r->arg, *setting = mem_alloc(sizeof *setting);
    bool known = r->status == 200 && r->body.data;

    if (!known || !cluster_parse(setting, r->body.data, r->body.len))
        refused(r, "setting up an execution context");
    if (setting->state == STATEMENT_WAITING) {
        look_at_setting(s, strrchr(r->path, '=') + 1);
    } else if (setting->state == STATEMENT_SUCCEEDED) {
        s->context->told++;
        execute(s);
    } else {
        fail(EX_CONFIG, "the cluster does not take a setting that rows are to be read with: %s: %s",
             settings[s->context->told], setting->message);
    }
    statement_free(setting);
    http_request_free(r);
}

static void told(struct http_request *r)
{
    struct statement *s = r->arg;
    json_t *root;
    const char *id = answer(r, "id", &root);

    if (!*id || strpbrk(id, "/ &?#"))
        refused(r, "setting up an execution context");
    look_at_setting(s, id);
    json_decref(root);
    http_request_free(r);
}

static void accepted(struct http_request *r)
{
    struct statement *s = r->arg;
    json_t *root;
    const char *id = answer(r, "id", &root);

    if (!*id || strpbrk(id, "/ &?#"))
        refused(r, "running a statement");
    statement_known(s, mem_printf("%s/%s/%s", s->cluster->id, s->context->id, id));
    json_decref(root);
    http_request_free(r);
    poll_later(s);
}

bool cluster_ran(const char *statement)
{
    const char *slash = strchr(statement, '/');

    return slash && strchr(slash + 1, '/');
}

void cluster_settle(struct statement *s)
{
    poll_later(s);
}
