/*
 * Timelines: a server that is promoted, or restored, begins a new one, which left the old at some
 * point of its WAL. What the old one did behind that point the new one does not have, but the
 * target may.
 */
#ifndef PGCDC_READ_TIMELINE_H
#define PGCDC_READ_TIMELINE_H

#include "run.h"
#include "verdict.h"

/* Tests whether all that dbx-load has lies on run->timeline, which c, a replication connection, is
 * asked of if the runs before were on another one. */
void timeline_test(struct run *run, PGconn *c, struct verdicts *v);

#endif
