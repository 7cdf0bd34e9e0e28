/* delta: Parquet's DELTA_BINARY_PACKED encoding of integers, in blocks of 128 differences of which
 * each 32 are packed in as many bits as the largest of them needs.
 * https://github.com/apache/parquet-format/blob/master/Encodings.md (DELTA_BINARY_PACKED = 5)
 *
 * Nothing here fails. */
#ifndef CDC_MERGE_DELTA_H
#define CDC_MERGE_DELTA_H

#include "bytes.h"

/* Append the encoding of n integers of `width` bytes (4 or 8), which stand little-endian and
 * aligned in `values`. */
void delta_put(struct buf *out, const void *values, size_t n, size_t width);

#endif
