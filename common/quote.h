/*
 * SQL names and texts for Databricks (and Spark) SQL.
 */
#ifndef PGCDC_QUOTE_H
#define PGCDC_QUOTE_H

#include "mem.h"

/* `name`, backticks doubled */
void quote_name(struct buf *b, const char *name);

/* `catalog`.`schema`.`table` */
void quote_table(struct buf *b, const char *catalog, const char *schema, const char *table);

/* 'text', with backslash, quote and dollar escaped (Spark string literals know backslash escapes,
 * and Spark replaces ${…} even in them) */
void quote_text(struct buf *b, const char *text, size_t len);

/* a path between backticks: parquet.`/Volumes/…`; only its inside is appended */
void quote_path(struct buf *b, const char *path);

#endif
