/*
 * Group commit: when the next batch may close. dbx-load's state says how far it is; while it is
 * behind by as many batches as are wanted in flight, changes gather in the open batch instead.
 */
#ifndef CDC_BATCH_FLOW_H
#define CDC_BATCH_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "filter.h"
#include "lsn.h"
#include "mem.h"

struct flow {
    struct filter filter; /* without a state folder nobody tells what is loaded */
    unsigned in_flight;   /* batches that may be ahead of what is loaded */
    int64_t min_interval; /* between batches with content, ms */
    /* the rest is flow.c's */
    int watch;
    uint64_t loaded; /* every batch up to this one */
    bool behind;     /* some have steps left all the same */
    uint64_t *ahead; /* numbers of closed batches above it */
    size_t nahead, room;
    int64_t closed_at, content_closed_at; /* clock_ms */
    uint64_t batch; /* the last that was closed, and how far the stream is with it */
    lsn_t position;
    struct buf text;
};

/* The run begins: takes the lock of the state folder. */
void flow_start(struct flow *f, const char *run);

/* A descriptor that becomes readable when a state file changed, or -1. */
int flow_fd(const struct flow *f);

/* Reads dbx-load's state again, if there is any. */
void flow_refresh(struct flow *f);

/* Milliseconds until the open batch, with so many changes, may close; 0: it may. -1: not before
 * more is loaded. */
int64_t flow_delay(const struct flow *f, bool content, uint64_t changes);

/* A batch was closed: of a snapshot (those don't count as in flight), or up to lsn. */
void flow_snapshot_closed(struct flow *f, uint64_t batch);
void flow_closed(struct flow *f, uint64_t batch, lsn_t lsn, bool content);

/* Writes the state file, once a second at most unless now is set. */
void flow_progress(struct flow *f, bool now);

void flow_free(struct flow *f);

#endif
