#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "figures.h"
#include "fold.h"
#include "msg.h"
#include "out.h"
#include "part.h"
#include "row.h"
#include "snapshot.h"

struct batcher {
    struct batch_limits limits;
    const struct modes *modes;
    struct flow *flow;
    struct stream_out *out;
    enum stream_kind kind;
    unsigned failures; /* of our own checks */
    struct fold fold;  /* has the tables */
    struct fold late; /* changes of tables whose snapshot is open; they are not of the open batch */
    struct snapshots snapshots;
    uint64_t parts, batches; /* numbers given so far */
    /* the transaction that is being read; it ends at a checkpoint */
    bool in_transaction;
    lsn_t commit_lsn;
    int64_t commit_time;
    /* the open batch */
    bool placed;       /* the first checkpoint has come */
    bool announced;    /* a batch was closed: the first, empty one says where the stream begins */
    bool written;      /* some of its parts are, or a table got its shape in it */
    uint64_t changes;  /* in it */
    lsn_t from, whole; /* it begins here, and everything is whole up to there */
    int64_t time;      /* of its last commit */
};

struct batcher *batcher_new(struct batch_limits limits, const struct modes *modes,
                            struct flow *flow, struct stream_out *out)
{
    struct batcher *b = mem_alloc(sizeof *b);

    b->limits = limits;
    b->modes = modes;
    b->flow = flow;
    b->out = out;
    fold_init(&b->fold);
    fold_init(&b->late);
    return b;
}

void batcher_free(struct batcher *b)
{
    snapshots_free(&b->snapshots);
    fold_free(&b->late);
    fold_free(&b->fold);
    free(b);
}

enum stream_kind batcher_kind(const struct batcher *b)
{
    return b->kind;
}

unsigned batcher_failures(const struct batcher *b)
{
    return b->failures;
}

/* ------------------------------------------------------------------ parts and batches */

/* The target is to have the shape of the table, whether rows come or not. */
static void define(struct batcher *b, struct table *t)
{
    msgpack_pack_uint32(stream_frame(b->out, "define", 1), t->oid);
    stream_done(b->out);
    t->shown = t->in_batch = b->written = true;
}

static void write_part(struct batcher *b)
{
    bool written = part_write(b->out, b->parts + 1, &b->fold);

    b->parts += written;
    b->written |= written;
    for (struct table *t = b->fold.changed; t; t = t->next) {
        t->in_batch = true;
        if (part_has(t))
            t->shown = true;
        else if (!t->shown) /* pgcdc-read counts on the changes to show it */
            define(b, t);
    }
    fold_reset(&b->fold);
}

/* They gather across batches: none of them has to wait for these changes, nor these for it. */
static void write_late_part(struct batcher *b)
{
    b->parts += part_write(b->out, b->parts + 1, &b->late);
    for (struct table *t = b->late.changed; t; t = t->next)
        t->in_batch = true;
    fold_reset(&b->late);
}

static void write_snapshot_part(struct batcher *b, struct snapshot *one)
{
    if (!one->gathered)
        return;
    figures_part(one->gathered);
    snapshot_part_write(b->out, ++b->parts, &b->snapshots, one);
}

/* Folded rows and rows of snapshots share the memory: the largest heap goes. */
static void write_if_full(struct batcher *b)
{
    if (b->fold.rows >= b->limits.rows)
        write_part(b);
    if (b->late.rows >= b->limits.rows)
        write_late_part(b);
    size_t folded = fold_size(&b->fold), late = fold_size(&b->late);
    if (folded + late + b->snapshots.bytes < b->limits.bytes)
        return;
    struct snapshot *largest = snapshots_largest(&b->snapshots);
    size_t read = largest ? largest->arena.used : 0;
    if (folded >= late && folded >= read)
        write_part(b);
    else if (late >= read)
        write_late_part(b);
    else
        write_snapshot_part(b, largest);
}

static bool has_content(const struct batcher *b)
{
    return b->written || b->fold.changed;
}

