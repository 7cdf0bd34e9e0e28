/* types: what becomes of a column of PostgreSQL: its Databricks type, and how it is staged. */
#ifndef CDC_MERGE_TYPES_H
#define CDC_MERGE_TYPES_H

#include "parquet.h"
#include "relation.h"

struct types_options {
    uint8_t numeric_precision, numeric_scale; /* of a numeric without them, or with more digits
                                                  than DECIMAL has; 0: it becomes STRING */
    bool json_variant;                        /* json and jsonb become VARIANT, not STRING */
};

/* How PostgreSQL's text becomes a value of the Parquet column. */
enum form {
    FORM_SCALAR,
    FORM_ARRAY,  /* an array's text becomes a list */
    FORM_VECTOR, /* pgvector's becomes a list */
    FORM_HSTORE, /* an hstore's becomes a map */
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
    enum form form;
    char delimiter;   /* between the elements of an array */
    bool variant;     /* what is staged is JSON, which the statement makes a VARIANT */
    bool fallible;    /* not every value of PostgreSQL's type fits */
    bool approximate; /* equal values may have different texts: 0 and -0, 1.0 and 1.00 */
};

/* `key`: its values are compared, which not all of Databricks' types can be: then it is STRING. */
void types_column(const struct column *from, bool key, const struct types_options *options,
                  struct target_column *to);

#endif
