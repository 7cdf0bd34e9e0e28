/* sql_keyless: statements for tables without a key: a multiset of rows, or a log of events. For
 * sql.c. */
#ifndef CDC_MERGE_SQL_KEYLESS_H
#define CDC_MERGE_SQL_KEYLESS_H

#include "sql.h"

/* Behind a FROM: as many copies of each row as `count` says. */
void sql_copies(struct buf *sql, const char *count);

/* Make the table what a snapshot staged. */
void sql_replace_keyless(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* Add and remove copies of rows. Not to be repeated. */
void sql_change_keyless(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* Add all that is staged. Not to be repeated. */
void sql_append(struct buf *sql, const struct sql_place *at, const struct staged *s);

#endif
