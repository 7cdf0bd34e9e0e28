#include "batches.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "defaults.h"
#include "figures.h"
#include "msg.h"
#include "step.h"

/* The batch of the changes (owner 0), or of the snapshot of one table: they are open side by side.
 */
struct open_batch {
    struct open_batch *next;
    uint64_t owner;
    uint64_t attempt; /* of a snapshot */
    struct staged *staged;
    struct staged *changes; /* of the table since its snapshot, in steps of their own */
};

struct batches {
    struct batches_options options;
    const struct start *start;
    struct tables *tables;
    struct stream_out *out;
    struct file *file;
    struct rows *rows;
    char *folder; /* staging/run */
    struct open_batch *open;
    struct open_batch *part; /* the batch of the part that is open, or NULL */
    uint64_t files;          /* so far in this run */
    uint64_t last;
    lsn_t lsn;
};

struct batches *batches_new(const struct batches_options *options, const struct start *start,
                            struct tables *tables, struct stream_out *out)
{
    struct batches *b = mem_alloc(sizeof *b);
    b->options = *options;
    b->start = start;
    b->tables = tables;
    b->out = out;
    b->file = file_new(out);
    b->rows = rows_new(b->file, options->strict);
    b->folder = mem_printf("%s/%s", options->staging, start->run);
    return b;
}

static void close_batch(struct batches *b, uint64_t owner)
{
    for (struct open_batch **p = &b->open; *p; p = &(*p)->next) {
        struct open_batch *o = *p;
        if (o->owner != owner)
            continue;
        *p = o->next;
        staged_free(&o->staged);
        staged_free(&o->changes);
        free(o);
        return;
    }
}

void batches_free(struct batches *b)
{
    if (!b)
        return;
    while (b->open)
        close_batch(b, b->open->owner);
    rows_free(b->rows);
    file_free(b->file);
    free(b->folder);
    free(b);
}

uint64_t batches_last(const struct batches *b, lsn_t *lsn)
{
    *lsn = b->lsn;
    return b->last;
}

static struct open_batch *find_batch(const struct batches *b, uint64_t owner)
{
    struct open_batch *o = b->open;
    while (o && o->owner != owner)
        o = o->next;
    return o;
}

static struct open_batch *batch_of(struct batches *b, uint64_t owner)
{
    struct open_batch *o = find_batch(b, owner);
    if (!o) {
        o = mem_alloc(sizeof *o);
        o->owner = owner;
        o->next = b->open;
        b->open = o;
    }
    return o;
}

/* ---- the load frame ---- */

static void pack_number(msgpack_packer *pk, const char *key, uint64_t v)
{
    pack_str(pk, key);
    msgpack_pack_uint64(pk, v);
}

/* Of a snapshot, which has this id (or NULL), and of changes. */
static void pack_steps(const struct batches *b, msgpack_packer *pk, const struct staged *snapshot,
                       const char *id, const struct staged *changes)
{
    const struct step_options o = {b->options.catalog, b->options.staging, b->folder, b->start,
                                   b->options.drop};
    size_t n = snapshot != NULL;
    for (const struct staged *s = changes; s; s = s->next)
        n++;
    pack_str(pk, "steps");
    msgpack_pack_array(pk, n);
    if (snapshot)
        step_pack(pk, &o, snapshot, id);
    for (const struct staged *s = changes; s; s = s->next)
        step_pack(pk, &o, s, NULL);
}

static char *file_name(struct batches *b, const struct table *t)
{
    return mem_printf("%" PRIu64 "-%" PRIu32 ".parquet", ++b->files, t->oid);
}

/* The steps are to be taken in this order. */
static void stage_defaults(struct batches *b, struct staged *list)
{
    for (struct staged *s = list; s; s = s->next) {
        s->before = s->table->stepped;
        s->table->stepped = s->shape;
        if (s->before != s->shape && defaults_exist(s))
            defaults_stage(b->file, s, file_name(b, s->table));
    }
}

/* A batch closes between two parts. */
static void expect_no_part(const struct batches *b, const struct frame *f)
{
    if (b->part)
        frame_bad(f, "a part is open");
}

static void end_batch(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    struct staged *steps = batch_of(b, 0)->staged;
    uint64_t number = frame_uint(f), from = frame_uint(f), lsn = frame_uint(f);
    int64_t time = frame_int(f);
    stage_defaults(b, steps);
    msgpack_packer *pk = stream_frame(b->out, "load", 1);
    msgpack_pack_map(pk, 5);
    pack_number(pk, "batch", number);
    pack_number(pk, "from", from);
    pack_number(pk, "lsn", lsn);
    pack_str(pk, "time");
    msgpack_pack_int64(pk, time);
    pack_steps(b, pk, NULL, NULL, steps);
    stream_done(b->out);
    close_batch(b, 0);
    b->last = number;
    b->lsn = lsn;
    merge_figures[MERGE_BATCHES].value++;
}

