/*
 * Tables that changed their shape and have had no row since: PostgreSQL announces a shape only with
 * the next row. So the catalog is looked at, and once the stream is where it was at the look, and
 * no row has brought the shape with it, it is written to the stream by itself.
 */
#ifndef PGCDC_READ_SETTLE_H
#define PGCDC_READ_SETTLE_H

#include "run.h"

/* After catalog_tables: looks at the tables that are not as they were. False: the catalog could not
 * be asked. */
bool settle_look(struct run *run, struct trouble *t);

/* Where the WAL ends on disk, and how often the server's WAL writer sees to it, in ms. False: it
 * could not be asked. */
bool settle_ask_wal(struct run *run, lsn_t *end, int64_t *writer_delay, struct trouble *t);

/* Where the WAL ends, as of now, so that every shape that was looked at can be written there. */
lsn_t settle_wal_end(struct run *run);

/* Between two transactions, the stream being at position: writes shapes whose time has come. False:
 * as above. */
bool settle_define(struct run *run, lsn_t position, struct trouble *t);

/* From here on no change of the table is passed on until it was read; says why. */
void settle_unread(struct run *run, struct table *table, lsn_t position, const char *why);

#endif
