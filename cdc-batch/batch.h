/*
 * What cdc-batch does with each frame of the stream: it folds rows, cuts parts at the limits, and
 * closes batches at checkpoints.
 */
#ifndef CDC_BATCH_BATCH_H
#define CDC_BATCH_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"
#include "modes.h"
#include "stream.h"

struct batcher;

struct batch_limits {
    uint64_t rows;  /* net changes of a part */
    uint64_t bytes; /* memory of all that gathers */
};

/* Neither modes nor flow nor out becomes its own. */
struct batcher *batcher_new(struct batch_limits limits, const struct modes *modes,
                            struct flow *flow, struct stream_out *out);
void batcher_free(struct batcher *b);

/* What the first frame opened, or nothing yet. */
enum stream_kind { STREAM_NONE, STREAM_CHECK, STREAM_CHANGES };
enum stream_kind batcher_kind(const struct batcher *b);
unsigned batcher_failures(const struct batcher *b); /* of our part of a check */

/* Takes a frame. False: it was `end`, and everything is with the writer. A frame that cannot be
 * right exits with 65; `fail` exits with its code. */
bool batcher_take(struct batcher *b, struct frame *f);

/* Closes the open batch if this is a commit and it may. Returns milliseconds until it might be
 * tried again without another frame; -1: there is nothing to wait for but frames and the state. */
int64_t batcher_close_if_due(struct batcher *b);

#endif
