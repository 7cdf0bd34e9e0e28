#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "figures.h"
#include "fnv.h"
#include "msg.h"
#include "value.h"

struct rows {
    struct file *file;
    struct parquet *parquet; /* the file's */
    bool strict;
    struct staged *to; /* NULL: no file is open */
    char *path;        /* of the file, as its frames have it */
    const struct shape *shape;
    const struct frame *frame;   /* of the current row, and where its values begin: to say */
    const unsigned char *values; /* in messages which row it is */
    struct value_scratch scratch;
    struct buf line;
};

/* ---- the files ---- */

/* The two columns that each kind of table has of its own. */
static const struct parquet_column own_columns[][2] = {
    [KEYED] = {{.name = "_removed", .type = PARQUET_BOOLEAN},
               {.name = "_unchanged", .type = PARQUET_INT32, .shape = PARQUET_LIST}},
    [MULTISET] = {{.name = "_cdc_row", .type = PARQUET_STRING},
                  {.name = "_count", .type = PARQUET_INT64}},
    [LOG] = {{.name = "_cdc_op", .type = PARQUET_STRING},
             {.name = "_cdc_unchanged", .type = PARQUET_STRING, .shape = PARQUET_LIST}},
};

struct parquet_column *rows_columns(const struct shape *s, size_t *n)
{
    struct parquet_column *c = mem_alloc((2 * (size_t)s->ncolumns + 6) * sizeof *c);
    size_t at = 0;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        c[at] = s->columns[i].parquet;
        c[at++].name = s->columns[i].staged;
    }
    for (unsigned i = 0; i < s->ncolumns; i++) {
        if (!s->columns[i].key)
            continue;
        c[at] = s->columns[i].parquet;
        c[at++].name = s->columns[i].carried;
    }
    c[at++] = own_columns[s->kind][0];
    c[at++] = own_columns[s->kind][1];
    c[at++] = (struct parquet_column){.name = "_cdc_lsn", .type = PARQUET_INT64};
    c[at++] = (struct parquet_column){.name = "_cdc_seq", .type = PARQUET_INT64};
    c[at++] = (struct parquet_column){.name = "_cdc_commit_time", .type = PARQUET_TIMESTAMP};
    c[at++] = (struct parquet_column){
        .name = "_cdc_unrepresentable", .type = PARQUET_STRING, .shape = PARQUET_MAP};
    *n = at;
    return c;
}

/* Where the columns that rows_columns appends stand. */
static size_t carried_at(const struct shape *s)
{
    return s->ncolumns;
}

static size_t special_at(const struct shape *s) /* the kind's own two; the others follow */
{
    return s->ncolumns + s->nkey;
}

enum {
    REMOVED = 0,
    UNCHANGED = 1, /* of a log, too */
    ROW = 0,
    COUNT = 1,
    OP = 0,
    LSN = 2,
    SEQ,
    COMMIT_TIME,
    UNREPRESENTABLE
};

struct rows *rows_new(struct file *file, bool strict)
{
    struct rows *r = mem_alloc(sizeof *r);
    r->file = file;
    r->parquet = file_parquet(file);
    r->strict = strict;
    return r;
}

void rows_free(struct rows *r)
{
    value_scratch_free(&r->scratch);
    free(r->path);
    buf_free(&r->line);
    free(r);
}

const struct staged *rows_open_for(const struct rows *r)
{
    return r->to;
}

void rows_open(struct rows *r, struct staged *to, char *name)
{
    free(r->path);
    r->path = to->folder ? mem_printf("%s/%s", to->folder, name) : mem_strdup(name);
    r->to = to;
    r->shape = to->shape;
    file_open(r->file, r->path, r->shape->staged, r->shape->nstaged, r->shape->source);
    staged_add_file(to, name);
}

void rows_close(struct rows *r)
{
    if (!r->to)
        return;
    r->to->files[r->to->nfiles - 1].rows += file_close(r->file);
    r->to = NULL;
}

/* ---- rows ---- */

enum value_kind { VALUE, NULL_VALUE, UNCHANGED_VALUE };

enum { NO_BOUND = STAGED_BOUNDS }; /* a key column that has none */

