/* The changes of columns.h as statements. */
#ifndef PGCDC_ALTER_H
#define PGCDC_ALTER_H

#include "table.h"

/* What t->change takes to be possible; NULL if that is so already. free() it. */
char *alter_prepare_sql(struct table *t, const struct step *s);

/* The change itself; defaults: the path of the step's file with them, or NULL. free() it.
 *
 * Statements that change rows can be run twice, and read the permit: one that is left over from a
 * run that died does nothing to a table that has gone on. */
char *alter_sql(const struct table *t, const struct step *s, const char *defaults,
                const char *permit);

#endif
