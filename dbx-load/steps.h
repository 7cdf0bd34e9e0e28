/*
 * Apply and acknowledge: the steps of the prepared batches, until all are done.
 *
 * Tables go in parallel; of one table, one statement is under way, and its success is in the state
 * before the next is sent. Batches are acknowledged in order.
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

/* Acknowledges the done batches at the head of the ledger: state first, then the staged files go.
 * True: there was one, so that the ledger was saved. */
bool steps_acknowledge(struct steps *s);

#endif
