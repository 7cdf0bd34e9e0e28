/*
 * The reader's own state file, `read` of cdc-state(5): how far it is, and which tables its runs
 * have kept up with. dbx-load knows which snapshot a table has; only the reader knows whether it
 * has passed on every change since, or whether the table was deselected for some runs.
 */
#ifndef PGCDC_READ_PROGRESS_H
#define PGCDC_READ_PROGRESS_H

#include "catalog.h"
#include "lsn.h"

struct progress {
    bool exists;
    unsigned n;
    struct listed *tables;
};

/* Reads the file, if there is a state folder. Exits with 65 if it is damaged. */
void progress_read(struct run *run);

/* The timeline that the run before was on; 0: it does not say. */
uint32_t progress_timeline(const struct run *run);

/* Whether every change since this snapshot (or one before it) was passed on, or will be by this
 * run. */
bool progress_covers(const struct run *run, const struct table *table, uint64_t attempt);

/*
 * Replaces the file, durably; does nothing without a state folder. It then lists the tables that
 * have an `attempt`, so to be called before a run sends a checkpoint, and before it sends a
 * snapshot.
 */
void progress_write(const struct run *run, lsn_t position);

#endif
