/*
 * Where the messages of pgoutput come from: a backlog by SQL (drain.h), then the stream, of which
 * transactions in progress are put aside until they commit (inprogress.h). They are the same
 * messages, in the same order, whichever way.
 */
#ifndef PGCDC_READ_FETCH_H
#define PGCDC_READ_FETCH_H

#include "changes.h"

struct fetch *fetch_new(struct changes *c);
void fetch_free(struct fetch *f);

/* Has messages come, from c->position on. False: *t says why that is not possible now. */
bool fetch_open(struct fetch *f, struct trouble *t);

/* Gives the source up, and what was not taken of it; fetch_open begins again at c->position. */
void fetch_close(struct fetch *f);

enum fetched {
    FETCHED_MESSAGE, /* *data and *len are one, until the next call */
    FETCHED_OTHER,   /* no message for the caller; there may be one at once */
    FETCHED_NOTHING, /* poll the socket */
    FETCHED_LOST,    /* the source is gone: *t says why */
};
enum fetched fetch_next(struct fetch *f, const char **data, size_t *len, struct trouble *t);

/* -1: behind the target, where there is nothing to wait for. */
int fetch_socket(const struct fetch *f);

/* Whether the last was a piece of a transaction in progress, of which more follows at once. */
bool fetch_inside(const struct fetch *f);

#endif
