/*
 * What a snapshot can go on from: ranges of pages that earlier attempts have read, and dbx-load has
 * staged, though the snapshot never got to its end.
 *
 * Rows of such a range do not have to be sent again. A row whose xmin is below the horizon of the
 * attempt that read the range (the xmin of its MVCC snapshot) was in the same place then, and is as
 * it was: its key says that it is still there. What has a newer xmin is sent whole, wherever it is
 * by now. So what an attempt brings, together with what is staged, is the table as of its own
 * snapshot; rows of earlier attempts whose key it does not bring are no more.
 *
 * A file that was written anew (VACUUM FULL, TRUNCATE) is another one, and none of its ranges was
 * read. A table that was altered, is published otherwise, or has no key starts over. So do all when
 * the server was promoted, for it may use transaction ids again.
 */
#ifndef PGCDC_READ_RESUME_H
#define PGCDC_READ_RESUME_H

#include "catalog.h"
#include "load.h"

struct resume;

/* A number that is another after every change that makes what was staged worthless. */
uint64_t resume_stamp(const struct table *table, uint32_t timeline);

/* What there is of the table; NULL: nothing that is good for a snapshot with this horizon (a full
 * transaction id) and stamp. */
struct resume *resume_new(const struct load *l, const struct table *table, uint64_t horizon,
                          uint64_t stamp);
void resume_free(struct resume *r);

/* The attempts, oldest first. r may be NULL. */
unsigned resume_attempts(const struct resume *r);
const struct load_unfinished *resume_attempt(const struct resume *r, unsigned i);

/* The horizon of the last attempt that read these pages of the file, up to `to`; 0: none did. */
uint64_t resume_horizon(const struct resume *r, uint64_t file, uint64_t from, uint64_t to);

#endif
