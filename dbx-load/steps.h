/*
 * Apply and acknowledge: the steps of the prepared batches, until all are done.
 *
 * Tables go in parallel; of one table, one statement is under way, and its success is in the state
 * before the next is sent.
 *
 * A snapshot may take long, and other tables are not to wait for it: its batch is acknowledged when
 * it is prepared, and so are later batches without their steps of its table, as long as it is being
 * applied; and after that, as long as the table catches up. A batch that has such steps is behind:
 * it is acknowledged, and done with when they are.
 */
#ifndef PGCDC_STEPS_H
#define PGCDC_STEPS_H

#include "load.h"

struct step;
struct table;

struct steps {
    struct load *load;
    struct table *tables; /* uthash by name */
    unsigned busy;        /* tables that are at work on a step */
};

struct steps *steps_new(struct load *load);
void steps_free(struct steps *s);

/* Starts what can be started. Call it after a batch was added to the ledger; the rest goes on in
 * http_turn. A step that can't be done ends the program. */
void steps_start(struct steps *s);

/* Whether something is under way. */
bool steps_busy(const struct steps *s);

/* Acknowledges batches, and forgets those that are done: state first, then the staged files go.
 * True: there was one, so that the ledger was saved. */
bool steps_acknowledge(struct steps *s);

/* A step, which was its table's work, is done: notes that, and starts what may come now. */
void steps_ended(struct steps *s, struct table *t, const struct step *step);

#endif
