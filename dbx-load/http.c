#include "http.h"

#include <curl/curl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"
#include "rights.h"
#include "version.h"

enum {
    CONNECTIONS = 8, /* the service takes about ten requests at once */
    CONNECT_S = 30,
    SAY_MS = 10 * 60 * 1000, /* between two warnings of one kind */
    KINDS = 8,
    STALL_S = 90,               /* without a byte; a statement's answer may take 50 */
    BODY_MAX = 64 * 1024 * 1024 /* results come inline up to 25 MiB */
};

/* A request under way, or waiting for its (next) try. */
struct http_transfer {
    struct http_transfer *next;
    struct http_request *r;
    CURL *curl; /* NULL while it waits */
    struct curl_slist *headers;
    int64_t due;   /* of the next try */
    int64_t since; /* the first failure, 0 for none */
    unsigned tries;
    uint64_t sent; /* bytes of the file */
    bool too_large;
    bool refused; /* once already, for its signature */
};

_Static_assert(sizeof((struct http_request *)0)->error >= CURL_ERROR_SIZE,
               "libcurl writes that much");

struct http {
    CURLM *multi;
    char *base;
    const char *ca_file; /* or NULL: the system's */
    const struct http_signer *signer;
    int64_t patience;
    struct {
        int kind;     /* a status of HTTP, or an error of curl's, negative */
        int64_t when; /* that it was tried again because of it was last said; 0: never */
    } said[KINDS];
    struct http_transfer *transfers;
};

struct http *http_new(const char *base, int64_t patience_ms)
{
    const char *ca_file = getenv("SSL_CERT_FILE");
    struct http *h = mem_alloc(sizeof *h);

    if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(h->multi = curl_multi_init()))
        msg_die(EX_TEMPFAIL, "libcurl cannot be used");
    curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS);
    h->base = mem_strdup(base);
    h->ca_file = ca_file && *ca_file ? ca_file : NULL;
    h->patience = patience_ms;
    srandom((unsigned)(clock_us() ^ getpid()));
    return h;
}

void http_sign(struct http *h, const struct http_signer *signer)
{
    h->signer = signer;
}

static void transfer_stop(struct http *h, struct http_transfer *t)
{
    if (!t->curl)
        return;
    curl_multi_remove_handle(h->multi, t->curl);
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    t->curl = NULL;
    t->headers = NULL;
}

static void transfer_free(struct http *h, struct http_transfer *t)
{
    transfer_stop(h, t);
    free(t);
}

void http_request_free(struct http_request *r)
{
    if (r->fd >= 0)
        close(r->fd);
    buf_free(&r->body);
    free(r->path);
    free(r->json);
    free(r->form);
    free(r);
}

void http_free(struct http *h)
{
    struct http_transfer *t;

    if (!h)
        return;
    while ((t = h->transfers)) {
        h->transfers = t->next;
        http_request_free(t->r);
        transfer_free(h, t);
    }
    curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    free(h->base);
    free(h);
}

struct http_request *http_request(const char *method, char *path)
{
    struct http_request *r = mem_alloc(sizeof *r);

    r->method = method;
    r->path = path;
    r->fd = -1;
    return r;
}

static size_t take(char *data, size_t size, size_t n, void *arg)
{
    struct http_transfer *t = arg;

    if (t->r->body.len + size * n > BODY_MAX) {
        t->too_large = true;
        return 0;
    }
    buf_add(&t->r->body, data, size * n);
    return size * n;
}

static size_t give(char *data, size_t size, size_t n, void *arg)
{
    struct http_transfer *t = arg;
    ssize_t got = pread(t->r->fd, data, size * n, (off_t)t->sent);

    if (got < 0)
        return CURL_READFUNC_ABORT;
    t->sent += (uint64_t)got;
    return (size_t)got;
}

/* A connection that curl wants to use again may have been closed: curl rewinds and sends anew. */
static int rewind_file(void *arg, curl_off_t offset, int origin)
{
    struct http_transfer *t = arg;

    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* A request that cannot be signed yet stays as it is. */
static void transfer_start(struct http *h, struct http_transfer *t)
{
    struct http_request *r = t->r;
    const char *header = r->open ? NULL : h->signer->header(h->signer->arg);

    if (!r->open && !header)
        return;
    char *url = mem_printf("%s%s", h->base, r->path);
    bool local = !strncmp(h->base, "http:", 5);
    CURL *curl = t->curl = curl_easy_init();

    if (!curl)
        msg_die(EX_TEMPFAIL, "libcurl cannot be used");
    buf_clear(&r->body);
    r->error[0] = '\0';
    t->tries++;
    t->headers = curl_slist_append(NULL, "Expect:");
    if (header)
        t->headers = curl_slist_append(t->headers, header);
    if (r->user) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERNAME, r->user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, r->password);
    }
    if (h->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, h->ca_file);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, local ? "http" : "https");
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pgcdc/" PGCDC_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, t);
    if (local)
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    if (r->fd >= 0) {
        t->sent = 0;
        t->headers = curl_slist_append(t->headers, "Content-Type: application/octet-stream");
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->size);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(curl, CURLOPT_READDATA, t);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, rewind_file);
        curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
    } else if (r->form) { /* curl says what it is */
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->form);
    } else if (r->json || !strcmp(r->method, "POST") || !strcmp(r->method, "PUT")) {
        const char *json = r->json ? r->json : "";
        t->headers = curl_slist_append(t->headers, r->json ? "Content-Type: application/json"
                                                           : "Content-Type:"); /* none */
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(json));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
    /* On a connection that is used again curl may send a request twice by itself. */
    if (r->once)
        curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, t->headers);
    curl_multi_add_handle(h->multi, curl);
    free(url);
}

