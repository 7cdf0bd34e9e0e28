/* The main replication slot: what it has to be like, and who may read it. */
#ifndef PGCDC_READ_SLOT_H
#define PGCDC_READ_SLOT_H

#include "run.h"
#include "verdict.h"

/* Tests whether the slot can be used, or created; fills run->slot_exists, slot_lsn and
 * slot_restart. False: it could not be asked, *t says why. */
bool slot_test(struct run *run, struct verdicts *v, struct trouble *t);

/* Says more of it, for --check: what it holds back, when the server would give it up, who reads it.
 */
void slot_report(struct run *run, struct verdicts *v);

/* Where to note that all tables are to be read again, if that may be: for verdict_lost. */
bool *slot_anew(struct run *run);

/* The same after a reconnect, and while waiting for the slot to move: exits with 78 if it is gone,
 * has lost its WAL, or stands past `applied`. */
bool slot_look(struct run *run, struct trouble *t);

/*
 * Takes the advisory lock that keeps other readers off the slot, for the life of loop.sql, and sees
 * that nobody streams from it. Waits a moment for a predecessor whose session is still ending.
 * Another reader: false, and *t has its process id.
 */
bool slot_lock(struct run *run, struct trouble *t);

/* Moves the slot to what dbx-load has applied, where nobody streams from it. Somebody else moved it
 * meanwhile: exits with 78. */
bool slot_advance(struct run *run, lsn_t applied, struct trouble *t);

/* A name for a slot of this session's own; free() it. */
char *slot_temporary_name(void);

#endif
