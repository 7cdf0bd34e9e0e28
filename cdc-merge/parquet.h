/* parquet: writes Parquet files, one after the other, with one set of column builders.
 * https://github.com/apache/parquet-format (parquet.thrift, Encodings.md, LogicalTypes.md)
 *
 * Rows are gathered column by column, pages are encoded and compressed (zstd) as they fill, and a
 * row group goes to the sink when what is gathered passes a limit; so memory is bounded by that
 * limit and the largest row, whatever the size of the file. Every column may be NULL. Columns
 * repeat a value through a dictionary where that is smaller; else integers, and lengths of strings,
 * are stored as differences (DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY), which Spark reads
 * from 3.4 on. A row costs no allocation.
 *
 *     struct parquet *p = parquet_new(16 << 20);
 *     parquet_open(p, columns, ncolumns, write, arg);
 *     for each row: parquet_put(p, i, &value) for each column that is not NULL; parquet_end_row(p);
 *     parquet_close(p);
 *     parquet_free(p);
 *
 * Errors are those of the sink, and EFBIG for a page over 2 GiB: -1 with errno set; the file is
 * then void, and the next call is parquet_open or parquet_free. Running out of memory ends the
 * process. */
#ifndef CDC_MERGE_PARQUET_H
#define CDC_MERGE_PARQUET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum parquet_type {                    /* member of parquet_value; how Spark reads it */
                    PARQUET_BOOLEAN,   /* i (0 or 1); BOOLEAN */
                    PARQUET_INT16,     /* i; SMALLINT */
                    PARQUET_INT32,     /* i; INT */
                    PARQUET_INT64,     /* i; BIGINT */
                    PARQUET_DATE,      /* i, days since 1970-01-01; DATE */
                    PARQUET_TIMESTAMP, /* i, microseconds since 1970-01-01 00:00 UTC; TIMESTAMP */
                    PARQUET_TIMESTAMP_NTZ, /* i, the same of a clock without a zone; TIMESTAMP_NTZ
                                            */
                    PARQUET_FLOAT,         /* f; FLOAT */
                    PARQUET_DOUBLE,        /* d; DOUBLE */
                    PARQUET_DECIMAL,       /* decimal, the digits without the point; DECIMAL */
                    PARQUET_STRING,        /* bytes, UTF-8; STRING */
                    PARQUET_BINARY,        /* bytes; BINARY */
};

enum parquet_shape {
    PARQUET_SCALAR,
    PARQUET_LIST, /* of `type` */
    PARQUET_MAP,  /* from strings to strings; `type` is PARQUET_STRING */
};

struct parquet_column {
    const char *name;
    enum parquet_type type;
    enum parquet_shape shape;
    uint8_t precision, scale; /* of PARQUET_DECIMAL: 1 to 38, 0 to precision */
};

union parquet_value {
    int64_t i;
    float f;
    double d;
    __int128 decimal;
    struct {
        const char *data;
        size_t len;
    } bytes;
};

/* The sink of a file's bytes: 0, or -1 with errno set. */
typedef int parquet_write(void *arg, const void *data, size_t len);

struct parquet;

/* `row_group_bytes`: how much is gathered in memory before a row group is written; one ends after
 * 128 MiB of uncompressed data in any case. */
struct parquet *parquet_new(size_t row_group_bytes);
void parquet_free(struct parquet *p);

/* Begin a file. `columns` stays the caller's and has to live until parquet_close. */
int parquet_open(struct parquet *p, const struct parquet_column *columns, size_t ncolumns,
                 parquet_write *write, void *arg);

/* Set a scalar column of the current row, or append an element to its list. A column that is not
 * set in a row is NULL. The value is copied. */
void parquet_put(struct parquet *p, size_t column, const union parquet_value *v);

/* Of lists and maps: an empty one; of lists: append a NULL element; of maps: append an entry, whose
 * value may be NULL (data is NULL). Keys differ within a map: that is the caller's duty. */
void parquet_put_empty(struct parquet *p, size_t column);
void parquet_put_null_element(struct parquet *p, size_t column);
void parquet_put_entry(struct parquet *p, size_t column, const union parquet_value *key,
                       const union parquet_value *value);

int parquet_end_row(struct parquet *p);

/* Write what is left and the footer. A file without rows is fine. */
int parquet_close(struct parquet *p);

#endif
