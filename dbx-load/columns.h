/*
 * Bringing a table's columns to a step's definition: what is to be done next.
 *
 * Everything is judged by what the table has: its columns, the property pgcdc.columns and the
 * definition that is wanted. So a crash at any point needs no record of its own: what comes next is
 * worked out anew. Three rules make that unambiguous:
 *
 * - While the property gives a name to one column, no other column takes it. So a column of ours
 *   that the property has under p and that is not there any more was renamed, to the name that is
 *   wanted, or, to get out of the way of others, to _cdc_column_ATTNUM.
 * - A column that is to be added is in the property, as being added, before. One that the property
 *   does not have and that is there is somebody else's.
 * - A name for a column that is kept though the source dropped it is in the property before.
 */
#ifndef PGCDC_COLUMNS_H
#define PGCDC_COLUMNS_H

#include "batch.h"

enum change_kind {
    CHANGE_NONE,
    CHANGE_NOTE,   /* the property becomes `text` */
    CHANGE_TEXTS,  /* what _cdc_unrepresentable and _cdc_unchanged have under the name of column
                      `name` goes over to the name `text` or, if that is NULL, goes */
    CHANGE_RENAME, /* column `name` to `text` */
    CHANGE_DROP,   /* column `name` */
    CHANGE_WIDEN,  /* column `name` to the type `text` */
    CHANGE_ADD,    /* the `columns` */
    CHANGE_FILL    /* the `columns`, which were added, get what older rows have in them */
};

struct change {
    enum change_kind kind;
    const char *name, *text;
    unsigned ncolumns;
    const struct load_column **columns; /* of the step */
};

struct columns_have {
    const char *table; /* for messages */
    unsigned n;
    const struct load_column *columns; /* as the table has them: name and type */
    const char *property;              /* or NULL */
    bool moved;  /* the last change that was made is the TEXTS that is due now */
    bool filled; /* FILL was done since the last NOTE */
};

/* The change that has to be made next; in the arena. What cannot be done exits with 78. */
struct change columns_next(const struct columns_have *have, const struct step *step,
                           struct arena *a);

/* A column of this name, or NULL. */
const struct load_column *columns_find(const struct load_column *columns, unsigned n,
                                       const char *name);

#endif
