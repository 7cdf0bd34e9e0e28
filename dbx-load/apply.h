/*
 * One table's way through a step: it is made, or brought to the step's shape, and gets its rows; or
 * the program ends. What has to come next is judged by what the table is like, never by what was
 * done, so that a start after a crash finds its way by itself.
 */
#ifndef PGCDC_APPLY_H
#define PGCDC_APPLY_H

#include "ledger.h"
#include "steps.h"
#include "table.h"

/* Begins with t->step, of which the state says that it is begun; the rest goes on in http_turn. At
 * its end steps_ended is called, perhaps at once. */
void apply_step(struct table *t);

/* Where the source has renamed the step's table, which is to be called `name` here (quoted in
 * full): the name that it still has, else NULL. */
const char *apply_old_name(const struct ledger *l, const struct step *step, const char *name);

#endif
