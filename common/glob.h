/* Globs for tables: * is any text, also none, ? one character; case counts. */
#ifndef PGCDC_GLOB_H
#define PGCDC_GLOB_H

#include <stdbool.h>

bool glob_matches(const char *glob, const char *text);

/* Whether it can match a table's name, schema.table, at all. */
bool glob_is_for_tables(const char *glob);

#endif
