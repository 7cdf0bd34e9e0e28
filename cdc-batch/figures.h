/* What cdc-batch counts, for --metrics: the table is in figures.c, and explained in
 * cdc-metrics(5). */
#ifndef CDC_BATCH_FIGURES_H
#define CDC_BATCH_FIGURES_H

#include "metrics.h"

enum {
    BATCH_INSERTS,
    BATCH_UPDATES,
    BATCH_DELETES,
    BATCH_TRUNCATES,
    BATCH_SNAPSHOT_ROWS,
    BATCH_FOLDED,
    BATCH_ROWS,
    BATCH_PARTS,
    BATCH_BATCHES,
    BATCH_SNAPSHOTS,
    BATCH_IN_FLIGHT,
    BATCH_FIGURES
};

extern struct metric batch_figures[BATCH_FIGURES + 1];

/* A part of so many rows was written. */
void figures_part(uint64_t rows);

#endif
