/* What the reader counts, for --metrics: the table is in figures.c, and explained in
 * cdc-metrics(5). */
#ifndef PGCDC_READ_FIGURES_H
#define PGCDC_READ_FIGURES_H

#include "metrics.h"
#include "run.h"

enum {
    READ_TRANSACTIONS,
    READ_INSERTS,
    READ_UPDATES,
    READ_DELETES,
    READ_TRUNCATES,
    READ_SNAPSHOT_ROWS,
    READ_SNAPSHOT_BYTES,
    READ_RECEIVED_BYTES,
    READ_RECONNECTS,
    READ_IN_PROGRESS,
    READ_ASIDE_BYTES,
    READ_POSITION,
    READ_POSITION_TIME, /* microseconds since 1970 */
    READ_WAL_END,
    READ_LAG_BYTES, /* this and what follows: set by figures_measure */
    READ_LAG_SECONDS,
    READ_TABLES,
    READ_TABLES_LEFT,
    READ_RANGES,
    READ_RANGES_DONE,
    READ_ROWS,
    READ_BYTES,
    READ_FIGURES
};

extern struct metric read_figures[READ_FIGURES + 1];

/* The server says that its WAL ends there, now. */
void figures_wal_end(lsn_t lsn);

/* For metrics_open: what follows from the others, and from the clock. run: the struct run. */
void figures_measure(void *run);

#endif
