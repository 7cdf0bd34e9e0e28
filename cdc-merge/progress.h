/* progress: the stage's file in the state folder, for eyes, and whether dbx-load is still there.
 * Without a folder all of this does nothing. */
#ifndef CDC_MERGE_PROGRESS_H
#define CDC_MERGE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "lsn.h"

struct progress {
    const char *dir, *run; /* NULL: none */
    uint64_t batch;        /* as last written */
    int64_t written;       /* clock_ms; 0: never */
};

/* Take the stage's lock for this run. `run` has to live as long. */
void progress_begin(struct progress *p, const char *dir, const char *run);

/* Write the file if this batch is news; once a second at most, unless `now`. */
void progress_write(struct progress *p, uint64_t batch, lsn_t lsn, bool now);

/* True if dbx-load has served this run and is gone: a tee or ssh in between hides its hang-up. */
bool progress_loader_gone(const struct progress *p);

#endif
