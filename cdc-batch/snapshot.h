/*
 * Rows of snapshots. They need no folding, since a snapshot has each row once; they gather per
 * table, because rows of several snapshots may come mixed and a part has one owner.
 */
#ifndef CDC_BATCH_SNAPSHOT_H
#define CDC_BATCH_SNAPSHOT_H

#include "fold.h"
#include "stream.h"

struct snapshot {
    uint32_t oid;
    uint64_t attempt;
    lsn_t lsn;
    int64_t time;
    bool ended;        /* it waits for a commit */
    uint64_t rows;     /* so far */
    uint64_t gathered; /* of them, those that are not written yet: */
    struct snapshot_rows *first, **end;
    struct arena arena; /* which holds them */
    struct buf ranges;  /* frames that go behind them */
    struct snapshot *next;
};

struct snapshots {
    struct snapshot *open;
    size_t bytes; /* of memory that their rows take */
};

struct snapshot *snapshots_largest(const struct snapshots *s); /* or NULL */

/* Opens one; it is filled in by the caller. */
struct snapshot *snapshots_add(struct snapshots *s, uint32_t oid);
void snapshots_remove(struct snapshots *s, struct snapshot *one); /* and frees it */
void snapshots_free(struct snapshots *s);

/* n rows, one after the other. keep, of a table with a key: the rows are as an earlier attempt had
 * them. */
void snapshot_rows(struct snapshots *s, struct snapshot *one, struct mp rows, unsigned n,
                   bool keep);

/* All rows of a range of pages have come. */
void snapshot_range(struct snapshot *one, const struct frame *f);

/* Writes the ranges whose rows are written, if there are no others. */
void snapshot_ranges_write(struct stream_out *out, struct snapshot *one);

/* Writes what has gathered as a part, which there must be. */
void snapshot_part_write(struct stream_out *out, uint64_t part, struct snapshots *s,
                         struct snapshot *one);

#endif
