#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "kinds.h"
#include "row.h"
#include "stream.h"

void fold_init(struct fold *f)
{
    *f = (struct fold){0};
    f->row = mem_alloc(3 * sizeof *f->row);
    f->old = f->row + 1;
    f->before = f->row + 2;
    f->changed_end = &f->changed;
}

static void shape_free(struct table *t)
{
    relation_free(t->shape);
    free(t->key);
    buf_free(&t->definition);
}

/* The table has nothing in the part. */
static void forget(struct table *t)
{
    t->changed = t->cleared = false;
    t->nets = NULL;
    t->nnets = 0;
    t->events = NULL;
    t->events_end = &t->events;
}

void fold_free(struct fold *f)
{
    struct table *t, *next;

    fold_reset(f);
    HASH_ITER(hh, f->tables, t, next)
    {
        HASH_DEL(f->tables, t);
        shape_free(t);
        free(t);
    }
    for (int i = 0; i < 3; i++)
        row_free(&f->row[i]);
    free(f->row);
    nets_free(&f->nets);
    buf_free(&f->key_bytes);
    buf_free(&f->old_key_bytes);
    buf_free(&f->values);
    arena_free(&f->arena);
}

size_t fold_size(const struct fold *f)
{
    return f->arena.used + nets_size(&f->nets);
}

void fold_reset(struct fold *f)
{
    for (struct table *t = f->changed; t; t = t->next)
        forget(t);
    nets_reset(&f->nets);
    f->changed = NULL;
    f->changed_end = &f->changed;
    f->rows = 0;
    arena_reset(&f->arena);
}

/* ------------------------------------------------------------------ tables */

struct table *fold_table(struct fold *f, uint32_t oid)
{
    struct table *t;

    HASH_FIND(hh, f->tables, &oid, sizeof oid, t);
    return t;
}

static const struct kind *kind_of(const struct relation *shape)
{
    if (shape->append)
        return &kind_log;
    if (!shape->nkey)
        return &kind_multiset;
    return shape->soft ? &kind_soft : &kind_hard;
}

struct table *fold_shape(struct fold *f, struct relation *shape, struct mp definition)
{
    struct table *t = fold_table(f, shape->oid);

    if (t) {
        shape_free(t);
    } else {
        t = mem_alloc(sizeof *t);
        t->oid = shape->oid;
        forget(t);
        HASH_ADD(hh, f->tables, oid, sizeof t->oid, t);
    }
    t->shape = shape;
    t->shown = false;
    t->kind = kind_of(shape);
    buf_add(&t->definition, definition.p, mp_size(definition));
    t->keyless = shape->nkey == 0;
    t->nkey = 0;
    t->key = mem_alloc((shape->ncolumns + 1) * sizeof *t->key);
    for (unsigned i = 0; i < shape->ncolumns; i++)
        if (t->keyless || shape->columns[i].key)
            t->key[t->nkey++] = i;
    return t;
}

/* A change of the table is about to be folded. */
static const char *advance(struct fold *f, struct table *t, struct position at)
{
    if (at.lsn < t->last.lsn || (at.lsn == t->last.lsn && at.seq <= t->last.seq))
        return "the positions of a table go backwards";
    t->last = at;
    if (!t->changed) {
        t->changed = true;
        t->group = nets_group(&f->nets);
        t->next = NULL;
        *f->changed_end = t;
        f->changed_end = &t->next;
    }
    return NULL;
}

/* ------------------------------------------------------------------ keys */

/*
 * The key of a row, with one encoding for one text: if its columns stand side by side in the row,
 * and are packed as short as they can be, it is that piece of it; else it is packed anew, in bytes.
 * A key column that is unchanged (a TOASTed one) is in old; PostgreSQL always sends that then.
 */
static const char *key_of(struct mp *key, struct buf *bytes, const struct table *t,
                          const struct row *row, const struct row *old)
{
    bool piece = t->nkey && t->key[t->nkey - 1] - t->key[0] == t->nkey - 1;
    msgpack_packer pk;

    for (unsigned i = 0; i < t->nkey; i++) {
        const struct cell *c = &row->cells[t->key[i]];
        if (c->kind == CELL_UNCHANGED && old) {
            c = &old->cells[t->key[i]];
            piece = false;
        }
        if (c->kind == CELL_UNCHANGED || (c->kind == CELL_NULL && !t->keyless))
            return t->keyless ? "a row of a table without a key has an unchanged value"
                              : "a key column is missing; is it in the replica identity?";
        piece = piece && c->shortest;
    }
    if (piece) {
        *key = (struct mp){row->cells[t->key[0]].raw.p, row->cells[t->key[t->nkey - 1]].raw.end};
        return NULL;
    }
    buf_clear(bytes);
    buf_reserve(bytes, 1); /* even a row without columns has a key */
    pack_into(&pk, bytes);
    for (unsigned i = 0; i < t->nkey; i++) {
        const struct cell *c = &row->cells[t->key[i]];
        if (c->kind == CELL_UNCHANGED)
            c = &old->cells[t->key[i]];
        if (c->kind == CELL_TEXT)
            pack_str_n(&pk, c->text, c->len);
        else
            msgpack_pack_nil(&pk);
    }
    *key = (struct mp){(const unsigned char *)bytes->data,
                       (const unsigned char *)bytes->data + bytes->len};
    return NULL;
}

/* ------------------------------------------------------------------ changes */

static const char *can_change_rows(const struct table *t)
{
    if (t->shape->identity == 'n')
        return "an update or delete in a table with REPLICA IDENTITY NOTHING";
    if (t->keyless && t->shape->identity != 'f')
        return "an update or delete in a table without a key needs REPLICA IDENTITY FULL";
    return NULL;
}

const char *fold_insert(struct fold *f, struct table *t, struct position at, struct mp values)
{
    const char *bad;

    if ((bad = row_open(f->row, values, t->shape->ncolumns)) ||
        (bad = key_of(&f->key, &f->key_bytes, t, f->row, NULL)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->insert(f, t);
    return NULL;
}

static bool same_key(struct mp a, struct mp b)
{
    return mp_size(a) == mp_size(b) && !memcmp(a.p, b.p, mp_size(a));
}

const char *fold_update(struct fold *f, struct table *t, struct position at, struct mp rows)
{
    const struct row *o = f->old;
    struct mp_token token;
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->row, rows, t->shape->ncolumns)))
        return bad;
    struct mp old = {f->row->raw.end, rows.end}, peek = old;
    if (mp_next(&peek, &token) == 1 && token.type == MP_NIL) {
        if (t->keyless)
            return "an update in a table without a key needs the old row";
        o = NULL;
    } else if ((bad = row_open(f->old, old, t->shape->ncolumns)) ||
               (bad = key_of(&f->old_key, &f->old_key_bytes, t, f->old, NULL))) {
        return bad;
    }
    if ((bad = key_of(&f->key, &f->key_bytes, t, f->row, o)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->update(f, t, o, o && !same_key(f->old_key, f->key));
    return NULL;
}

const char *fold_delete(struct fold *f, struct table *t, struct position at, struct mp old)
{
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->old, old, t->shape->ncolumns)) ||
        (bad = key_of(&f->key, &f->key_bytes, t, f->old, NULL)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->remove(f, t);
    return NULL;
}

const char *fold_truncate(struct fold *f, struct table *t, struct position at)
{
    const char *bad = advance(f, t, at);

    if (!bad)
        t->kind->truncate(f, t);
    return bad;
}
