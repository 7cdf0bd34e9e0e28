/* rle: Parquet's hybrid of run-length and bit-packed encoding, one value at a time.
 * Used for definition and repetition levels and for dictionary indices.
 * https://github.com/apache/parquet-format/blob/master/Encodings.md (RLE = 3)
 *
 * A value that comes at least 8 times in a row becomes a run; the others are packed in groups of 8.
 * Nothing here fails. */
#ifndef CDC_MERGE_RLE_H
#define CDC_MERGE_RLE_H

#include "bytes.h"

struct rle {
    struct buf out;
    unsigned width; /* bits per value, 1 to 32 */
    uint32_t last;
    uint64_t repeats;    /* how often `last` came since the last group was packed */
    uint32_t pending[8]; /* values not yet packed */
    unsigned npending;
    unsigned ngroups; /* groups in the open packed run */
    size_t header;    /* where the open packed run has its header, or NO_HEADER */
};

/* Begin anew, keeping the memory. */
void rle_begin(struct rle *r, unsigned width);

void rle_put_other(struct rle *r, uint32_t v);

static inline void rle_put(struct rle *r, uint32_t v)
{
    if (r->repeats >= 8 && v == r->last) /* in a run: most levels are */
        r->repeats++;
    else
        rle_put_other(r, v);
}

/* The same value n times. */
void rle_put_many(struct rle *r, uint32_t v, uint64_t n);

/* Write what is pending; `out` then is the whole encoding, without a length in front. */
void rle_finish(struct rle *r);

void rle_free(struct rle *r);

#endif
