/*
 * Apply and acknowledge: the steps of the prepared batches, until all are done.
 *
 * Tables go in parallel; of one table, one statement is under way, and its success is in the state
 * before the next is sent.
 *
 * While a table is read, the changes that it gets meanwhile come in the batches of all tables.
 * Their steps wait until its snapshot is applied. Others are not to wait for that: batches are
 * acknowledged in order, each when its steps are done, but for those that wait, the snapshot's own,
 * and, when it is applied, those of the table while it catches up. A batch that has such steps is
 * behind: it is acknowledged, and done with when they are.
 */
#ifndef PGCDC_STEPS_H
#define PGCDC_STEPS_H

#include "load.h"

struct steps;

struct steps *steps_new(struct load *load);
void steps_free(struct steps *s);

/* Starts what can be started. Call it after a batch was added to the ledger; the rest goes on in
 * http_turn. A step that can't be done ends the program. */
void steps_start(struct steps *s);

/* False: nothing can be done any more; steps that are left wait for a snapshot that did not come.
 */
bool steps_busy(const struct steps *s);

/* Acknowledges batches, and forgets those that are done: state first, then the staged files go.
 * True: there was one, so that the ledger was saved. */
bool steps_acknowledge(struct steps *s);

#endif
