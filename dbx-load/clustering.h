/*
 * What a table's rows are laid out by: Delta Lake's liquid clustering (CLUSTER BY).
 */
#ifndef PGCDC_CLUSTERING_H
#define PGCDC_CLUSTERING_H

#include "table.h"

/* Appends CLUSTER BY for a new table: its key, as far as that is possible. */
void clustering_put(struct buf *b, const struct step *s);

/* The statement after which the table is not clustered by this column any more, which is about to
 * be dropped; free() it. NULL: it is not. */
char *clustering_release_sql(const struct table *t, const char *column);

/* Whether the table is clustered. The names in its properties change with those of its columns. */
bool clustering_is_on(const struct table *t);

#endif
