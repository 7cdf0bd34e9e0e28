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
    bool partitioned;     /* published as its root: the rows are in the leaves */
    char *columns;        /* that pgoutput sends, quoted, for a SELECT */
    char *attnums;        /* theirs: {1,2,4} */
    bool has_list;        /* a publication has a column list for it */
    char *filter;         /* the publications' row filter as SQL, or NULL; see catalog_tables */
    bool readable;        /* we may SELECT from it */
    bool hidden;          /* row-level security would hide rows from us */
    bool key_hidden;      /* a column of its key is not sent, and UPDATE or DELETE are */
    bool lists_differ;    /* the publications have different column lists for it */
    unsigned unpublished; /* a set of enum operation: no publication of it has them */
    uint64_t stamp;       /* another one after every ALTER TABLE */

    bool listed;      /* it was found by the last catalog_tables */
    char *membership; /* how and as what it is published, see cdc-state(5): as of its snapshot */
    bool unread;      /* to be read (again) before more of its changes are passed on */
    uint64_t attempt; /* of the snapshot since which every change is passed on, or 0 */
    lsn_t from;       /* its snapshot is as of here: earlier changes are in it; 0: no snapshot */
    struct attributes *attributes; /* the last look at it in the catalog, or NULL */
    struct shape *shape;           /* the newest that is known, or NULL */
    bool told;                     /* this run has written it to the stream */
    lsn_t settle; /* once the stream is here, the shape has to be what attributes say; 0: it is */
    struct buf announced; /* the last relation message, while nothing has needed it */
    lsn_t announced_lsn;  /* its position */
    uint64_t announced_seq;
    struct buf known; /* the relation message that the shape is from, if it is from one */
    lsn_t known_to;   /* up to here the same message says the same; of an unselected one any does */
    UT_hash_handle hh;
};

/*
 * Reads which tables the publications hold and chooses ours; known tables are updated, those that
 * are published no more keep what they were. Unless snapshots are never taken, a table that is new,
 * or whose membership is another now, becomes unread. Filters are only read if asked for: that
 * waits for whoever alters their table.
 */
bool catalog_tables(struct run *run, bool filters, struct trouble *t);

/* From here on no change of the table is passed on until it has been read; neither is it by a later
 * run, once progress_write has been called. */
void catalog_unread(struct run *run, struct table *table);

struct table *catalog_find(const struct run *run, uint32_t oid);

/* Whether a membership is still the same: nothing of it has changed, but some may have come. */
bool catalog_same_membership(const char *then, const char *now);

/* Asks whether the table's membership is what it was, or the table is not published any more.
 * False: the catalog could not be asked. */
bool catalog_stayed(struct run *run, const struct table *table, bool *stayed, struct trouble *t);

/* Asks whether a relation is, by now, a partition of the table, at any depth. False: as above. */
bool catalog_is_partition(struct run *run, uint32_t oid, const struct table *table, bool *is,
                          struct trouble *t);

/*
 * Waits until others see what a transaction has done: one that commits is sent as soon as its
 * commit is on disk, which is before that. A second at most, for where commits wait for standbys it
 * may be us who is waited for. False: as above.
 */
bool catalog_wait(struct run *run, uint32_t xid, struct trouble *t);

/* Asks for the oldest transaction that others may not see yet. False: as above. */
bool catalog_horizon(struct run *run, uint32_t *xid, struct trouble *t);

/* Asks connection c for the table's stamp; 0: there is none of its name any more. False: as above.
 */
bool catalog_stamp(struct run *run, PGconn *c, const struct table *table, uint64_t *stamp,
                   struct trouble *t);

/* Notes a table whose rows are not for us. */
struct table *catalog_ignore(struct run *run, uint32_t oid);

#endif
