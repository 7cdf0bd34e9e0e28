/*
 * The end of a run: `end` is written, then the reader stays until downstream has closed and
 * everything is loaded. Each returns the exit code: 0, or 75 while the target is behind. Without a
 * state folder nobody says what is loaded: 0 when all is written.
 */
#ifndef PGCDC_READ_FINISH_H
#define PGCDC_READ_FINISH_H

#include "changes.h"

/* Of a stream of changes: the slot has to have moved, too. */
int finish_changes(struct changes *c);

/* Of a run that only read tables, as of lsn. */
int finish_snapshot(struct run *run, lsn_t lsn);

#endif
