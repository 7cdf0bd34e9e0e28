/*
 * The rows that tables hold in one snapshot, beside the stream of changes: over several
 * connections, each in COPY of a range of pages, so that a large table is read by all of them.
 *
 * https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION
 */
#ifndef PGCDC_READ_READING_H
#define PGCDC_READ_READING_H

#include "run.h"

/*
 * Begins to read the tables that are unread, which are announced, and opens their snapshots, as of
 * lsn, in the stream. From here on their changes may be passed on. c becomes its own: a connection
 * in a transaction that has that snapshot and has the tables locked. Until they are read there is
 * run->reading.
 */
void reading_begin(struct run *run, PGconn *c, lsn_t lsn);

/* Passes on some of the rows that have come. False: there were none, wait for reading_sockets. A
 * failure exits: what is not finished is read again by the next run. */
bool reading_some(struct run *run);

/* Fills in the descriptors that become readable with the next rows, and returns how many. */
unsigned reading_sockets(const struct run *run, int sockets[SNAPSHOT_JOBS_MAX]);

/* How far it is; all 0 if nothing is being read. */
struct reading_progress {
    unsigned tables, left; /* left: not read to the end */
    uint64_t rows, bytes;
    uint64_t ranges, done; /* of pages */
};
struct reading_progress reading_progress(const struct run *run);

/* Adds to the state file `read` how far it is. */
void reading_state(const struct run *run, struct buf *text);

/* The tables that hold the rows, in rows of: name as SQL; whether its file is still the one that
 * the snapshot of loop.sql knows; its pages, 0 if it cannot be read in ranges. Those are the leaves
 * of a partitioned table, else itself. NULL: *t says why not. */
PGresult *reading_parts(struct run *run, const struct table *table, struct trouble *t);

/* Exits with what went wrong, naming the table if it is one's fault. */
_Noreturn void reading_give_up(const struct trouble *t, const struct table *table);

#endif
