#include "signin.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"
#include "msg.h"

#define DISCOVERY "/oidc/.well-known/oauth-authorization-server"

enum {
    STALE_MS = 20 * 60 * 1000, /* before the end of its life */
    MARGIN_MS = 40 * 1000,     /* the service may refuse a token 30 seconds before its end */
    LIFE_MAX = 24 * 60 * 60,   /* seconds: whatever a service says, renewed every day */
    AGAIN_MS = 60 * 1000       /* after a renewal that failed while the token still holds */
};

struct signin {
    struct http *http;
    const struct config *config;
    struct http_signer signer;
    char *advice;
    char *header;     /* of the token, or NULL */
    char *token_path; /* where tokens are fetched; NULL: not known yet */
    int64_t stale, expires;
    bool fetching;
};

/* ------------------------------------------------------------------ the service principal */

/* There will be no token any more. problem is taken over. */
static void give_up(struct signin *s, struct http_request *r, int code, char *problem)
{
    s->signer.code = code;
    s->signer.problem = problem;
    http_request_free(r);
}

/* True: the token still holds, and the answer is no reason to give up. */
static bool can_wait(struct signin *s, struct http_request *r)
{
    bool may_pass = !r->status || r->status == 429 || r->status >= 500;

    if (!may_pass || clock_ms() >= s->expires)
        return false;
    msg_warn("the service principal's token could not be renewed yet: %s", http_reason(r));
    s->stale = clock_ms() + AGAIN_MS;
    s->fetching = false;
    http_request_free(r);
    return true;
}

char *signin_parse(const char *body, size_t len, int64_t *seconds)
{
    json_t *root = json_loadb(body, len, 0, NULL);
    const json_t *life = json_object_get(root, "expires_in"); /* some services write it as text */
    const char *token = json_string_value(json_object_get(root, "access_token"));
    const char *type = json_string_value(json_object_get(root, "token_type"));
    const char *p = token;
    char *found = NULL;

    *seconds = json_is_string(life) ? strtoll(json_string_value(life), NULL, 10)
                                    : (int64_t)json_integer_value(life);
    if (*seconds > LIFE_MAX)
        *seconds = LIFE_MAX;
    while (p && *p > ' ' && *p <= '~')
        p++;
    if (token && *token && !*p && *seconds > 0 && type && !strcasecmp(type, "Bearer"))
        found = mem_strdup(token);
    json_decref(root);
    return found;
}

static void issued(struct http_request *r)
{
    struct signin *s = r->arg;
    int64_t seconds, now = clock_ms();

    if (r->status != 200) {
        if (can_wait(s, r))
            return;
        bool refused = r->status == 400 || r->status == 401 || r->status == 403;
        int code = EX_CONFIG;
        char *problem =
            refused ? mem_printf("the service principal was refused (%s): is it in this workspace, "
                                 "and are client id and secret right? %s",
                                 s->config->origin, http_reason(r))
                    : http_problem(r, "signing in as a service principal", NULL, &code);
        give_up(s, r, code, problem);
        return;
    }
    char *token = signin_parse(r->body.data ? r->body.data : "", r->body.len, &seconds);
    if (!token) {
        give_up(s, r, EX_TEMPFAIL, mem_strdup("the workspace answered a sign-in without a token"));
        return;
    }
    free(s->header);
    s->header = mem_printf("Authorization: Bearer %s", token);
    free(token);
    int64_t life = seconds * 1000;
    s->expires = now + life - (life / 4 < MARGIN_MS ? life / 4 : MARGIN_MS);
    s->stale = now + life - (life / 2 < STALE_MS ? life / 2 : STALE_MS);
    s->fetching = false;
    msg_info("signed in as a service principal seconds=%lld", (long long)seconds);
    http_request_free(r);
}

static void ask_token(struct signin *s)
{
    struct http_request *r = http_request("POST", mem_strdup(s->token_path));

    r->form = mem_strdup("grant_type=client_credentials&scope=all-apis");
    r->open = true;
    r->user = s->config->client_id;
    r->password = s->config->client_secret;
    r->done = issued;
    r->arg = s;
    http_send(s->http, r);
}

/* The path of an endpoint on the workspace's own host, or NULL. */
static char *own_path(const struct config *config, const char *url)
{
    const char *host = url ? strstr(url, "://") : NULL;
    char *base = NULL, *path = NULL;

    if (host && !config_base(url, &base) && !strcasecmp(base, config->base))
        path = mem_strdup(host + 3 + strcspn(host + 3, "/"));
    free(base);
    return path;
}

static void discovered(struct http_request *r)
{
    struct signin *s = r->arg;

    if (r->status != 200) {
        if (can_wait(s, r))
            return;
        int code = EX_CONFIG;
        char *problem =
            r->status == 404
                ? mem_printf("there is no sign-in for service principals here; is this the host of "
                             "a workspace? host=%s",
                             s->config->host)
                : http_problem(r, "looking for the workspace's sign-in", NULL, &code);
        give_up(s, r, code, problem);
        return;
    }
    json_t *root = json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, NULL);
    const char *url = json_string_value(json_object_get(root, "token_endpoint"));
    s->token_path = own_path(s->config, url);
    char *problem = mem_printf(
        "the workspace names no sign-in on its own host, and the secret goes to no other: "
        "token_endpoint=%.200s host=%s",
        url ? url : "-", s->config->host);
    json_decref(root);
    if (!s->token_path) {
        give_up(s, r, EX_CONFIG, problem);
        return;
    }
    free(problem);
    http_request_free(r);
    ask_token(s);
}

static void fetch(struct signin *s)
{
    s->fetching = true;
    if (s->token_path) {
        ask_token(s);
        return;
    }
    struct http_request *r = http_request("GET", mem_strdup(DISCOVERY));
    r->open = true;
    r->done = discovered;
    r->arg = s;
    http_send(s->http, r);
}

static const char *principal_header(void *arg)
{
    struct signin *s = arg;
    int64_t now = clock_ms();

    if (!s->fetching && (now >= s->stale || now >= s->expires))
        fetch(s);
    return now < s->expires ? s->header : NULL;
}

static bool principal_refused(void *arg)
{
    struct signin *s = arg;

    s->expires = 0; /* also where the next one is on its way: requests wait for that */
    return true;
}

/* ------------------------------------------------------------------ the token */

static const char *token_header(void *arg)
{
    struct signin *s = arg;

    return s->header;
}

static bool token_refused(void *arg)
{
    (void)arg;
    return false;
}

struct signin *signin_new(struct http *h, const struct config *config)
{
    struct signin *s = mem_alloc(sizeof *s);

    s->http = h;
    s->config = config;
    if (config->token) {
        s->header = mem_printf("Authorization: Bearer %s", config->token);
        s->advice = mem_printf("make a new one and set %s", config->origin);
    } else {
        s->advice = mem_strdup("is the service principal in this workspace?");
    }
    s->signer = (struct http_signer){
        .header = config->token ? token_header : principal_header,
        .refused = config->token ? token_refused : principal_refused,
        .advice = s->advice,
        .arg = s,
    };
    http_sign(h, &s->signer);
    return s;
}

void signin_free(struct signin *s)
{
    if (!s)
        return;
    free(s->advice);
    free(s->signer.problem);
    free(s->header);
    free(s->token_path);
    free(s);
}
