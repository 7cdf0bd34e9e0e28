/*
 * Snapshots: what tables hold at one moment, the consistent point X of a new logical slot. A change
 * of the table is in it if its commit LSN is below X; those from X on are passed on beside the rows
 * of the snapshot.
 */
#ifndef PGCDC_READ_SNAPSHOT_H
#define PGCDC_READ_SNAPSHOT_H

#include "run.h"

/*
 * Decides which tables are to be read: those whose snapshot dbx-load does not have yet (with
 * --snapshot only: all; never: none). Creates the main slot, if it is missing and --create-slot
 * asks for it. Begins to read, if the stream has no position to go on from, or was not asked for;
 * otherwise that is for snapshot_take_more. A failure exits: what is not finished is read again by
 * the next run. Returns X, or 0 if nothing is read.
 */
lsn_t snapshot_take(struct run *run);

/* Reads to the end what was begun. A signal exits. */
void snapshot_finish(struct run *run);

/*
 * Begins to read what is unread, between two transactions of the stream, which stands at position;
 * to be called again and again until nothing is unread. As long as the slot for it is being made,
 * run->making says how far the stream may go on. A failure while it begins exits. False: *t says
 * what went wrong before.
 */
bool snapshot_take_more(struct run *run, lsn_t position, struct trouble *t);

/* Forgets the slot that is being made: the server has gone. */
void snapshot_cancel(struct run *run);

#endif
