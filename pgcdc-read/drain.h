/*
 * Changes by SQL: the walsender makes a system call for each message, and that, not decoding, is
 * what bounds it. A function that decodes a stretch of the WAL and gives all of its messages as the
 * rows of one COPY is about twice as fast, so that is how a backlog is read, before the stream
 * takes over at its end:
 * https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
 *
 * Such a function moves its slot, and the slot of the pipeline has to stay where dbx-load stands.
 * So temporary copies of it are read, and the slot itself follows now and then. The function has
 * all rows ready (in the server's temporary files) before it gives the first. So there are two
 * copies, each with its connection, that read stretches of the WAL in turn: while the rows of one
 * are taken, the server works on the next. A copy gets to where its stretch begins by
 * pg_replication_slot_advance, which does not decode and is six times as fast. A transaction
 * belongs to the stretch in which the record of its commit begins: both functions go by that, so
 * that none is missing and none comes twice. That holds where a stretch ends at the end of a page
 * of the WAL: within the header of the next page, the record behind it would be in both.
 */
#ifndef PGCDC_READ_DRAIN_H
#define PGCDC_READ_DRAIN_H

#include "changes.h"

/* Begins to read what is between c->position and end, which the WAL has reached. NULL: the server
 * does not do it, *t says why. */
struct drain *drain_open(struct changes *c, lsn_t end, struct trouble *t);
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
