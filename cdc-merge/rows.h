/* rows: the rows of a part, from frames to staged Parquet files.
 *
 * A staged file has, for each column of the table, one named c and its attnum: so
 * no name of PostgreSQL's has to be one in Parquet. Then, of a
 * table with a key:
 *
 *   k1, …                       key columns: where the unchanged values of the row are to be found,
 *                               if not under its own key
 *   _removed                    BOOLEAN: the key is gone (where deletes are soft, the row has its
 *                               last values); in a snapshot: the row is in an earlier attempt's
 * files _unchanged                  LIST of INT: the attnums of the columns whose values are
 * elsewhere
 *
 * of one without:
 *
 *   _cdc_row                    STRING: the values as a line of COPY has them, which says whether
 *                               two rows are equal; NULL where rows cannot go away
 *   _count                      BIGINT: copies added, or, below 0, removed
 *
 * of one that is appended to:
 *
 *   _cdc_op                     STRING: r, i, u, d or t
 *   _cdc_unchanged              LIST of STRING: the names of the columns whose values did not come
 *
 * and of all _cdc_lsn, _cdc_seq, _cdc_commit_time and _cdc_unrepresentable, as in the table. */
#ifndef CDC_MERGE_ROWS_H
#define CDC_MERGE_ROWS_H

#include "file.h"
#include "staged.h"
#include "stream.h"

/* The columns of a staged file for this shape; free() them. */
struct parquet_column *rows_columns(const struct shape *s, size_t *n);

struct rows;

/* The file stays the caller's. `strict`: a value that its column cannot hold ends the program (65),
 * instead of becoming NULL. */
struct rows *rows_new(struct file *file, bool strict);
void rows_free(struct rows *r);

/* Begin a file for the step, in its folder if it has one; the name is taken over. One file is open
 * at a time. */
void rows_open(struct rows *r, struct staged *to, char *name);

/* Take a position out of a frame. */
struct staged_position rows_position(struct frame *f);

/* Append the row or rows of a frame of that type, whose OID has been taken out already. What is
 * wrong in the frame ends the program (65). */
void rows_upsert(struct rows *r, struct frame *f);
void rows_retire(struct rows *r, struct frame *f);
void rows_remove(struct rows *r, struct frame *f);
void rows_keep(struct rows *r, struct frame *f);
void rows_event(struct rows *r, struct frame *f);
void rows_net(struct rows *r, struct frame *f);
void rows_read(struct rows *r, struct frame *f); /* `rows`: as a snapshot has them */

/* Whose file is open, or NULL. */
const struct staged *rows_open_for(const struct rows *r);

/* Complete the open file, if there is one. */
void rows_close(struct rows *r);

#endif
