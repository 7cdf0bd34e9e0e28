/* The published tables, from PostgreSQL's catalog. */
#ifndef PGCDC_READ_CATALOG_H
#define PGCDC_READ_CATALOG_H

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "lsn.h"
#include "mem.h"
#include "relation.h"
#include "source.h"

struct run;

struct table {
    uint32_t oid;
    bool selected; /* false: it is published, or was, but its rows are not for us */
    /* of selected tables, as of the last catalog_tables: */
    char *schema, *name;
    bool partitioned; /* published as its root: the rows are in the leaves */
    char *columns;    /* that pgoutput sends, quoted, for a SELECT */
    char *attnums;    /* theirs: {1,2,4} */
    char *filter;     /* the publications' row filter as SQL, or NULL */
    bool readable;    /* we may SELECT from it */
    bool hidden;      /* row-level security would hide rows from us */
    bool no_identity; /* UPDATE and DELETE fail at the source if they are published */

    char *membership; /* by which entries of which publications it is published, as of when the run
                         first saw it; who leaves a publication and returns has other ones */
    uint64_t attempt; /* of the snapshot since which every change is passed on, or 0 */
    lsn_t from;       /* its snapshot is as of here: earlier changes are in it; 0: no snapshot */
    struct relation *sent; /* the shape that was last written to the stream, or NULL */
    struct buf announced;  /* the last relation message, while nothing has needed it */
    lsn_t announced_lsn;   /* its position */
    uint64_t announced_seq;
    UT_hash_handle hh;
};

/* Reads which tables the publications hold and chooses ours; known tables are updated, those that
 * are published no more keep what they were. */
bool catalog_tables(struct run *run, struct trouble *t);

struct table *catalog_find(const struct run *run, uint32_t oid);

/* Asks whether the table has been published all the time since the run first saw it, or is not any
 * more. False: the catalog could not be asked. */
bool catalog_stayed(struct run *run, const struct table *table, bool *stayed, struct trouble *t);

/* Notes a table whose rows are not for us. */
struct table *catalog_ignore(struct run *run, uint32_t oid);

#endif
