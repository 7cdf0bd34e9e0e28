/* What dbx-load counts, for --metrics: the table is in figures.c, and explained in
 * cdc-metrics(5). */
#ifndef PGCDC_LOAD_FIGURES_H
#define PGCDC_LOAD_FIGURES_H

#include <jansson.h>
#include <stdint.h>

#include "metrics.h"

enum {
    LOAD_STAGED_FILES,
    LOAD_STAGED_BYTES,
    LOAD_UPLOADS,
    LOAD_STATEMENTS, /* by kind: six of them, in the order of the next six */
    LOAD_STATEMENT_TIME = LOAD_STATEMENTS + 6,
    LOAD_RETRIES_BUSY = LOAD_STATEMENT_TIME + 6,
    LOAD_RETRIES_CONNECTION,
    LOAD_RETRIES_CONFLICT,
    LOAD_ROWS_INSERTED,
    LOAD_ROWS_UPDATED,
    LOAD_ROWS_DELETED,
    LOAD_BATCHES,
    LOAD_BATCHES_LEFT,
    LOAD_PREPARED,
    LOAD_APPLIED,
    LOAD_ACKNOWLEDGED, /* microseconds since 1970 */
    LOAD_FIGURES
};

extern struct metric load_figures[LOAD_FIGURES + 1];

/* A file is where it waits for its statement. */
void figures_staged(uint64_t bytes);

/* A statement has ended, so long after it was sent. */
void figures_statement(const char *sql, int64_t ms);

/* The columns of a result, objects with a name, and its first row, of strings, which may be
 * missing: they may say how many rows the statement changed. Returns how many it inserted and
 * updated, -1 if they don't say that. */
int64_t figures_changed_rows(const json_t *columns, const json_t *row);

#endif
