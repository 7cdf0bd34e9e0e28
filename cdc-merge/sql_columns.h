/* sql_columns: the columns of a table in Databricks: those of the source, and behind them ours. */
#ifndef CDC_MERGE_SQL_COLUMNS_H
#define CDC_MERGE_SQL_COLUMNS_H

#include "tables.h"

/* The columns that we add to a table; i from 0, NULL behind the last one. */
const char *sql_added_column(const struct shape *s, size_t i, const char **type);

/* What the row s, of staged files, has for one of those. */
void sql_added_value(struct buf *sql, const char *name);

/* The value of a column, made of what is staged for it: `staged` is an SQL expression. */
void sql_converted(struct buf *sql, const struct target_column *c, const char *staged);

/* All columns; and what the row s has for them. */
void sql_column_names(struct buf *sql, const struct shape *s);
void sql_column_values(struct buf *sql, const struct shape *s);

/* Behind SELECT: no rows, but all columns, by name and type. Reads the permit. */
void sql_no_rows(struct buf *sql, const struct shape *s);

#endif
