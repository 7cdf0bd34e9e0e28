/* The folder in a volume where files wait: /Volumes/catalog/schema/volume/name. */
#ifndef PGCDC_STAGING_H
#define PGCDC_STAGING_H

#include <stdbool.h>

#include "mem.h"
#include "rights.h"

/* What making its schema and its volume takes. */
#define STAGING_SCHEMA_RIGHT(path) \
    (&(const struct right){.privileges = "CREATE SCHEMA", .on = "CATALOG", .staging = (path)})
#define STAGING_VOLUME_RIGHT(path) \
    (&(const struct right){.privileges = "CREATE VOLUME", .on = "SCHEMA", .staging = (path)})

/* True if it is of this form, and nothing in it leads out of it. */
bool staging_is_valid(const char *path);

/* Statements that make its schema and its volume where they are missing; free() them. */
char *staging_schema_sql(const char *path);
char *staging_volume_sql(const char *path);

/* Part 1 of such a path is the catalog, 2 the schema, 3 the volume; free() it. */
char *staging_part(const char *path, unsigned n);

/* Appends the quoted name of a table that stands beside the volume. */
void staging_table(struct buf *b, const char *path, const char *table);

#endif
