/*
 * Reads what tables hold at one moment, the consistent point X of a new logical slot, and writes it
 * to the stream. A change of the table is in it if its commit LSN is below X.
 */
#ifndef PGCDC_READ_SNAPSHOT_H
#define PGCDC_READ_SNAPSHOT_H

#include "run.h"

/*
 * Creates the main slot, if it is missing and --create-slot asks for it, and reads every selected
 * table whose snapshot dbx-load does not have yet (with --snapshot only: every one; never: none).
 * Afterwards every table's `from` is set. A failure exits: what is not finished is read again by
 * the next run. Returns X, or 0 if nothing was read.
 */
lsn_t snapshot_take(struct run *run);

/*
 * Reads what has become unread since, between two transactions of the stream, which stands at
 * position; to be called again and again until nothing is unread. As long as the slot for it is
 * being made, run->making says how far the stream may go on. Then it is read at once; the stream's
 * connection is kept alive meanwhile, and a failure or a signal exits. False: *t says what went
 * wrong before.
 */
bool snapshot_take_more(struct run *run, lsn_t position, struct trouble *t);

/* Forgets the slot that is being made: the server has gone. */
void snapshot_cancel(struct run *run);

#endif