void http_send(struct http *h, struct http_request *r)
{
    struct http_transfer *t = mem_alloc(sizeof *t);

    t->r = r;
    t->due = clock_ms() + r->delay_ms;
    t->next = h->transfers;
    h->transfers = t;
    if (!r->delay_ms)
        transfer_start(h, t);
}

int64_t http_pause(unsigned tries, int64_t retry_after_s, double random)
{
    int64_t pause = 30000;

    if (retry_after_s > 0)
        return retry_after_s * 1000;
    if (tries < 7)
        pause = 250 << tries;
    if (pause > 30000)
        pause = 30000;
    return pause / 2 + (int64_t)((double)(pause / 2) * random);
}

/* The request can't have reached the service. */
static bool never_arrived(CURL *curl, CURLcode code)
{
    long sent = 0;

    if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
        code == CURLE_COULDNT_CONNECT || code == CURLE_SSL_CONNECT_ERROR)
        return true;
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
    return sent == 0;
}

/* What no second try cures. */
static bool is_final(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
           code == CURLE_ABORTED_BY_CALLBACK || code == CURLE_WRITE_ERROR;
}

/* When a warning of this kind was last said. */
static int64_t *said(struct http *h, int kind)
{
    size_t i = 0;

    while (i < KINDS - 1 && h->said[i].when && h->said[i].kind != kind)
        i++;
    if (h->said[i].kind != kind)
        h->said[i].when = 0;
    h->said[i].kind = kind;
    return &h->said[i].when;
}

/* Once for everybody: who waits wants to know why. */
static void say_again(struct http *h, const struct http_request *r, CURLcode code, int64_t pause)
{
    int64_t now = clock_ms(), *last = said(h, r->status ? r->status : -(int)code);
    char *text = r->status ? mem_printf("the service is busy, trying again status=%d", r->status)
                           : mem_printf("no connection to the service, trying again: %s", r->error);

    if (!*last || now - *last > SAY_MS) {
        *last = now;
        msg_warn("%s", text);
    } else {
        msg_info("%s pause_ms=%lld", text, (long long)pause);
    }
    free(text);
}

/* Sets status, lost and error. True: it is to be tried again, after *pause. */
static bool judge(struct http *h, struct http_transfer *t, CURLcode code, int64_t *pause)
{
    struct http_request *r = t->r;
    curl_off_t retry_after = 0;
    long status = 0;
    bool again;

    if (!code)
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    r->advice = h->signer->advice;
    r->untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    if (t->too_large)
        snprintf(r->error, sizeof r->error, "the answer is too large");
    else if (code && !r->error[0])
        snprintf(r->error, sizeof r->error, "%s", curl_easy_strerror(code));
    if (!status)
        again = !is_final(code) && (!r->once || never_arrived(t->curl, code));
    else
        again = status == 429 || status == 503 || (!r->once && (status == 502 || status == 504));
    r->lost = !again && r->once &&
              (!status ? !is_final(code) || t->too_large : status == 502 || status == 504);
    if (!r->open && !t->refused && http_token_refused(r)) {
        t->refused = true;
        return h->signer->refused(h->signer->arg);
    }
    if (!again)
        return false;

    int64_t now = clock_ms();
    if (!t->since)
        t->since = now;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &retry_after);
    *pause = http_pause(t->tries, retry_after, (double)random() / ((double)RAND_MAX + 1));
    if (now + *pause - t->since > h->patience)
        return false;
    load_figures[status ? LOAD_RETRIES_BUSY : LOAD_RETRIES_CONNECTION].value++;
    say_again(h, r, code, *pause);
    return true;
}

