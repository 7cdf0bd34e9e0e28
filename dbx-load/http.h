/*
 * Requests to the workspace: JSON over a few kept-alive HTTPS connections, all in one loop.
 *
 * What may pass is tried again, for as long as http_new says: 429 and 503 (after Retry-After, else
 * with growing, jittered pauses) and broken connections. Redirects are not followed: the token is
 * for this host alone. The certificate is always verified, against SSL_CERT_FILE if that is set.
 */
#ifndef PGCDC_HTTP_H
#define PGCDC_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem.h"

struct http;
struct right;

/* What requests are signed with. */
struct http_signer {
    /* The line of the header, valid until the next call; NULL: a request that was sent from here
     * has to be done first. */
    const char *(*header)(void *arg);
    /* The service refused it. True: there will be another one. */
    bool (*refused)(void *arg);
    const char *advice; /* what to do where it is refused for good */
    /* Set once there will be none any more: why not, and an exit code. */
    char *problem;
    int code;
    void *arg;
};

struct http_request {
    /* Set by the caller; what is a pointer here is owned by the request from http_send on. */
    const char *method; /* not owned */
    char *path;         /* percent-encoded, with its query */
    char *json;         /* the body, or NULL */
    char *form;         /* or the fields of a form, encoded */
    int fd;             /* or a file as the body: closed with the request; -1 for none */
    uint64_t size;      /* bytes of the file, from its beginning */
    bool once;          /* must not arrive twice: tried again only where it surely never arrived */
    bool open;          /* not signed, but sent with user and password, if there are */
    const char *user, *password; /* not owned */
    int64_t delay_ms;            /* sent after this time */
    void (*done)(struct http_request *r);
    void *arg;

    /* The answer, valid in done(). */
    int status;         /* of HTTP; 0: there is none, and error says why */
    bool lost;          /* there is no answer, the request was `once`, and it may have arrived */
    bool untrusted;     /* there is none because the server's certificate was not accepted */
    int no_signature;   /* there is none because it could not be signed: the signer's code */
    const char *advice; /* of the signer; or its problem */
    struct buf body;    /* NUL-terminated */
    char error[256];
    bool finished;
};

/* base: https://host[:port]. patience_ms: how long a request is tried again. */
struct http *http_new(const char *base, int64_t patience_ms);
void http_free(struct http *h);

/* Has all requests signed that are not `open`; signer is kept. */
void http_sign(struct http *h, const struct http_signer *signer);

/* method is kept, path is taken over; the rest is set by the caller. */
struct http_request *http_request(const char *method, char *path);

/* Starts the request. done is called from http_turn, never from here, and owns the request then. */
void http_send(struct http *h, struct http_request *r);

/* Starts the request and turns the loop until it is finished; done is not used. Returns r. */
struct http_request *http_run(struct http *h, struct http_request *r);

void http_request_free(struct http_request *r);

/*
 * One turn of the loop: waits until a request moves, fd (-1 for none) is readable, or timeout_ms
 * (-1 for none) have passed, and calls done for what is finished. True: fd is readable.
 */
bool http_turn(struct http *h, int fd, int timeout_ms);

/* Turns the loop until *done. */
void http_wait(struct http *h, const bool *done);

/* Requests that are not done. */
unsigned http_pending(const struct http *h);

/* What the service said about a request that failed, in one short line (owned by the request). */
const char *http_reason(struct http_request *r);

/* True if it was refused because of the token (r->advice), not for want of a right. */
bool http_token_refused(struct http_request *r);

/*
 * Gives up because of a request's answer: 401 and 403 and other refusals exit with 78, no answer
 * and the server's own errors with 75. what: what was tried; right: the right that it takes, or
 * NULL.
 */
_Noreturn void http_fail(struct http_request *r, const char *what, const struct right *right);

/* What http_fail would say, to be freed, and its exit code. */
char *http_problem(struct http_request *r, const char *what, const struct right *right, int *code);

/*
 * The pause before try number `tries` (from 1): retry_after_s if the server named one (> 0), else
 * 0.5 s doubled each time up to 30 s, of which the second half is random (0 <= random < 1).
 */
int64_t http_pause(unsigned tries, int64_t retry_after_s, double random);

/* Appends one segment of a path, percent-encoded. */
void http_segment(struct buf *b, const char *segment, size_t len);

#endif
