/* The shapes of tables: columns, types, key. */
#ifndef PGCDC_READ_SHAPE_H
#define PGCDC_READ_SHAPE_H

#include "attributes.h"
#include "pgoutput.h"

/* A refusal; its %s are schema and table. */
#define SHAPE_KEY_HIDDEN                                                                         \
    "the publication leaves out a column of the key of %s.%s (a generated one, or one that is "  \
    "not "                                                                                       \
    "in the column list), so that UPDATE and DELETE cannot be followed: publish the column, or " \
    "choose another REPLICA IDENTITY"

/* A table's shape from a position of the stream on: its relation's. */
struct shape {
    struct relation *relation;
    int highest; /* attnum that a column had by then, a dropped one too */
    struct shape *older;
};

/*
 * The shape that a relation message says a table has, at the position lsn. What the message does
 * not say (attnums, names of types, the key under REPLICA IDENTITY FULL) comes from the catalog,
 * which knows only of now, and from the shape before; where they disagree the message wins.
 *
 * NULL, and *why is NULL: the catalog could not be asked, *t says why. NULL, and *why is a text:
 * what rows and shape are cannot be told from the stream any more, so the table has to be read.
 */
struct shape *shape_of_message(struct run *run, struct table *table, const struct pgoutput *m,
                               lsn_t lsn, struct trouble *t, const char **why);

/* The shape that it has in the catalog at the last look, table->attributes; else as above. */
struct shape *shape_of_catalog(struct run *run, struct table *table, struct trouble *t,
                               const char **why);

/* Whether both relations have the same name, columns, key and replica identity. */
bool shape_same(const struct relation *a, const struct relation *b);

/* Makes it the table's newest shape, before the older ones or in their place. */
void shape_add(struct table *table, struct shape *shape);
void shape_replace(struct table *table, struct shape *shape);

void shape_free(struct shape *shape); /* and older ones */

#endif
