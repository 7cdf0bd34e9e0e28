/* What has to be so at the source before it can be read, and who the source is. */
#ifndef PGCDC_READ_PREREQUISITES_H
#define PGCDC_READ_PREREQUISITES_H

#include "run.h"

/*
 * Tests all of it; fills run's version, source, tables and slot on the way. With report, says one
 * line per prerequisite and returns the number that failed; without, exits with 78 at the first
 * that fails. Needs run->loop.sql.
 */
unsigned prerequisites_test(struct run *run, bool report);

/*
 * Takes the advisory lock that keeps other readers off the slot, for the life of loop.sql, and sees
 * that nobody streams from it. Waits a moment for a predecessor whose session is still ending.
 * Another reader: false, and *t has its process id.
 */
bool prerequisites_lock(struct run *run, struct trouble *t);

/*
 * Looks at the slot again: after a reconnect, and when waiting for it to move. Exits with 78 if it
 * is gone, lost its WAL, or has moved past `applied`. False: *t says why not.
 */
bool prerequisites_slot(struct run *run, struct trouble *t);

#endif