static void close_batch(struct batcher *b)
{
    bool content = has_content(b);
    msgpack_packer *pk;

    write_part(b);
    pk = stream_frame(b->out, "batch", 4);
    msgpack_pack_uint64(pk, ++b->batches);
    msgpack_pack_uint64(pk, b->from);
    msgpack_pack_uint64(pk, b->whole);
    msgpack_pack_int64(pk, b->time);
    stream_done(b->out);
    out_write(b->out);
    for (struct table *t = b->fold.tables; t; t = t->hh.next)
        t->in_batch = false;
    b->from = b->whole;
    b->announced = true;
    b->written = false;
    b->changes = 0;
    flow_closed(b->flow, b->batches, b->whole, content);
    batch_figures[BATCH_BATCHES].value++;
}

/* A commit was the last that came, and something is to be said about it. */
static bool can_close(const struct batcher *b)
{
    return b->placed && !b->in_transaction &&
           (has_content(b) || b->whole > b->from || !b->announced);
}

int64_t batcher_close_if_due(struct batcher *b)
{
    int64_t delay;

    if (!can_close(b))
        return -1;
    delay = flow_delay(b->flow, has_content(b), b->changes);
    if (delay)
        return delay;
    close_batch(b);
    return -1;
}

/* ------------------------------------------------------------------ frames */

static uint32_t frame_oid(struct frame *f)
{
    uint64_t oid = frame_uint(f);

    if (oid > UINT32_MAX)
        frame_bad(f, "an OID has 32 bits");
    return (uint32_t)oid;
}

static struct table *frame_table(struct batcher *b, struct frame *f)
{
    struct table *t = fold_table(&b->fold, frame_oid(f));

    if (!t)
        frame_bad(f, "no relation frame has announced this table");
    return t;
}

/* The position of a change in the transaction that is being read, which must be its LSN. */
static struct position frame_position(const struct batcher *b, struct frame *f)
{
    lsn_t lsn = frame_uint(f);

    if (!b->in_transaction)
        frame_bad(f, "a change outside of a transaction");
    if (lsn != b->commit_lsn)
        frame_bad(f, "a change has another LSN than its transaction");
    return (struct position){.lsn = lsn, .seq = frame_uint(f), .time = b->commit_time};
}

static struct fold *fold_of(struct batcher *b, const struct table *t)
{
    return t->snapshot ? &b->late : &b->fold;
}

static void folded(struct batcher *b, const struct frame *f, unsigned figure, const char *bad)
{
    if (bad)
        frame_bad(f, bad);
    batch_figures[figure].value++;
    b->changes++;
    write_if_full(b);
}

static struct snapshot *frame_snapshot(const struct frame *f, const struct table *t)
{
    if (t->snapshot && !t->snapshot->ended)
        return t->snapshot;
    frame_bad(f, "no snapshot of this table is open");
}

static void take_insert(struct batcher *b, struct frame *f)
{
    struct table *t = frame_table(b, f);
    struct position at = frame_position(b, f);

    folded(b, f, BATCH_INSERTS, fold_insert(fold_of(b, t), t, at, f->body));
}

/* The next n of the rows that a frame ends with. */
static struct mp next_rows(struct frame *f, unsigned n)
{
    struct mp rows = {f->body.p, f->body.p};

    for (; n; n--)
        rows.end = frame_any(f).end;
    return rows;
}

/* What they hold is for cdc-merge to see. */
static void gather_rows(struct batcher *b, struct frame *f, struct snapshot *one, unsigned n,
                        bool keep)
{
    if (frame_uint(f) != one->lsn)
        frame_bad(f, "a row of another snapshot than the open one");
    if (keep && frame_uint(f))
        frame_bad(f, "a row of a snapshot with a number");
    batch_figures[BATCH_SNAPSHOT_ROWS].value += n;
    while (n) {
        uint64_t room = b->limits.rows - one->gathered;
        unsigned some = n < room ? n : (unsigned)room;
        struct mp rows = some < n ? next_rows(f, some) : f->body;
        snapshot_rows(&b->snapshots, one, rows, some, keep);
        n -= some;
        if (one->gathered == b->limits.rows)
            write_snapshot_part(b, one);
        else
            write_if_full(b);
    }
}

static void take_rows(struct batcher *b, struct frame *f)
{
    struct snapshot *one = frame_snapshot(f, frame_table(b, f));

    if (f->elements < 3)
        frame_bad(f, "there are no rows");
    gather_rows(b, f, one, f->elements - 2, false);
}