static enum value_kind next_value(struct frame *f, struct mp_token *t)
{
    if (mp_next(&f->body, t) != 1)
        frame_bad(f, "it ends too early");
    if (t->type == MP_STR || t->type == MP_BIN)
        return VALUE;
    if (t->type == MP_NIL)
        return NULL_VALUE;
    if (t->type != MP_EXT || t->ext != MP_EXT_UNCHANGED)
        frame_bad(f, "a value is a string, nil or unchanged");
    return UNCHANGED_VALUE;
}

/* " key=1 key2=x": which row it is. */
static void show_key(const struct rows *r, struct buf *b)
{
    struct mp cursor = {r->values, r->frame->body.end};
    struct mp_token t;
    for (unsigned i = 0; i < r->shape->ncolumns && mp_next(&cursor, &t) == 1; i++) {
        if (!r->shape->relation->columns[i].key || (t.type != MP_STR && t.type != MP_BIN))
            continue;
        buf_printf(b, " %s=", r->shape->columns[i].name);
        value_show(b, (const char *)t.data, t.len);
    }
}

static _Noreturn void die_of_value(const struct rows *r, const struct target_column *c,
                                   const struct mp_token *t, const char *what)
{
    struct buf text = {0};
    buf_printf(&text, "%s table=%s column=%s type=%s value=", what, r->shape->source, c->name,
               c->type);
    value_show(&text, (const char *)t->data, t->len);
    buf_str(&text, " key:");
    show_key(r, &text);
    msg_die(EX_DATAERR, "%s", text.data);
}

static void put_unrepresentable(struct rows *r, const struct target_column *c,
                                const struct mp_token *t)
{
    if (r->strict)
        die_of_value(r, c, t,
                     "a value cannot be held by its column: to go on, run once with "
                     "--on-unrepresentable null, which keeps its text aside");
    merge_figures[MERGE_UNREPRESENTABLE].value++;
    union parquet_value name = {.bytes = {c->name, strlen(c->name)}};
    union parquet_value text = {.bytes = {t->data, t->len}};
    parquet_put_entry(r->parquet, special_at(r->shape) + UNREPRESENTABLE, &name, &text);
}

static void put_value(struct rows *r, size_t column, const struct target_column *c,
                      const struct mp_token *t)
{
    union parquet_value v;
    switch (value_put(&r->scratch, r->parquet, column, c, t->data, t->len, &v)) {
    case CONVERT_OK:
        break;
    case CONVERT_UNREPRESENTABLE:
        put_unrepresentable(r, c, t);
        break;
    case CONVERT_BAD:
        die_of_value(r, c, t, "a value is not what PostgreSQL prints for its type");
    }
}

static void put_key(struct rows *r, size_t column, const struct target_column *c, unsigned number,
                    enum value_kind kind, const struct mp_token *t, const struct frame *f)
{
    union parquet_value v;
    if (kind != VALUE)
        frame_bad(f, "a value of the key is missing");
    switch (value_put(&r->scratch, r->parquet, column, c, t->data, t->len, &v)) {
    case CONVERT_OK:
        break;
    case CONVERT_UNREPRESENTABLE:
        die_of_value(r, c, t,
                     "a value of the key cannot be held by its column: leave the table out "
                     "(pgcdc-read --exclude)");
    case CONVERT_BAD:
        die_of_value(r, c, t, "a value is not what PostgreSQL prints for its type");
    }
    staged_bound(r->to, number, &c->parquet, &v);
}

static void expect_values(struct rows *r, struct frame *f)
{
    if (frame_array(f) != r->shape->ncolumns)
        frame_bad(f, "it has not as many values as the table has columns");
    r->frame = f;
    r->values = f->body.p;
}

struct staged_position rows_position(struct frame *f)
{
    struct staged_position p;
    p.lsn = frame_uint(f);
    p.seq = frame_uint(f);
    p.time = frame_int(f);
    if (p.lsn > INT64_MAX || p.seq > INT64_MAX)
        frame_bad(f, "a position is too large");
    return p;
}

static void put_position(struct rows *r, const struct staged_position *p)
{
    size_t at = special_at(r->shape);
    parquet_put(r->parquet, at + LSN, &(union parquet_value){.i = (int64_t)p->lsn});
    parquet_put(r->parquet, at + SEQ, &(union parquet_value){.i = (int64_t)p->seq});
    parquet_put(r->parquet, at + COMMIT_TIME, &(union parquet_value){.i = p->time});
}

