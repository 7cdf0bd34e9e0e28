/* stats: the smallest and largest value of a Parquet column chunk, as bounds that readers may use
 * to skip it. (Statistics and ColumnOrder in parquet.thrift.)
 *
 * Floating point: a chunk with a NaN has no bounds, because engines disagree on where NaN sorts and
 * Spark's "greater than all" would lose rows to a pruning reader; zeros count as -0 for the minimum
 * and +0 for the maximum. Byte strings longer than STATS_BYTES have a bound that is shorter and not
 * exact: a prefix below, the prefix with its last character raised above. */
#ifndef CDC_MERGE_STATS_H
#define CDC_MERGE_STATS_H

#include "thrift.h"

enum { STATS_BYTES = 64 };

struct stats_bound {
    uint8_t data[STATS_BYTES];
    size_t len;
    bool cut; /* the value was longer: data is its prefix */
};

struct stats {
    int64_t nulls, nans;
    bool any; /* a value that is neither NULL nor NaN was seen */
    union {
        int64_t i;
        double d;
        __int128 decimal;
        struct stats_bound bytes;
    } min, max;
};

void stats_begin(struct stats *s);

/* Count values of the kind that the column has; one column always uses the same call. Whole numbers
 * come many at once, little-endian; booleans as bytes. */
void stats_booleans(struct stats *s, const void *values, size_t n);
void stats_int32(struct stats *s, const void *values, size_t n);
void stats_int64(struct stats *s, const void *values, size_t n);
void stats_double(struct stats *s, double v); /* floats too: widening is exact */
void stats_decimal(struct stats *s, __int128 v);
void stats_bytes(struct stats *s, const void *data, size_t len);

/* The bounds of byte strings, as they go into the file; `out` has room for STATS_BYTES. `utf8` says
 * that the values are text and the bounds have to be. The upper bound may not exist: false. */
size_t stats_lower_bytes(const struct stats *s, bool utf8, uint8_t *out);
bool stats_upper_bytes(const struct stats *s, bool utf8, uint8_t *out, size_t *len);

#endif
