/* types: what becomes of a column of PostgreSQL: its Databricks type, and how it is staged. */
#ifndef CDC_MERGE_TYPES_H
#define CDC_MERGE_TYPES_H

#include "parquet.h"
#include "relation.h"

struct types_options {
    uint8_t numeric_precision, numeric_scale; /* of a numeric without them, or with more digits
                                                  than DECIMAL has; 0: it becomes STRING */
};

/* A column of a table: in Databricks, and in the Parquet files that are staged for it. */
struct target_column {
    const char *name; /* the relation's */
    int attnum;
    bool key;
    char staged[8];  /* its name in the files: c and the attnum */
    char carried[8]; /* of a key column: the same for the key a value was carried from: k */
    char type[24];   /* in SQL */
    struct parquet_column parquet;
    bool fallible;    /* not every value of PostgreSQL's type fits */
    bool approximate; /* equal values may have different texts: 0 and -0, 1.0 and 1.00 */
};

void types_column(const struct column *from, const struct types_options *options,
                  struct target_column *to);

#endif
