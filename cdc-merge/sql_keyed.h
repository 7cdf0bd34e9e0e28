/* sql_keyed: the MERGE of a table with a key; deletes are hard or soft. For sql.c. */
#ifndef CDC_MERGE_SQL_KEYED_H
#define CDC_MERGE_SQL_KEYED_H

#include "sql.h"

/* Make the table what a snapshot staged. */
void sql_replace_keyed(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* Apply the changes of a batch. Harmless to repeat. */
void sql_change_keyed(struct buf *sql, const struct sql_place *at, const struct staged *s);

#endif
