/* Streams the changes over the replication protocol, through lost connections and server restarts.
 */
#ifndef PGCDC_READ_REPLICATE_H
#define PGCDC_READ_REPLICATE_H

#include "changes.h"
#include "run.h"

/* Makes what is missing of the two connections and starts streaming at c->position. A permanent
 * obstacle exits with 78; false: *t says why it did not work now. */
bool replicate_connect(struct changes *c, struct trouble *t);

/* Streams until the target is reached or a signal asked to stop, and the stream is whole. Exits
 * with 75 if the server stays away, or a transaction does not end within 10 seconds after the
 * signal. */
void replicate_run(struct changes *c);

/* After `end`: stays until downstream has closed, dbx-load has applied everything, and the slot has
 * moved there. Returns the exit code: 0, or 75 while behind. Without a state folder nobody says
 * what is applied: 0 when all is written. */
int replicate_finish(struct changes *c);

#endif
