/* A folded part, written: `part`, per table its `clear` and rows, `part-end`. */
#ifndef CDC_BATCH_PART_H
#define CDC_BATCH_PART_H

#include <stdbool.h>

#include "fold.h"
#include "stream.h"

/* Whether the changes of a table do not cancel each other out. */
bool part_has(const struct table *t);

/* False: the changes cancel each other out (a row added to and removed from a table without a key),
 * and nothing was written. The fold is left as it is. */
bool part_write(struct stream_out *out, uint64_t part, const struct fold *f);

#endif
