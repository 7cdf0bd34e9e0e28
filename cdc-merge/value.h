/* value: one value of a column of the source, from PostgreSQL's text into a Parquet column of the
 * same type, or a list, or a map. */
#ifndef CDC_MERGE_VALUE_H
#define CDC_MERGE_VALUE_H

#include "convert.h"
#include "types.h"

/* What conversions need beside the value. Zero-initialize it. */
struct value_scratch {
    struct buf scalar, first, second;
};

/* Put the value into a column of the file's current row: as a whole, if that is CONVERT_OK, else
 * nothing of it. *scalar is what was put, if it is neither a list nor a map. */
enum convert_result value_put(struct value_scratch *s, struct parquet *to, size_t column,
                              const struct target_column *c, const char *text, size_t len,
                              union parquet_value *scalar);

void value_scratch_free(struct value_scratch *s);

#endif
