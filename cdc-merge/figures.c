#include "figures.h"

#include <stddef.h>

struct metric merge_figures[MERGE_FIGURES + 1] = {
    [MERGE_BATCHES] = {"cdc_merge_batches_total", NULL, METRIC_COUNTER,
                       "Batches that were passed on, with their steps."},
    [MERGE_PARTS] = {"cdc_merge_parts_total", NULL, METRIC_COUNTER, "Parts that came in."},
    [MERGE_FILES] = {"cdc_merge_files_total", NULL, METRIC_COUNTER, "Parquet files."},
    [MERGE_ROWS] = {"cdc_merge_rows_total", NULL, METRIC_COUNTER, "Rows in Parquet files."},
    [MERGE_BYTES] = {"cdc_merge_bytes_total", NULL, METRIC_COUNTER, "Bytes of Parquet files."},
    [MERGE_UNREPRESENTABLE] = {"cdc_merge_unrepresentable_values_total", NULL, METRIC_COUNTER,
                               "Values that their column cannot hold."},
};
