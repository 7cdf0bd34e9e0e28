/* file: a staged Parquet file on its way downstream, as `file`, `data` and `file-end` frames. */
#ifndef CDC_MERGE_FILE_H
#define CDC_MERGE_FILE_H

#include "mem.h"
#include "parquet.h"
#include "stream.h"

struct file;

/* For one file after the other. `out` stays the caller's. */
struct file *file_new(struct stream_out *out);
void file_free(struct file *f);

/* Begin a file: its name, its columns, and the table of the source that messages name. All stay the
 * caller's and have to live until file_close. */
void file_open(struct file *f, const char *name, const struct parquet_column *columns,
               size_t ncolumns, const char *source);

/* Where the values of the current row go. */
struct parquet *file_parquet(struct file *f);

/* What Parquet cannot take ends the program (65); a downstream that is gone, too (75). */
void file_end_row(struct file *f);
uint64_t file_close(struct file *f); /* how many rows it has */

/* The permit: a file with one row, _permit = 1. */
void file_permit(struct buf *file);

/* Write what waits for downstream; ends the program quietly (75) if that is gone. */
void file_flush(struct stream_out *out);

#endif