static void expect(const struct frame *f, bool right)
{
    if (!right)
        frame_bad(f, "the table is of another kind: its key, --mode and --delete say which rows it "
                     "has");
}

/* Of texts one after the other. */
static uint64_t hash_more(uint64_t hash, const struct mp_token *t)
{
    for (size_t i = 0; i < t->len; i++)
        hash = fnv_step(hash, (unsigned char)t->data[i]);
    return fnv_step(hash, 0x100); /* no byte: here it ends */
}

static uint64_t hash_of_key(const struct rows *r, const struct frame *f)
{
    struct mp cursor = {r->values, f->body.p};
    struct mp_token t;
    uint64_t hash = FNV_START;
    for (unsigned i = 0; i < r->shape->ncolumns && mp_next(&cursor, &t) == 1; i++)
        if (r->shape->columns[i].key)
            hash = hash_more(hash, &t);
    return hash;
}

/* The keys under which unchanged values of the row are known. */
static void take_carry(struct rows *r, struct frame *f, bool unchanged)
{
    const struct shape *s = r->shape;
    struct mp whole = frame_any(f), cursor = whole;
    struct mp_token t;
    if (mp_next(&cursor, &t) != 1 || t.type == MP_NIL || !unchanged)
        return;
    struct frame inner = *f;
    inner.body = whole;
    if (frame_array(&inner) != s->nkey)
        frame_bad(f, "`carry` has not as many values as the key");
    size_t at = carried_at(s);
    uint64_t key = hash_of_key(r, f), carried = FNV_START;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        if (!s->columns[i].key)
            continue;
        enum value_kind kind = next_value(&inner, &t);
        put_key(r, at++, &s->columns[i], NO_BOUND, kind, &t, f);
        carried = hash_more(carried, &t);
    }
    staged_carry(r->to, key, carried);
}

/* Whether there is an unchanged one among its values. */
static bool put_values(struct rows *r, struct frame *f)
{
    const struct shape *s = r->shape;
    bool unchanged = false;
    expect_values(r, f);
    unsigned keys = 0;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const struct target_column *c = &s->columns[i];
        struct mp_token t;
        enum value_kind kind = next_value(f, &t);
        if (c->key) {
            put_key(r, i, c, keys++, kind, &t, f);
        } else if (kind == VALUE) {
            put_value(r, i, c, &t);
        } else if (kind == UNCHANGED_VALUE) {
            unchanged = true;
            parquet_put(r->parquet, special_at(s) + UNCHANGED,
                        &(union parquet_value){.i = c->attnum});
            staged_set_unchanged(r->to, c->attnum);
        }
    }
    return unchanged;
}

static void end_keyed(struct rows *r, const struct staged_position *p, bool removed)
{
    parquet_put(r->parquet, special_at(r->shape) + REMOVED, &(union parquet_value){.i = removed});
    put_position(r, p);
    file_end_row(r->file);
}

static void put_row(struct rows *r, struct frame *f, bool removed)
{
    struct staged_position p = rows_position(f);
    bool unchanged = put_values(r, f);
    take_carry(r, f, unchanged);
    end_keyed(r, &p, removed);
}

void rows_upsert(struct rows *r, struct frame *f)
{
    expect(f, r->shape->kind == KEYED);
    put_row(r, f, false);
}

void rows_retire(struct rows *r, struct frame *f)
{
    expect(f, r->shape->soft);
    put_row(r, f, true);
}

/* Its key alone. */
static void put_removed(struct rows *r, struct frame *f)
{
    const struct shape *s = r->shape;
    struct staged_position p = rows_position(f);
    expect_values(r, f);
    unsigned keys = 0;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        struct mp_token t;
        enum value_kind kind = next_value(f, &t);
        if (s->columns[i].key)
            put_key(r, i, &s->columns[i], keys++, kind, &t, f);
    }
    end_keyed(r, &p, true);
}

void rows_remove(struct rows *r, struct frame *f)
{
    expect(f, r->shape->kind == KEYED && !r->shape->soft);
    put_removed(r, f);
}

