#include "batches.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "sql.h"
#include "sql_columns.h"

/* The batch of the changes (owner 0), or of the snapshot of one table: they are open side by side.
 */
struct open_batch {
    struct open_batch *next;
    uint64_t owner;
    struct staged *staged;
};

struct batches {
    struct batches_options options;
    const struct start *start;
    struct tables *tables;
    struct stream_out *out;
    struct rows *rows;
    char *folder; /* staging/run */
    struct open_batch *open;
    struct open_batch *part; /* the batch of the part that is open, or NULL */
    uint64_t files;          /* so far in this run */
    uint64_t last;
    lsn_t lsn;
    struct buf sql;
};

struct batches *batches_new(const struct batches_options *options, const struct start *start,
                            struct tables *tables, struct stream_out *out)
{
    struct batches *b = mem_alloc(sizeof *b);
    b->options = *options;
    b->start = start;
    b->tables = tables;
    b->out = out;
    b->rows = rows_new(out, options->strict);
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
    free(b->folder);
    buf_free(&b->sql);
    free(b);
}

uint64_t batches_last(const struct batches *b, lsn_t *lsn)
{
    *lsn = b->lsn;
    return b->last;
}

static struct open_batch *batch_of(struct batches *b, uint64_t owner)
{
    struct open_batch *o = b->open;
    while (o && o->owner != owner)
        o = o->next;
    if (!o) {
        o = mem_alloc(sizeof *o);
        o->owner = owner;
        o->next = b->open;
        b->open = o;
    }
    return o;
}

/* ---- the load frame ---- */

/* An array of strings; what goes between each two is not known here. */
static void pack_statement(msgpack_packer *pk, const struct buf *sql)
{
    size_t holes = 0;
    for (size_t i = 0; i < sql->len; i++)
        holes += sql->data[i] == SQL_PERMIT;
    msgpack_pack_array(pk, holes + 1);
    const char *p = sql->data, *end = p + sql->len;
    for (; holes > 0; holes--) {
        const char *hole = memchr(p, SQL_PERMIT, (size_t)(end - p));
        pack_str_n(pk, p, (size_t)(hole - p));
        p = hole + 1;
    }
    pack_str_n(pk, p, (size_t)(end - p));
}

static void pack_columns(msgpack_packer *pk, const struct shape *s)
{
    const char *name, *type;
    size_t added = 0;
    while (sql_added_column(s, added, &type))
        added++;
    msgpack_pack_array(pk, s->ncolumns + added);
    for (unsigned i = 0; i < s->ncolumns; i++) {
        msgpack_pack_array(pk, 3);
        pack_str(pk, s->columns[i].name);
        pack_str(pk, s->columns[i].type);
        msgpack_pack_int(pk, s->columns[i].attnum);
    }
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++) {
        msgpack_pack_array(pk, 3);
        pack_str(pk, name);
        pack_str(pk, type);
        msgpack_pack_int(pk, 0);
    }
}

static void pack_key(msgpack_packer *pk, const struct shape *s)
{
    msgpack_pack_array(pk, s->nkey);
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (s->columns[i].key)
            pack_str(pk, s->columns[i].name);
}

/* Delta takes these in a column's name only with column mapping. */
static bool needs_column_mapping(const struct shape *s)
{
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (strpbrk(s->columns[i].name, " ,;{}()\n\t="))
            return true;
    return false;
}

enum { MAX_PROPERTIES = 7 };

/* What a table that we make says of itself. `batch` and `source` are buffers for the texts. */
static size_t make_properties(const struct batches *b, const struct staged *s,
                              struct sql_property *p, struct buf *source, struct buf *batch)
{
    size_t n = 0;
    buf_printf(source, "%s/%s", b->start->source.system, b->start->source.database);
    p[n++] = (struct sql_property){"pgcdc.pipeline", b->start->pipeline};
    p[n++] = (struct sql_property){"pgcdc.source", source->data};
    p[n++] = (struct sql_property){"pgcdc.table", s->table->source};
    p[n++] = (struct sql_property){"pgcdc.mode", s->table->shape->kind == LOG ? "append" : "merge"};
    p[n++] = (struct sql_property){"pgcdc.deletes", s->table->shape->soft ? "soft" : "hard"};
    if (batch->len > 0)
        p[n++] = (struct sql_property){"pgcdc.batch", batch->data};
    if (needs_column_mapping(s->table->shape))
        p[n++] = (struct sql_property){"delta.columnMapping.mode", "name"};
    return n;
}

/* `batch`: of a snapshot, the text that tells its table from one that was there before. */
static void pack_step(struct batches *b, msgpack_packer *pk, const struct staged *s,
                      struct buf *batch)
{
    const struct sql_place place = {b->options.catalog, b->folder};
    const struct shape *shape = s->table->shape;
    struct sql_property properties[MAX_PROPERTIES];
    struct buf source = {0};
    bool snapshot = batch->len > 0;
    size_t n = make_properties(b, s, properties, &source, batch);

