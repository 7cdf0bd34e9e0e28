/* figures: what cdc-merge counts, for --metrics. The table is explained in cdc-metrics(5). */
#ifndef CDC_MERGE_FIGURES_H
#define CDC_MERGE_FIGURES_H

#include "metrics.h"

enum {
    MERGE_BATCHES,
    MERGE_PARTS,
    MERGE_FILES,
    MERGE_ROWS,
    MERGE_BYTES,
    MERGE_UNREPRESENTABLE,
    MERGE_FIGURES
};

extern struct metric merge_figures[MERGE_FIGURES + 1];

#endif