static struct table *take_table(struct batches *b, struct frame *f)
{
    uint64_t oid = frame_uint(f);
    const struct staged *s = rows_open_for(b->rows); /* rows come table by table */
    struct table *t = s && s->table->oid == oid ? s->table : tables_find(b->tables, oid);
    if (!t)
        frame_bad(f, "no relation frame has come for the table");
    return t;
}

static char *snapshot_folder(const struct table *t, uint64_t attempt)
{
    return mem_printf("%" PRIu32 "-%" PRIu64, t->oid, attempt);
}

static void take_earlier(struct staged *s, struct frame *f)
{
    unsigned n = frame_array(f);
    if (n && s->shape->kind != KEYED)
        frame_bad(f, "only a snapshot of rows with a key goes on from earlier attempts");
    for (unsigned i = 0; i < n; i++) {
        if (frame_array(f) != 3)
            frame_bad(f, "an attempt is not run, number and layout");
        char *run = frame_strdup(f), *folder = snapshot_folder(s->table, frame_uint(f));
        if (frame_uint(f) != shape_layout(s->shape))
            msg_die(EX_CONFIG,
                    "a snapshot of %s was begun with other options, or by another release: go back "
                    "to those, or start over with pgcdc-read --refresh '%s'",
                    s->shape->source, s->shape->source);
        s->earlier = mem_realloc(s->earlier, (s->nearlier + 1) * sizeof *s->earlier);
        s->earlier[s->nearlier++] = mem_printf("%s/%s", run, folder);
        free(run);
        free(folder);
    }
}

/* As it came, and with the layout of its files. */
static void show_snapshot(struct batches *b, const struct table *t, struct frame *rest)
{
    msgpack_packer *pk = stream_frame(b->out, "snapshot", 8);
    msgpack_pack_uint32(pk, t->oid);
    for (unsigned i = 0; i < 6; i++)
        pack_raw(pk, frame_any(rest));
    msgpack_pack_uint64(pk, shape_layout(t->shape));
    stream_done(b->out);
}

static void begin_snapshot(struct batches *b, struct frame *f)
{
    struct frame rest;
    expect_no_part(b, f);
    struct table *t = take_table(b, f);
    for (const struct staged *s = batch_of(b, 0)->staged; s; s = s->next)
        if (s->table == t)
            frame_bad(f, "the open batch has changes of its table");
    if (find_batch(b, t->oid))
        frame_bad(f, "a snapshot of this table is open already");
    struct open_batch *o = batch_of(b, t->oid);
    struct staged *s = staged_of(&o->staged, t); /* there is a step for an empty table, too */
    rest = *f;
    o->attempt = frame_uint(f);
    s->folder = snapshot_folder(t, o->attempt);
    t->stepped = t->shape;
    frame_uint(f);
    frame_int(f);
    frame_uint(f);
    frame_uint(f);
    take_earlier(s, f);
    if (t->shape->kind == KEYED)
        show_snapshot(b, t, &rest);
}

/* Where rows do not tell each other apart, there is nothing to go on from. */
static void take_range(struct batches *b, struct frame *f)
{
    struct frame whole = *f;
    expect_no_part(b, f);
    if (take_table(b, f)->shape->kind == KEYED)
        stream_forward(b->out, &whole);
}

static void end_snapshot(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    uint64_t number = frame_uint(f);
    struct table *t = take_table(b, f);
    struct open_batch *o = find_batch(b, t->oid);
    uint64_t attempt = frame_uint(f), lsn = frame_uint(f);
    if (!o || o->attempt != attempt)
        frame_bad(f, "this snapshot is not open");
    int64_t time = frame_int(f);
    const struct relation *r = t->shape->relation;
    o->staged->as_of = (struct staged_position){lsn, 0, time};
    char *id = mem_printf("%s-%" PRIu64, b->start->run, number);

    msgpack_packer *pk = stream_frame(b->out, "load", 1);
    msgpack_pack_map(pk, 6);
    pack_number(pk, "batch", number);
    pack_number(pk, "from", 0);
    pack_number(pk, "lsn", 0);
    pack_str(pk, "time");
    msgpack_pack_int64(pk, time);
    pack_str(pk, "snapshot");
    msgpack_pack_map(pk, 6);
    pack_number(pk, "oid", t->oid);
    pack_number(pk, "attempt", attempt);
    pack_number(pk, "lsn", lsn);
    pack_str(pk, "schema");
    pack_str(pk, r->schema);
    pack_str(pk, "table");
    pack_str(pk, r->table);
    pack_number(pk, "relfilenode", r->relfilenode);
    pack_steps(b, pk, o->staged, id, o->changes);
    stream_done(b->out);
    close_batch(b, t->oid);
    b->last = number;
    merge_figures[MERGE_BATCHES].value++;
    free(id);
}