    msgpack_pack_map(pk, snapshot ? 9 : 8);
    pack_str(pk, "table");
    msgpack_pack_array(pk, 3);
    pack_str(pk, b->options.catalog);
    pack_str(pk, s->table->schema);
    pack_str(pk, s->table->name);
    pack_str(pk, "source");
    pack_str(pk, s->table->source);
    pack_str(pk, "columns");
    pack_columns(pk, shape);
    pack_str(pk, "key");
    pack_key(pk, shape);
    pack_str(pk, "properties");
    msgpack_pack_map(pk, n);
    for (size_t i = 0; i < n; i++) {
        pack_str(pk, properties[i].key);
        pack_str(pk, properties[i].value);
    }
    pack_str(pk, "files");
    msgpack_pack_array(pk, s->nfiles);
    for (size_t i = 0; i < s->nfiles; i++)
        pack_str(pk, s->files[i].name);
    pack_str(pk, "rows");
    msgpack_pack_uint64(pk, staged_rows(s));
    if (snapshot) {
        buf_clear(&b->sql);
        sql_create(&b->sql, &place, s, properties, n);
        pack_str(pk, "create");
        pack_statement(pk, &b->sql);
    }
    buf_clear(&b->sql);
    if (snapshot)
        sql_replace(&b->sql, &place, s);
    else
        sql_change(&b->sql, &place, s);
    pack_str(pk, "apply");
    pack_statement(pk, &b->sql);
    buf_free(&source);
}

static void pack_number(msgpack_packer *pk, const char *key, uint64_t v)
{
    pack_str(pk, key);
    msgpack_pack_uint64(pk, v);
}

static void pack_steps(struct batches *b, msgpack_packer *pk, const struct staged *list,
                       struct buf *batch)
{
    size_t n = 0;
    for (const struct staged *s = list; s; s = s->next)
        n++;
    pack_str(pk, "steps");
    msgpack_pack_array(pk, n);
    for (const struct staged *s = list; s; s = s->next)
        pack_step(b, pk, s, batch);
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
    struct buf none = {0};
    uint64_t number = frame_uint(f), from = frame_uint(f), lsn = frame_uint(f);
    int64_t time = frame_int(f);
    msgpack_packer *pk = stream_frame(b->out, "load", 1);
    msgpack_pack_map(pk, 5);
    pack_number(pk, "batch", number);
    pack_number(pk, "from", from);
    pack_number(pk, "lsn", lsn);
    pack_str(pk, "time");
    msgpack_pack_int64(pk, time);
    pack_steps(b, pk, batch_of(b, 0)->staged, &none);
    stream_done(b->out);
    close_batch(b, 0);
    b->last = number;
    b->lsn = lsn;
}

static struct table *take_table(struct batches *b, struct frame *f)
{
    struct table *t = tables_find(b->tables, frame_uint(f));
    if (!t)
        frame_bad(f, "no relation frame has come for the table");
    return t;
}

static void end_snapshot(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    struct buf id = {0};
    uint64_t number = frame_uint(f);
    struct table *t = take_table(b, f);
    uint64_t attempt = frame_uint(f), lsn = frame_uint(f);
    int64_t time = frame_int(f);
    const struct relation *r = t->shape->relation;
    struct open_batch *o = batch_of(b, t->oid);
    /* there is a step for an empty table, too */
    staged_of(&o->staged, t)->as_of = (struct staged_position){lsn, 0, time};
    buf_printf(&id, "%s-%" PRIu64, b->start->run, number);

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
    pack_steps(b, pk, o->staged, &id);
    stream_done(b->out);
    close_batch(b, t->oid);
    b->last = number;
    buf_free(&id);
}

/* ---- parts ---- */

static void begin_part(struct batches *b, struct frame *f)
{
    expect_no_part(b, f);
    frame_uint(f); /* its number */
    b->part = batch_of(b, frame_uint(f));
}

static void end_part(struct batches *b, struct frame *f)
{
    if (!b->part)
        frame_bad(f, "no part is open");
    rows_close(b->rows);
    b->part = NULL;
}

static struct staged *take_staged(struct batches *b, struct frame *f)
{
    if (!b->part)
        frame_bad(f, "it stands outside of a part");
    return staged_of(&b->part->staged, take_table(b, f));
}

static void take_clear(struct batches *b, struct frame *f)
{
    struct staged *s = take_staged(b, f);
    struct staged_position at = rows_position(f);
    if (s->table->shape->kind == LOG)
        frame_bad(f, "a table that is appended to keeps its rows");
    rows_close(b->rows);
    staged_clear(s, &at);
}

static void take_row(struct batches *b, struct frame *f,
                     void (*take)(struct rows *r, struct frame *f))
{
    struct staged *s = take_staged(b, f);
    if (rows_open_for(b->rows) != s) {
        rows_close(b->rows);
        rows_open(b->rows, s,
                  mem_printf("%" PRIu64 "-%" PRIu32 ".parquet", ++b->files, s->table->oid));
    }
    take(b->rows, f);
}

static void take_relation(struct batches *b, struct frame *f)
{
    struct relation *r = relation_unpack(f);
    for (unsigned i = 0; i < r->ncolumns; i++)
        if (r->columns[i].attnum > ATTNUM_MAX)
            frame_bad(f, "an attnum is from 1 to 1600");
    rows_close(b->rows); /* the next row may have another shape */
    tables_add(b->tables, r);
    stream_forward(b->out, f);
}

static void take_message(struct batches *b, struct frame *f)
{
    stream_forward(b->out, f);
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

bool batches_take(struct batches *b, struct frame *f)
{
    static const struct {
        const char *type;
        unsigned elements;
        void (*take)(struct batches *b, struct frame *f);
    } kinds[] = {
        {"upsert", 6, take_upsert},     {"remove", 5, take_remove},
        {"net", 6, take_net},           {"event", 6, take_event},
        {"retire", 6, take_retire},     {"clear", 4, take_clear},
        {"part", 2, begin_part},        {"part-end", 2, end_part},
        {"relation", 4, take_relation}, {"message", 4, take_message},
        {"batch", 4, end_batch},        {"snapshot-batch", 6, end_snapshot},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!frame_is(f, kinds[i].type))
            continue;
        if (f->elements != kinds[i].elements)
            frame_bad(f, "wrong number of elements");
        kinds[i].take(b, f);
        return true;
    }
    return false;
}
