/* The folder in a volume where files wait: /Volumes/catalog/schema/volume/name. */
#ifndef PGCDC_STAGING_H
#define PGCDC_STAGING_H

#include <stdbool.h>

#include "mem.h"

/* True if it is of this form, and nothing in it leads out of it. */
bool staging_is_valid(const char *path);

/* Statements that make its schema and its volume where they are missing; free() them. */
char *staging_schema_sql(const char *path);
char *staging_volume_sql(const char *path);

/* Appends the quoted name of a table that stands beside the volume. */
void staging_table(struct buf *b, const char *path, const char *table);

#endif