void rows_keep(struct rows *r, struct frame *f)
{
    expect(f, r->shape->kind == KEYED && r->to->folder);
    put_removed(r, f);
}

/* Adds a value to the row's text. */
static void put_text(struct rows *r, unsigned i, enum value_kind kind, const struct mp_token *t)
{
    if (i > 0)
        buf_char(&r->line, '\t');
    if (kind == NULL_VALUE)
        buf_str(&r->line, "\\N");
    else
        value_put_copy(&r->line, t->data, t->len);
}

/* The values of a row without a key, and its text. */
static void put_equal(struct rows *r, struct frame *f)
{
    const struct shape *s = r->shape;
    expect_values(r, f);
    buf_clear(&r->line);
    for (unsigned i = 0; i < s->ncolumns; i++) {
        struct mp_token t;
        enum value_kind kind = next_value(f, &t);
        if (kind == UNCHANGED_VALUE)
            frame_bad(f, "a row of a table without a key has an unchanged value");
        if (kind == VALUE)
            put_value(r, i, &s->columns[i], &t);
        if (s->texts)
            put_text(r, i, kind, &t);
    }
    if (!s->texts)
        return;
    union parquet_value row = {.bytes = {r->line.data, r->line.len}};
    if (s->ncolumns == 0)
        row.bytes.data = "";
    parquet_put(r->parquet, special_at(s) + ROW, &row);
}

static void end_counted(struct rows *r, const struct staged_position *p, int64_t count)
{
    parquet_put(r->parquet, special_at(r->shape) + COUNT, &(union parquet_value){.i = count});
    put_position(r, p);
    file_end_row(r->file);
}

void rows_net(struct rows *r, struct frame *f)
{
    expect(f, r->shape->kind == MULTISET);
    struct staged_position p = rows_position(f);
    put_equal(r, f);
    int64_t count = frame_int(f);
    if (count == 0)
        frame_bad(f, "a row is neither added nor removed");
    if (count < 0 && !r->shape->texts)
        frame_bad(f, "a row without a key is removed, and the replica identity is not full");
    r->to->removes |= count < 0;
    r->to->copies |= count > 1;
    r->to->added += count > 0 ? (uint64_t)count : 0;
    end_counted(r, &p, count);
}

static void put_event(struct rows *r, struct frame *f, const struct staged_position *p,
                      const char *op)
{
    const struct shape *s = r->shape;
    size_t special = special_at(s);
    parquet_put(r->parquet, special + OP, &(union parquet_value){.bytes = {op, 1}});
    expect_values(r, f);
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const char *name = s->columns[i].name;
        struct mp_token t;
        enum value_kind kind = next_value(f, &t);
        if (kind == VALUE)
            put_value(r, i, &s->columns[i], &t);
        else if (kind == UNCHANGED_VALUE && *op == 'r')
            frame_bad(f, "a row of a snapshot has an unchanged value");
        else if (kind == UNCHANGED_VALUE)
            parquet_put(r->parquet, special + UNCHANGED,
                        &(union parquet_value){.bytes = {name, strlen(name)}});
    }
    put_position(r, p);
    file_end_row(r->file);
}

void rows_event(struct rows *r, struct frame *f)
{
    size_t len;
    expect(f, r->shape->kind == LOG);
    struct staged_position p = rows_position(f);
    const char *op = frame_str(f, &len);
    if (len != 1 || !memchr("riudt", *op, 5))
        frame_bad(f, "an event is one of r, i, u, d and t");
    put_event(r, f, &p, op);
}

void rows_read(struct rows *r, struct frame *f)
{
    struct staged_position p = {.lsn = frame_uint(f)};
    p.time = frame_int(f);
    if (p.lsn > INT64_MAX)
        frame_bad(f, "a position is too large");
    expect(f, r->to->folder);
    for (unsigned n = f->elements - 3; n; n--) {
        switch (r->shape->kind) {
        case KEYED:
            if (put_values(r, f))
                frame_bad(f, "a row of a snapshot has an unchanged value");
            end_keyed(r, &p, false);
            break;
        case MULTISET:
            put_equal(r, f);
            r->to->added++;
            end_counted(r, &p, 1);
            break;
        case LOG:
            put_event(r, f, &p, "r");
            break;
        }
    }
}
