/*
 * From pgoutput's messages to frames: positions, transactions, checkpoints, and which rows are for
 * us. It outlives connections: after a reconnect the server sends again from `position`, and what
 * was already written is skipped.
 */
#ifndef PGCDC_READ_CHANGES_H
#define PGCDC_READ_CHANGES_H

#include "run.h"

struct changes {
    struct run *run;
    lsn_t target;      /* end here; 0: never. Under --once, not before what tables were read at */
    bool done;         /* the target is reached */
    lsn_t position;    /* everything before it has been written, whole */
    int64_t time;      /* when the source was there, as it says */
    lsn_t idle;        /* the server had nothing more to send up to here, the last time … */
    int64_t idle_time; /* … it said so, then */
    lsn_t checkpoint;  /* the last one written */
    int64_t checkpoint_due;
    int64_t refresh_due; /* the next look at what is published; INT64_MAX: never */
    lsn_t backlog;    /* what is read is WAL that ended here when that began; 0: it still grows */
    uint32_t horizon; /* transactions before this one were visible then */

    bool inside; /* between a begin and a commit message */
    lsn_t lsn;   /* of the transaction being received: its commit LSN */
    int64_t begin_time;
    uint32_t xid;
    bool seen;      /* the catalog shows what it did */
    uint64_t seq;   /* of its last row message */
    lsn_t open;     /* the transaction of which something is written, but not its end; 0: none */
    lsn_t sent_lsn; /* the position of the last row written */
    uint64_t sent_seq;
    lsn_t message_lsn;  /* of the last logical message written of the open transaction … */
    lsn_t loose_lsn;    /* … and of the last that belonged to none */
    uint32_t leaf;      /* announced since the last row, and not for us; 0: none */
    struct arena arena; /* for one message */
};

/* Begins at this LSN: writes the first checkpoint. */
void changes_begin(struct changes *c, struct run *run, lsn_t start, lsn_t target);

/* A message of pgoutput. False: the catalog could not be asked, *t says why; then the connections
 * have to be made anew. A message that cannot be understood exits with 65. */
bool changes_take(struct changes *c, const char *data, size_t len, struct trouble *t);

/*
 * To be called between messages: if this is between transactions, looks from time to time whether
 * tables have come to the publication or changed behind the stream's back, and reads what is
 * unread as soon as that is possible. False: the catalog could not be asked.
 */
bool changes_refresh(struct changes *c, struct trouble *t);

/* Whether a transaction with this commit LSN lies at the target, or behind it: then all before has
 * come. */
bool changes_reach(struct changes *c, lsn_t lsn);

/* The server says that it has nothing more to send up to here. */
void changes_idle(struct changes *c, lsn_t wal_end, int64_t time);

/* The connection is gone: what comes next begins at `position`. */
void changes_reset(struct changes *c);

/* Writes the checkpoint that the rate limit held back, if it is time; returns when to call it or
 * changes_refresh again (clock_ms; INT64_MAX: after the next message). */
int64_t changes_tick(struct changes *c);

/* Between transactions, so that the stream could end here. */
bool changes_whole(const struct changes *c);

/* Writes the last checkpoint, if one is due, and `end`. */
void changes_end(struct changes *c);

#endif