static void end(struct http *h, struct http_transfer *t)
{
    for (struct http_transfer **at = &h->transfers; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    struct http_request *r = t->r;
    msg_debug("%s %s status=%d", r->method, r->path, r->status);
    transfer_free(h, t);
    r->finished = true;
    if (r->done)
        r->done(r);
}

static void finish(struct http *h, struct http_transfer *t, CURLcode code)
{
    int64_t pause = 0;

    if (!judge(h, t, code, &pause)) {
        end(h, t);
        return;
    }
    transfer_stop(h, t);
    t->due = clock_ms() + pause;
}

/* Ends the requests that wait for a signature which will not come. False: there are none. */
static bool end_unsigned(struct http *h)
{
    struct http_transfer *t = h->transfers;

    while (t && (t->curl || t->r->open))
        t = t->next;
    if (!t)
        return false;
    t->r->status = 0;
    t->r->no_signature = h->signer->code;
    t->r->advice = h->signer->problem;
    end(h, t); /* which may have changed the list */
    end_unsigned(h);
    return true;
}

/* Starts what is due; milliseconds until the next one is, or timeout. */
static int start_due(struct http *h, int timeout)
{
    int64_t now = clock_ms();

    if (h->signer->problem && end_unsigned(h))
        return 0;
    for (struct http_transfer *t = h->transfers; t; t = t->next) {
        if (t->curl)
            continue;
        if (t->due <= now) /* or as soon as it can be signed */
            transfer_start(h, t);
        else if (timeout < 0 || t->due - now < timeout)
            timeout = (int)(t->due - now);
    }
    return timeout;
}

/* Moves the transfers on. True: at least one was finished. */
static bool move(struct http *h)
{
    int running, left;
    bool finished = false;
    CURLMsg *m;

    curl_multi_perform(h->multi, &running);
    while ((m = curl_multi_info_read(h->multi, &left))) {
        struct http_transfer *t;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        finish(h, t, code);
        finished = true;
    }
    return finished;
}

bool http_turn(struct http *h, int fd, int timeout_ms)
{
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    struct pollfd stream = {.fd = fd, .events = POLLIN};
    int timeout = start_due(h, metrics_timeout(timeout_ms));

    if (!move(h)) {
        curl_multi_poll(h->multi, &extra, fd >= 0, timeout < 0 ? 60 * 1000 : timeout, NULL);
        move(h);
    }
    metrics_tick();
    /* curl passes a hang-up over in silence */
    return fd >= 0 && poll(&stream, 1, 0) > 0;
}

struct http_request *http_run(struct http *h, struct http_request *r)
{
    r->done = NULL;
    http_send(h, r);
    http_wait(h, &r->finished);
    return r;
}

void http_wait(struct http *h, const bool *done)
{
    while (!*done)
        http_turn(h, -1, -1);
}

unsigned http_pending(const struct http *h)
{
    unsigned n = 0;

    for (const struct http_transfer *t = h->transfers; t; t = t->next)
        n++;
    return n;
}

const char *http_reason(struct http_request *r)
{
    /* of the APIs, of OAuth, of the API 1.2 */
    static const char *const keys[] = {"message", "error_description", "error"};
    struct buf text = {0};

    if (!r->status)
        return r->error;
    json_t *body = json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, NULL);
    const char *message = NULL;
    for (size_t i = 0; !message && i < sizeof keys / sizeof *keys; i++)
        message = json_string_value(json_object_get(body, keys[i]));
    buf_printf(&text, "HTTP %d", r->status);
    if (message && *message)
        buf_printf(&text, ": %.400s", message);
    json_decref(body);
    for (char *p = text.data; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    buf_clear(&r->body);
    buf_add(&r->body, text.data, text.len);
    buf_free(&text);
    return r->body.data;
}

bool http_token_refused(struct http_request *r)
{
    /* The service says 403 to a token that it does not know, too. */
    return r->status == 401 ||
           (r->status == 403 && r->body.len && strstr(r->body.data, "access token"));
}

char *http_problem(struct http_request *r, const char *what, const struct right *right, int *code)
{
    bool token = http_token_refused(r), forbidden = r->status == 403;
    const char *reason = http_reason(r);

    *code = EX_CONFIG;
    if (r->no_signature) {
        *code = r->no_signature;
        return mem_strdup(r->advice);
    }
    if (token)
        return mem_printf("the token was refused; %s (%s)", r->advice, reason);
    if (r->untrusted)
        return mem_printf(
            "the host's certificate is not to be trusted: is this the workspace? Where a company's "
            "proxy stands in between, SSL_CERT_FILE names the certificates of who signs for it: %s",
            reason);
    if (r->status / 100 == 3)
        return mem_printf("%s: the host sends us elsewhere; is it that of the workspace? %s", what,
                          reason);
    if (forbidden && right) {
        char *sentence = rights_sentence(right);
        char *problem = mem_printf("%s: not allowed: %s; it takes %s", what, reason, sentence);
        free(sentence);
        return problem;
    }
    if (r->status / 100 == 2) {
        *code = EX_TEMPFAIL;
        return mem_printf("%s: the answer is none of the service's; is a proxy in between? %s",
                          what, reason);
    }
    if (!r->status || r->status == 408 || r->status == 409 || r->status == 429 || r->status >= 500)
        *code = EX_TEMPFAIL;
    return mem_printf("%s: %s%s", what, forbidden ? "not allowed: " : "", reason);
}

void http_fail(struct http_request *r, const char *what, const struct right *right)
{
    int code;
    char *problem = http_problem(r, what, right, &code);

    fail(code, "%s", problem);
}

void http_segment(struct buf *b, const char *segment, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)segment[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~", c)))
            buf_char(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}
