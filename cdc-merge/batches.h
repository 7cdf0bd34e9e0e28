/* batches: parts become files, and a closed batch a load frame. */
#ifndef CDC_MERGE_BATCHES_H
#define CDC_MERGE_BATCHES_H

#include "rows.h"
#include "stream.h"

struct batches_options {
    const char *catalog, *staging; /* staging: the folder of the pipeline */
    bool drop;                     /* see step.h */
    bool strict;                   /* see rows.h */
};

struct batches;

/* `start`, `tables` and `out` stay the caller's. */
struct batches *batches_new(const struct batches_options *options, const struct start *start,
                            struct tables *tables, struct stream_out *out);
void batches_free(struct batches *b);

/* Take a frame that is part of a batch, or changes a shape. False: it is none of those. */
bool batches_take(struct batches *b, struct frame *f);

/* The last batch that was closed: its number and position (that of the last one that has one). */
uint64_t batches_last(const struct batches *b, lsn_t *lsn);

#endif
