/*
 * Signs requests: with a personal access token, or as a service principal (OAuth, client
 * credentials), whose tokens live for about an hour.
 *
 * The service principal's first token is fetched when the first request is to go, which waits for
 * it; the next one when the half of its life is over, or 20 minutes before its end, beside what
 * goes on. A token that the service refuses before its time is replaced once for each request.
 *
 * Where to fetch it says the workspace (RFC 8414: /oidc/.well-known/oauth-authorization-server).
 * The secret goes to the workspace's host alone.
 */
#ifndef PGCDC_SIGNIN_H
#define PGCDC_SIGNIN_H

#include "config.h"
#include "http.h"

struct signin;

/* From now on requests of h are signed. config and h are to outlive it. */
struct signin *signin_new(struct http *h, const struct config *config);
void signin_free(struct signin *s);

/* Takes the answer with a token: the token (free() it) and how many seconds it lives, or NULL if
 * there is none in it; for tests. */
char *signin_parse(const char *body, size_t len, int64_t *seconds);

#endif