/* ---- parts ---- */

static void begin_part(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    frame_uint(f); /* its number */
    uint64_t owner = frame_uint(f);
    b->part = owner ? find_batch(b, owner) : batch_of(b, 0);
    if (!b->part)
        frame_bad(f, "no snapshot of this table is open");
    merge_figures[MERGE_PARTS].value++;
}

static void end_part(struct batches *b, struct frame *f)
{
    if (!b->part)
        frame_bad(f, "no part is open");
    rows_close(b->rows);
    b->part = NULL;
}

static void expect_part(const struct batches *b, const struct frame *f)
{
    if (!b->part)
        frame_bad(f, "it stands outside of a part");
}

/* Where rows of the open part belong, or, if none is open, a change of the shape. */
static struct staged *staged_for(struct batches *b, struct table *t)
{
    struct open_batch *o = b->part ? b->part : batch_of(b, 0);
    struct open_batch *snapshot = o->owner ? NULL : find_batch(b, t->oid);
    return staged_of(snapshot ? &snapshot->changes : &o->staged, t);
}

static void take_clear(struct batches *b, struct frame *f)
{
    expect_part(b, f);
    struct staged *s = staged_for(b, take_table(b, f));
    struct staged_position at = rows_position(f);
    if (s->shape->kind == LOG)
        frame_bad(f, "a table that is appended to keeps its rows");
    rows_close(b->rows);
    staged_clear(s, &at);
}

static void take_row(struct batches *b, struct frame *f,
                     void (*take)(struct rows *r, struct frame *f))
{
    expect_part(b, f);
    struct table *t = take_table(b, f);
    const struct staged *s = rows_open_for(b->rows);
    if (!s || s->table != t) {
        rows_close(b->rows);
        rows_open(b->rows, staged_for(b, t), file_name(b, t));
    }
    take(b->rows, f);
}

/* Columns are told apart by their attnums, and stand in the order of those. */
static void check_attnums(const struct relation *r, const struct frame *f)
{
    for (unsigned i = 0; i < r->ncolumns; i++)
        if (r->columns[i].attnum > ATTNUM_MAX ||
            (i > 0 && r->columns[i].attnum <= r->columns[i - 1].attnum))
            frame_bad(f, "attnums are from 1 to 1600, and go up");
}

static void take_relation(struct batches *b, struct frame *f)
{
    struct relation *r = relation_unpack(f);
    const struct table *t = tables_find(b->tables, r->oid);
    const struct shape *before = t ? t->shape : NULL;
    expect_no_part(b, f);
    check_attnums(r, f);
    t = tables_add(b->tables, r);
    if (before && before != t->shape && find_batch(b, t->oid))
        frame_bad(f, "a table gets another shape in the middle of its snapshot");
    stream_forward(b->out, f);
}

/* The shape makes a step, with rows or without. */
static void take_define(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    staged_for(b, take_table(b, f));
}

static void take_message(struct batches *b, struct frame *f)
{
    stream_forward(b->out, f);
}

static void take_keep(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_keep);
}

static void take_upsert(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_upsert);
}

static void take_remove(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_remove);
}

static void take_retire(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_retire);
}

static void take_event(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_event);
}

static void take_net(struct batches *b, struct frame *f)
{
    take_row(b, f, rows_net);
}

static void take_rows(struct batches *b, struct frame *f)
{
    if (f->elements < 4)
        frame_bad(f, "there are no rows");
    take_row(b, f, rows_read);
}

bool batches_take(struct batches *b, struct frame *f)
{
    static const struct {
        const char *type;
        unsigned elements; /* 0: any number */
        void (*take)(struct batches *b, struct frame *f);
    } kinds[] = {
        {"upsert", 6, take_upsert},      {"remove", 5, take_remove},
        {"keep", 5, take_keep},          {"net", 6, take_net},
        {"event", 6, take_event},        {"rows", 0, take_rows},
        {"retire", 6, take_retire},      {"clear", 4, take_clear},
        {"part", 2, begin_part},         {"part-end", 2, end_part},
        {"relation", 4, take_relation},  {"define", 1, take_define},
        {"batch", 4, end_batch},         {"snapshot-batch", 6, end_snapshot},
        {"snapshot", 7, begin_snapshot}, {"range", 5, take_range},
        {"message", 4, take_message},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!frame_is(f, kinds[i].type))
            continue;
        if (kinds[i].elements && f->elements != kinds[i].elements)
            frame_bad(f, "wrong number of elements");
        kinds[i].take(b, f);
        return true;
    }
    return false;
}
