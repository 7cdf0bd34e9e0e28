/* convert: one value, from PostgreSQL's text to the type of its Parquet column, exactly or not at
 * all: nothing is rounded, and only floating point passes through floating point.
 *
 * The text is what PostgreSQL prints under the settings of cdc-stream(5). The program stays in the
 * C locale. */
#ifndef CDC_MERGE_CONVERT_H
#define CDC_MERGE_CONVERT_H

#include "mem.h"
#include "parquet.h"

enum convert_result {
    CONVERT_OK,
    CONVERT_UNREPRESENTABLE, /* a value of PostgreSQL's type that the column cannot hold:
                                an infinite date, NaN in a DECIMAL */
    CONVERT_BAD,             /* no text of that type */
};

/* Convert to the type (and precision and scale) of the column, whatever its shape. Bytes of the
 * result point into `text`, or into `scratch`, until that is used again. */
enum convert_result convert(const struct parquet_column *column, const char *text, size_t len,
                            struct buf *scratch, union parquet_value *out);

#endif
