#include "figures.h"

#include <stddef.h>

#define CHANGES "cdc_batch_changes_total"
#define BATCHES "cdc_batch_batches_total"

struct metric batch_figures[BATCH_FIGURES + 1] = {
    [BATCH_INSERTS] = {CHANGES, "op=\"insert\"", METRIC_COUNTER, "Changes that came in."},
    [BATCH_UPDATES] = {CHANGES, "op=\"update\"", METRIC_COUNTER},
    [BATCH_DELETES] = {CHANGES, "op=\"delete\"", METRIC_COUNTER},
    [BATCH_TRUNCATES] = {CHANGES, "op=\"truncate\"", METRIC_COUNTER},
    [BATCH_SNAPSHOT_ROWS] = {"cdc_batch_snapshot_rows_total", NULL, METRIC_COUNTER,
                             "Rows of snapshots that came in."},
    [BATCH_FOLDED] = {"cdc_batch_folded_rows_total", NULL, METRIC_COUNTER,
                      "Net changes of rows that were replaced by later ones in the same part."},
    [BATCH_ROWS] = {"cdc_batch_rows_total", NULL, METRIC_COUNTER, "Rows that went out, in parts."},
    [BATCH_PARTS] = {"cdc_batch_parts_total", NULL, METRIC_COUNTER, "Parts of batches."},
    [BATCH_BATCHES] = {BATCHES, "kind=\"changes\"", METRIC_COUNTER, "Batches that were closed."},
    [BATCH_SNAPSHOTS] = {BATCHES, "kind=\"snapshot\"", METRIC_COUNTER},
    [BATCH_IN_FLIGHT] = {"cdc_batch_batches_in_flight", NULL, METRIC_GAUGE,
                         "Batches of changes that were closed and are not loaded."},
};

void figures_part(uint64_t rows)
{
    batch_figures[BATCH_PARTS].value++;
    batch_figures[BATCH_ROWS].value += rows;
}
