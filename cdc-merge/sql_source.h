/* sql_source: the rows that a statement takes from the staged files. For sql.c and its kind. */
#ifndef CDC_MERGE_SQL_SOURCE_H
#define CDC_MERGE_SQL_SOURCE_H

#include "sql.h"

/* `catalog`.`schema`.`table` */
void sql_target(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* MERGE INTO … AS t USING ( */
void sql_merge_into(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* The source of such a MERGE, up to its ON: its one row matches nothing, for ordinals are never
 * below 0. */
void sql_empty_source(struct buf *sql);

/* JOIN of the permit, which never changes the rows. */
void sql_join_permit(struct buf *sql);

/* What is in all the files, one SELECT each: the columns of the source under their staged names,
 * and the added ones. */
void sql_files(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* Of a table with a key: one row per key, as the batch leaves it, with _removed. A column that some
 * row has unchanged comes as a struct instead, x and its attnum: v is the value; e is its text if v
 * cannot hold it, and only there if the type may have such values. The struct is NULL if the value
 * has to be taken from the row of the target that has the row's key; or, if _carried, was not found
 * where it should be. */
void sql_changed_rows(struct buf *sql, const struct sql_place *at, const struct staged *s);

bool sql_has_carried(const struct staged *s);

/* Whether the batch needs the structs above for this column. */
bool sql_is_unchanged(const struct staged *s, const struct target_column *c);

#endif