static void take_keep(struct batcher *b, struct frame *f)
{
    const struct table *t = frame_table(b, f);

    if (t->keyless || t->shape->append)
        frame_bad(f, "only rows with a key are kept, in a snapshot of a table that is merged");
    gather_rows(b, f, frame_snapshot(f, t), 1, true);
}

static void take_range(struct batcher *b, struct frame *f)
{
    struct frame peek = *f;
    struct snapshot *one = frame_snapshot(f, frame_table(b, &peek));

    snapshot_range(one, f);
    snapshot_ranges_write(b->out, one);
}

static void take_update(struct batcher *b, struct frame *f)
{
    struct table *t = frame_table(b, f);
    struct position at = frame_position(b, f);

    folded(b, f, BATCH_UPDATES, fold_update(fold_of(b, t), t, at, f->body));
}

static void take_delete(struct batcher *b, struct frame *f)
{
    struct table *t = frame_table(b, f);
    struct position at = frame_position(b, f);

    folded(b, f, BATCH_DELETES, fold_delete(fold_of(b, t), t, at, f->body));
}

static void take_truncate(struct batcher *b, struct frame *f)
{
    struct frame tables = *f;

    frame_any(f);
    struct position at = frame_position(b, f);
    for (unsigned n = frame_array(&tables); n; n--) {
        struct table *t = frame_table(b, &tables);
        folded(b, f, BATCH_TRUNCATES, fold_truncate(fold_of(b, t), t, at));
    }
}

static void take_begin(struct batcher *b, struct frame *f)
{
    if (!b->placed)
        frame_bad(f, "a transaction before the first checkpoint");
    if (b->in_transaction)
        frame_bad(f, "a transaction inside another");
    b->in_transaction = true;
    b->commit_lsn = frame_uint(f);
    b->commit_time = frame_int(f);
}

static void close_snapshot(struct batcher *b, struct snapshot *one)
{
    struct table *t = fold_table(&b->fold, one->oid);

    /* the next run begins where the last batch ends: up to there, the changes are a part of it */
    if ((t->changed || t->in_batch) && can_close(b))
        close_batch(b);
    if (t->changed)
        write_late_part(b);
    t->snapshot = NULL;
    t->in_batch = false;
    write_snapshot_part(b, one);
    msgpack_packer *pk = stream_frame(b->out, "snapshot-batch", 6);
    msgpack_pack_uint64(pk, ++b->batches);
    msgpack_pack_uint32(pk, one->oid);
    msgpack_pack_uint64(pk, one->attempt);
    msgpack_pack_uint64(pk, one->lsn);
    msgpack_pack_int64(pk, one->time);
    msgpack_pack_uint64(pk, one->rows);
    stream_done(b->out);
    out_write(b->out);
    snapshots_remove(&b->snapshots, one);
    flow_snapshot_closed(b->flow, b->batches);
    batch_figures[BATCH_SNAPSHOTS].value++;
}

/* Those that are at their end, if this is a commit. */
static void close_snapshots(struct batcher *b)
{
    for (struct snapshot *one = b->snapshots.open, *next; one && !b->in_transaction; one = next) {
        next = one->next;
        if (one->ended)
            close_snapshot(b, one);
    }
}

static void take_checkpoint(struct batcher *b, struct frame *f)
{
    lsn_t lsn = frame_uint(f);
    int64_t time = frame_int(f);

    if (!b->placed) {
        b->placed = true;
        b->from = b->whole = lsn;
    }
    if (lsn > b->whole) /* an idle source may say less than its last commit did */
        b->whole = lsn;
    if (b->in_transaction)
        b->time = b->commit_time;
    else if (!has_content(b))
        b->time = time;
    b->in_transaction = false;
    close_snapshots(b);
    batcher_close_if_due(b);
}

/* Rows of another shape don't go into one part. */
static void take_relation(struct batcher *b, struct frame *f)
{
    struct frame peek = *f;
    frame_uint(&peek);
    frame_uint(&peek);
    struct table *t = fold_table(&b->fold, frame_oid(&peek));
    struct mp definition = frame_any(&peek);
    bool same = t && t->definition.len == mp_size(definition) &&
                !memcmp(t->definition.data, definition.p, mp_size(definition));

    if (t && !same) {
        if (t->changed)
            t->snapshot ? write_late_part(b) : write_part(b);
        if (t->snapshot)
            write_snapshot_part(b, t->snapshot);
    }
    struct frame whole = *f;
    if (!same) {
        struct relation *r = relation_unpack(f);
        modes_choose(b->modes, r, t ? t->shape : NULL);
        t = fold_shape(&b->fold, r, definition);
    }
    modes_forward(b->out, &whole, t->shape);
}

