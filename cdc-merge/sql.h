/* sql: the statements that apply what is staged. Databricks' dialect, as far as Spark and Delta
 * Lake know it too.
 *
 * Each statement reads the run's permit as part of its source, so that one which a dead run has
 * left behind fails once the permit is gone. The permit's path is not known here: SQL_PERMIT, a
 * byte that occurs in no SQL text, stands where it goes, between backticks.
 *
 * All append to `sql`. */
#ifndef CDC_MERGE_SQL_H
#define CDC_MERGE_SQL_H

#include "staged.h"

#define SQL_PERMIT '\0'

struct sql_place {
    const char *catalog;
    const char *staging; /* the pipeline's folder … */
    const char *folder;  /* … and the run's in it, where the staged files lie */
};

/* All that a snapshot staged: the query that a new table is made from. */
void sql_create(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* Make an existing table what a snapshot staged; rows that it lacks go. A log gets it added. */
void sql_replace(struct buf *sql, const struct sql_place *at, const struct staged *s);

/* How many rows one run of the statement inserts and updates in all, by the engine's count,
 * whatever the table has: of sql_replace or, if not `replace`, of sql_change. */
#define SQL_ANY UINT64_MAX
struct sql_written {
    uint64_t least, most; /* 0 and SQL_ANY if nothing is known */
};
struct sql_written sql_written(const struct staged *s, bool replace);

/* Apply the changes of a batch. Harmless to repeat for a table that has a key there. */
void sql_change(struct buf *sql, const struct sql_place *at, const struct staged *s);

#endif
