/*
 * What a start does before anything new: whatever an earlier run left is settled.
 *
 * The order is the point. Statements whose ids are known are brought to their end; then the permits
 * of earlier starts go, so that a statement that is still queued fails when it reads its own; then
 * every table with a step that was begun gets a property commit, which aborts a statement that is
 * running. After that nothing of an earlier start can change the target any more, and the steps
 * that are not done are sent again as they are.
 */
#ifndef PGCDC_RECOVER_H
#define PGCDC_RECOVER_H

#include "load.h"

/* Fences, makes the staging folder (and its schema and volume, where missing), purges what earlier
 * runs left there, and uploads this start's permit. The ledger says `recovering` before. */
void recover_fence(struct load *load);

/* At the end, when nothing is under way any more: the permit and the run's folder go. */
void recover_leave(struct load *load);

#endif