static void take_snapshot(struct batcher *b, struct frame *f)
{
    struct frame whole = *f;
    struct table *t = frame_table(b, f);

    if (t->snapshot)
        frame_bad(f, "a snapshot of this table is open already");
    if (b->in_transaction)
        frame_bad(f, "a snapshot begins inside a transaction");
    /* a batch is applied before the snapshot, or after it: what is older closes here */
    if (has_content(b))
        close_batch(b);
    struct snapshot *one = t->snapshot = snapshots_add(&b->snapshots, t->oid);
    one->attempt = frame_uint(f);
    one->lsn = frame_uint(f);
    one->time = frame_int(f);
    t->last = (struct position){.lsn = one->lsn}; /* older changes are in the snapshot */
    t->shown = true;
    stream_forward(b->out, &whole);
}

static void take_snapshot_end(struct batcher *b, struct frame *f)
{
    struct snapshot *one = frame_snapshot(f, frame_table(b, f));

    if (frame_uint(f) != one->attempt || frame_uint(f) != one->lsn)
        frame_bad(f, "it ends another snapshot than the open one");
    if (frame_uint(f) != one->rows)
        frame_bad(f, "rows of the snapshot are missing");
    one->ended = true;
    close_snapshots(b);
}

/* A table changed its shape, and no row has come since. */
static void take_define(struct batcher *b, struct frame *f)
{
    struct table *t = frame_table(b, f);

    if (b->in_transaction)
        frame_bad(f, "a shape is to be had at once inside a transaction");
    define(b, t);
}

static void take_message(struct batcher *b, struct frame *f)
{
    stream_forward(b->out, f);
}

static void take_end(struct batcher *b, struct frame *f)
{
    if (b->in_transaction)
        msg_info("the stream ends inside a transaction; the open batch is dropped");
    else if (can_close(b))
        close_batch(b);
    stream_forward(b->out, f);
    out_flush(b->out);
    if (b->kind == STREAM_CHANGES)
        flow_progress(b->flow, true);
}

static void take_start(struct batcher *b, struct frame *f)
{
    struct start start;

    start_unpack(f, &start);
    if (start.check) {
        b->kind = STREAM_CHECK;
        b->failures = filter_check(&b->flow->filter);
        start.failures += b->failures;
        start_pack(b->out, &start);
    } else {
        b->kind = STREAM_CHANGES;
        flow_start(b->flow, start.run);
        metrics_begin(start.pipeline);
        flow_refresh(b->flow);
        stream_forward(b->out, f);
    }
    out_flush(b->out);
    start_free(&start);
}

bool batcher_take(struct batcher *b, struct frame *f)
{
    static const struct {
        const char *type;
        unsigned elements; /* 0: any number */
        void (*take)(struct batcher *b, struct frame *f);
    } kinds[] = {
        {"update", 5, take_update},     {"insert", 4, take_insert},
        {"rows", 0, take_rows},         {"delete", 4, take_delete},
        {"begin", 3, take_begin},       {"checkpoint", 2, take_checkpoint},
        {"relation", 4, take_relation}, {"truncate", 4, take_truncate},
        {"keep", 4, take_keep},         {"range", 5, take_range},
        {"snapshot", 7, take_snapshot}, {"snapshot-end", 4, take_snapshot_end},
        {"define", 1, take_define},     {"message", 4, take_message},
        {"end", 1, take_end},
    };

    if (frame_is(f, "fail"))
        filter_upstream_failed(f);
    if (b->kind == STREAM_NONE) {
        take_start(b, f);
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!frame_is(f, kinds[i].type))
            continue;
        if (kinds[i].elements && f->elements != kinds[i].elements)
            frame_bad(f, "wrong number of elements");
        kinds[i].take(b, f);
        return kinds[i].take != take_end;
    }
    frame_bad(f, "a frame that this stage does not know; use the same release for all stages");
}
