/* A row of the stream, opened: where its columns are. */
#ifndef CDC_BATCH_ROW_H
#define CDC_BATCH_ROW_H

#include <stdbool.h>
#include <stddef.h>

#include "mp.h"

enum cell_kind { CELL_NULL, CELL_TEXT, CELL_UNCHANGED };

struct cell {
    enum cell_kind kind;
    bool shortest;    /* no shorter encoding means the same */
    const char *text; /* CELL_TEXT */
    size_t len;
    struct mp raw; /* as it is packed */
};

/* Reused for row after row. Zero-initialize it; row_free frees it. */
struct row {
    unsigned n, room;
    bool unchanged; /* one of the cells at least is */
    struct mp raw;  /* the array that was opened, without what is behind it */
    struct cell *cells;
};

/* Opens `values` of cdc-stream(5), which must have n columns; whatever is behind them is left
 * alone. NULL, or what is wrong with it. */
const char *row_open(struct row *r, struct mp values, unsigned n);
void row_free(struct row *r);

#endif
