/*
 * A table as PostgreSQL's catalog has it: its attributes, dropped ones too, and since when we know
 * that they are as they are.
 *
 * Every change of an attribute writes its row in pg_attribute anew. So one whose xmin is what it
 * was at an earlier look has not changed in between: what it is now it was at every position of the
 * stream from there on.
 */
#ifndef PGCDC_READ_ATTRIBUTES_H
#define PGCDC_READ_ATTRIBUTES_H

#include "catalog.h"

struct attribute {
    int attnum;
    char *name;
    uint32_t type;
    int32_t typmod;
    uint64_t layout; /* length, alignment and passing of its values */
    bool notnull, dropped;
    bool sent;              /* pgoutput sends it */
    bool primary, identity; /* it is in the primary key; in the replica identity's index */
    char *missing;          /* struct column's */
    char *comment;          /* the same */
    uint32_t xmin;
    lsn_t since; /* it is unchanged since this position, at least */
};

struct attributes {
    lsn_t lsn;      /* of the look */
    bool exists;    /* false: the table is gone, and with it all that follows */
    bool unsettled; /* as a run before left them: its shape of the table was not prepared */
    char *schema, *name;
    char *comment; /* or NULL */
    char identity; /* 'd', 'n', 'f', 'i' */
    uint32_t relfilenode;
    char *primary; /* which index is the primary key, and the version of its row; or NULL */
    lsn_t primary_since;
    bool changed;   /* something is not as at the look before */
    bool rewritten; /* since an earlier look: every row may have changed, of which the WAL says
                       nothing */
    unsigned n;
    struct attribute *list;
};

/*
 * Looks at the table, and replaces table->attributes by what it finds; what has not changed keeps
 * its `since`. lsn: the position that the look is as of, or 0: now. False: the catalog could not be
 * asked, *t says why.
 */
bool attributes_read(struct run *run, struct table *table, lsn_t lsn, struct trouble *t);

/* A number that is another after every change: what catalog_tables knows as table->stamp. */
uint64_t attributes_stamp(const struct attributes *a);

/* The first position behind lsn from which on more is known to be as it is; UINT64_MAX: none is. */
lsn_t attributes_next(const struct attributes *a, lsn_t lsn);

/* NULL if there is none. */
const struct attribute *attributes_find(const struct attributes *a, int attnum);

void attributes_free(struct attributes *a);

#endif
