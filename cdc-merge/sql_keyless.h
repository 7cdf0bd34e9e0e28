/* sql_keyless: statements for tables without a key, whose rows are a multiset. For sql.c. */
#ifndef CDC_MERGE_SQL_KEYLESS_H
#define CDC_MERGE_SQL_KEYLESS_H

#include "sql.h"

/* The columns of the table, our own included; and what the row s has for them. */
void sql_column_names(struct buf *sql, const struct shape *s);
void sql_column_values(struct buf *sql, const struct shape *s);

/* Behind a FROM: as many copies of each row as `count` says. */
void sql_copies(struct buf *sql, const char *count);

/* Add and remove copies of rows. `anew`: remove all that is in the table first. At least one file
 * is staged. Not to be repeated. */
void sql_change_keyless(struct buf *sql, const struct sql_place *at, const struct staged *s,
                        bool anew);

#endif
