/*
 * What the stages in the middle of the pipe have in common: their file in the state folder, which
 * is for eyes, and what to do when a neighbour is gone. Without a state folder the parts that need
 * one do nothing.
 */
#ifndef PGCDC_FILTER_H
#define PGCDC_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "lsn.h"
#include "stream.h"

struct filter {
    const char *dir;     /* the state folder, or NULL */
    const char *stage;   /* the name of its file: "batch", "merge" */
    const char *metrics; /* the file of --metrics, or NULL */
    char *run;           /* NULL until the run begins */
    uint64_t batch;      /* as last written */
    lsn_t lsn;
    int64_t written; /* clock_ms; 0: never */
};

/* The run begins: takes the stage's lock. run is copied. */
void filter_begin(struct filter *f, const char *run);
void filter_free(struct filter *f);

/* Writes how far the stage is, if that is news; once a second at most, unless now is set. */
void filter_progress(struct filter *f, uint64_t batch, lsn_t lsn, bool now);

/* True if dbx-load has served this run and is gone. A tee or ssh in between hides that from a pipe.
 */
bool filter_loader_gone(const struct filter *f);

/*
 * After `end`: downstream has work to do yet. That our end of its pipe stays open until it is gone
 * tells the stages before us that it lives. Returns when downstream has closed, or when dbx-load is
 * gone or nobody has held its lock for 5 s; at once if stdout is no pipe.
 */
void filter_wait_for_downstream(const struct filter *f);

/* --check: says on stderr whether the folder and the file can be used, and returns the number of
 * failures. */
unsigned filter_check(const struct filter *f);

/* The stream ended without `end`: exits with 75, silently if we were asked to stop. */
_Noreturn void filter_upstream_died(const struct stream_in *in);

/* A `fail` frame: exits with its code, silently. */
_Noreturn void filter_upstream_failed(struct frame *f);

#endif
