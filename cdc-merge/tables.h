/* tables: the tables of the source that the stream has shown, their shapes, and their names in
 * Databricks. A name that cannot be had there, or would be had twice, ends the program (78). */
#ifndef CDC_MERGE_TABLES_H
#define CDC_MERGE_TABLES_H

#include <uthash.h>

#include "types.h"

/* What a table is in Databricks: rows told apart by a key; equal rows, counted; or a row for every
 * event, where a key of the source means nothing. */
enum table_kind { KEYED, MULTISET, LOG };

/* What a `relation` frame said. It lives as long as its table: steps of a batch may be of an older
 * shape than the table has when the batch closes. */
struct shape {
    struct shape *older;
    struct relation
        *relation;       /* the first that had it, but for the newest file node and comments */
    char *schema, *name; /* in Databricks, without the catalog */
    char *source;        /* schema.table in PostgreSQL, for messages */
    enum table_kind kind;
    bool soft;  /* KEYED: rows that are gone stay, marked */
    bool texts; /* MULTISET: rows can go away, so each has its text */
    unsigned ncolumns, nkey;
    struct target_column *columns; /* in the relation's order */
    struct parquet_column *staged; /* columns of a staged file, see rows.h */
    size_t nstaged;
};

struct table {
    uint32_t oid;
    struct shape *shape;         /* the newest */
    const struct shape *stepped; /* that of its last step in this run; NULL: there was none */
    UT_hash_handle hh;
};

struct table_names {
    /* `source`, `default:SCHEMA`, or `format:` and a text with ${schema} in it */
    const char *namespace;
    const char *prefix;
};

struct tables {
    struct table *all; /* uthash by oid */
    struct table_names names;
    struct types_options types;
};

/* Take a relation over (it frees it in the end) as the newest shape of its table. */
struct table *tables_add(struct tables *t, struct relation *r);

/* NULL: no relation frame has come for it. */
struct table *tables_find(const struct tables *t, uint64_t oid);

/* A number for what a staged file of this shape looks like: names and types of its columns. */
uint64_t shape_layout(const struct shape *s);

/* Whether a namespace is one of the forms above. */
bool tables_namespace_is_valid(const char *namespace);

void tables_free(struct tables *t);

#endif
