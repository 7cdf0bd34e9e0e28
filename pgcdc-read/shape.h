/* The shapes of tables: columns, types, key. */
#ifndef PGCDC_READ_SHAPE_H
#define PGCDC_READ_SHAPE_H

#include "catalog.h"
#include "pgoutput.h"

/* A refusal; its %s are schema and table. */
#define SHAPE_KEY_HIDDEN                                                                         \
    "the publication leaves out a column of the key of %s.%s (a generated one, or one that is "  \
    "not "                                                                                       \
    "in the column list), so that UPDATE and DELETE cannot be followed: publish the column, or " \
    "choose another REPLICA IDENTITY"

/*
 * The shape of a table: as the message (PGOUTPUT_RELATION) says, or, without one, as the catalog
 * does. What a message does not say (attnums, names of types, the key under REPLICA IDENTITY FULL)
 * comes from the catalog, which knows only of now; where they disagree the message wins. If an
 * attnum cannot be proven, exits with 78: data in the wrong column would be worse. NULL: *t says
 * why.
 */
struct relation *shape_read(struct run *run, struct table *table, const struct pgoutput *m,
                            struct trouble *t);

/* Whether both have the same shape; their positions don't matter. */
bool shape_same(const struct relation *a, const struct relation *b);

#endif
