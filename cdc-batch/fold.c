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
    buf_free(&f->key);
    buf_free(&f->old_key);
    buf_free(&f->values);
    arena_free(&f->arena);
}

void fold_reset(struct fold *f)
{
    for (struct table *t = f->changed; t; t = t->next) {
        HASH_CLEAR(hh, t->nets);
        t->events = NULL;
        t->events_end = &t->events;
        t->changed = t->cleared = false;
    }
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
        t->events_end = &t->events;
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
        t->next = NULL;
        *f->changed_end = t;
        f->changed_end = &t->next;
    }
    return NULL;
}

/* ------------------------------------------------------------------ keys */

/*
 * The key of a row. It is packed anew, never copied: one text must not have two encodings here.
 * A key column that is unchanged (a TOASTed one) is in old; PostgreSQL always sends that then.
 */
static const char *key_of(struct buf *key, const struct table *t, const struct row *row,
                          const struct row *old)
{
    msgpack_packer pk;

    buf_clear(key);
    buf_reserve(key, 1); /* even a row without columns has a key */
    pack_into(&pk, key);
    for (unsigned i = 0; i < t->nkey; i++) {
        const struct cell *c = &row->cells[t->key[i]];
        if (c->kind == CELL_UNCHANGED && old)
            c = &old->cells[t->key[i]];
        if (c->kind == CELL_TEXT)
            pack_str_n(&pk, c->text, c->len);
        else if (c->kind == CELL_NULL && t->keyless)
            msgpack_pack_nil(&pk);
        else
            return t->keyless ? "a row of a table without a key has an unchanged value"
                              : "a key column is missing; is it in the replica identity?";
    }
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
        (bad = key_of(&f->key, t, f->row, NULL)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->insert(f, t, at);
    return NULL;
}

static bool same_key(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

const char *fold_update(struct fold *f, struct table *t, struct position at, struct mp values,
                        struct mp old)
{
    const struct row *o = f->old;
    struct mp_token token;
    struct mp peek = old;
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->row, values, t->shape->ncolumns)))
        return bad;
    if (mp_next(&peek, &token) == 1 && token.type == MP_NIL) {
        if (t->keyless)
            return "an update in a table without a key needs the old row";
        o = NULL;
    } else if ((bad = row_open(f->old, old, t->shape->ncolumns)) ||
               (bad = key_of(&f->old_key, t, f->old, NULL))) {
        return bad;
    }
    if ((bad = key_of(&f->key, t, f->row, o)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->update(f, t, at, o, o && !same_key(&f->old_key, &f->key));
    return NULL;
}

const char *fold_delete(struct fold *f, struct table *t, struct position at, struct mp old)
{
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->old, old, t->shape->ncolumns)) ||
        (bad = key_of(&f->key, t, f->old, NULL)) || (bad = advance(f, t, at)))
        return bad;
    t->kind->remove(f, t, at);
    return NULL;
}

const char *fold_truncate(struct fold *f, struct table *t, struct position at)
{
    const char *bad = advance(f, t, at);

    if (!bad)
        t->kind->truncate(f, t, at);
    return bad;
}

const char *fold_whole_row(struct fold *f, const struct table *t, struct mp values)
{
    const char *bad = row_open(f->row, values, t->shape->ncolumns);

    if (!bad && f->row->unchanged)
        bad = "a row of a snapshot has an unchanged value";
    return bad;
}
