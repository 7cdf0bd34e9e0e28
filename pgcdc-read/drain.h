/*
 * Changes by SQL: the walsender makes a system call for each message, and that, not decoding, is
 * what bounds it. A function that decodes a stretch of the WAL and gives all of its messages as the
 * rows of one COPY is about twice as fast, so that is how a backlog is read, before the stream
 * takes over at its end:
 * https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
 *
 * Such a function moves its slot, and the slot of the pipeline has to stay where dbx-load stands.
 * So a temporary copy of it is read, and the slot itself follows now and then. The function has all
 * rows ready (in the server's temporary files) before it gives the first, so while it works on one
 * stretch the messages of the one before, which were put aside, are taken.
 */
#ifndef PGCDC_READ_DRAIN_H
#define PGCDC_READ_DRAIN_H

#include "changes.h"

/* Begins to read what is behind c->position. NULL: the server does not do it, *t says why. */
struct drain *drain_open(struct changes *c, struct trouble *t);
void drain_close(struct drain *d); /* NULL: nothing */

enum drain_status {
    DRAIN_MESSAGE, /* *data and *len are one, as pgoutput gives it, until the next call */
    DRAIN_WAIT,    /* poll the socket for more */
    DRAIN_END,     /* there are no more here: go on otherwise at c->position */
    DRAIN_FAILED,  /* *t says why; c->position is where to go on otherwise */
};
enum drain_status drain_next(struct drain *d, const char **data, size_t *len, struct trouble *t);
int drain_socket(const struct drain *d);

#endif
