#include "fold.h"

#include <stdlib.h>
#include <string.h>

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
        t->changed = t->cleared = false;
    }
    f->changed = NULL;
    f->changed_end = &f->changed;
    f->nets = 0;
    arena_reset(&f->arena);
}

/* ------------------------------------------------------------------ tables */

struct table *fold_table(struct fold *f, uint32_t oid)
{
    struct table *t;

    HASH_FIND(hh, f->tables, &oid, sizeof oid, t);
    return t;
}

void fold_shape(struct fold *f, struct relation *shape, struct mp definition)
{
    struct table *t = fold_table(f, shape->oid);

    if (t) {
        shape_free(t);
    } else {
        t = mem_alloc(sizeof *t);
        t->oid = shape->oid;
        HASH_ADD(hh, f->tables, oid, sizeof t->oid, t);
    }
    t->shape = shape;
    buf_add(&t->definition, definition.p, mp_size(definition));
    t->keyless = shape->nkey == 0;
    t->nkey = 0;
    t->key = mem_alloc((shape->ncolumns + 1) * sizeof *t->key);
    for (unsigned i = 0; i < shape->ncolumns; i++)
        if (t->keyless || shape->columns[i].key)
            t->key[t->nkey++] = i;
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

/* ------------------------------------------------------------------ keys and net changes */

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

static struct net *find(const struct table *t, const struct buf *key)
{
    struct net *n;

    HASH_FIND(hh, t->nets, key->data, (unsigned)key->len, n);
    return n;
}

static struct net *find_or_add(struct fold *f, struct table *t, const struct buf *key)
{
    struct net *n = find(t, key);

    if (n)
        return n;
    n = arena_alloc(&f->arena, sizeof *n);
    const unsigned char *p = arena_copy(&f->arena, key->data, key->len);
    *n = (struct net){.kind = NET_REMOVE, .key = {p, p + key->len}, .origin = n};
    HASH_ADD_KEYPTR(hh, t->nets, n->key.p, (unsigned)key->len, n);
    f->nets++;
    return n;
}

static void set_upsert(struct fold *f, struct net *n, struct position at, struct mp values,
                       bool unchanged, const struct net *origin)
{
    n->size = mp_size(values);
    if (n->room < n->size) {
        n->values = arena_alloc(&f->arena, n->size);
        n->room = n->size;
    }
    memcpy(n->values, values.p, n->size);
    n->kind = NET_UPSERT;
    n->at = at;
    n->unchanged = unchanged;
    n->origin = origin;
}

static void set_remove(struct net *n, struct position at)
{
    n->kind = NET_REMOVE;
    n->at = at;
    n->origin = n;
}

static void add_copies(struct fold *f, struct table *t, const struct buf *key, struct position at,
                       int64_t copies)
{
    struct net *n = find_or_add(f, t, key);

    n->kind = NET_COUNT;
    n->at = at;
    n->count += copies;
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
    if (t->keyless) {
        add_copies(f, t, &f->key, at, 1);
    } else {
        struct net *n = find_or_add(f, t, &f->key);
        set_upsert(f, n, at, values, f->row->unchanged, n);
    }
    return NULL;
}

/* Fills the unchanged values of f->row: from the old row if it carries them, else from what the
 * part holds of it. The result is in f->values; true if some stay unchanged. */
static bool fill(struct fold *f, const struct row *old, const struct net *before)
{
    bool unchanged = false;
    msgpack_packer pk;

    if (before && before->kind == NET_UPSERT)
        row_open(f->before, net_values(before), f->row->n); /* was opened before it was kept */
    else
        before = NULL;
    buf_clear(&f->values);
    pack_into(&pk, &f->values);
    msgpack_pack_array(&pk, f->row->n);
    for (unsigned i = 0; i < f->row->n; i++) {
        const struct cell *c = &f->row->cells[i];
        if (c->kind == CELL_UNCHANGED && old && old->cells[i].kind == CELL_TEXT)
            c = &old->cells[i];
        else if (c->kind == CELL_UNCHANGED && before)
            c = &f->before->cells[i];
        unchanged |= c->kind == CELL_UNCHANGED;
        pack_raw(&pk, c->raw);
    }
    return unchanged;
}

static void update_row(struct fold *f, struct table *t, struct position at, struct mp values,
                       const struct row *old, const struct buf *old_key)
{
    struct net *before = find_or_add(f, t, old_key);
    struct net *now = before;
    bool unchanged = f->row->unchanged;

    if (unchanged) {
        unchanged = fill(f, old, before);
        const unsigned char *p = (const unsigned char *)f->values.data;
        values = (struct mp){p, p + f->values.len};
    }
    /* read before set_remove: for a row that was not changed yet it is its own */
    const struct net *origin = before->origin;
    if (old_key != &f->key &&
        (old_key->len != f->key.len || memcmp(old_key->data, f->key.data, f->key.len) != 0)) {
        now = find_or_add(f, t, &f->key);
        set_remove(before, at);
    }
    set_upsert(f, now, at, values, unchanged, origin);
}

const char *fold_update(struct fold *f, struct table *t, struct position at, struct mp values,
                        struct mp old)
{
    const struct row *o = f->old;
    const struct buf *old_key = &f->old_key;
    struct mp_token token;
    struct mp peek = old;
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->row, values, t->shape->ncolumns)))
        return bad;
    if (mp_next(&peek, &token) == 1 && token.type == MP_NIL) {
        if (t->keyless)
            return "an update in a table without a key needs the old row";
        o = NULL;
        old_key = &f->key;
    } else if ((bad = row_open(f->old, old, t->shape->ncolumns)) ||
               (bad = key_of(&f->old_key, t, f->old, NULL))) {
        return bad;
    }
    if ((bad = key_of(&f->key, t, f->row, o)) || (bad = advance(f, t, at)))
        return bad;
    if (t->keyless) {
        add_copies(f, t, old_key, at, -1);
        add_copies(f, t, &f->key, at, 1);
    } else {
        update_row(f, t, at, values, o, old_key);
    }
    return NULL;
}

const char *fold_delete(struct fold *f, struct table *t, struct position at, struct mp old)
{
    const char *bad;

    if ((bad = can_change_rows(t)) || (bad = row_open(f->old, old, t->shape->ncolumns)) ||
        (bad = key_of(&f->key, t, f->old, NULL)) || (bad = advance(f, t, at)))
        return bad;
    if (t->keyless)
        add_copies(f, t, &f->key, at, -1);
    else
        set_remove(find_or_add(f, t, &f->key), at);
    return NULL;
}

const char *fold_truncate(struct fold *f, struct table *t, struct position at)
{
    const char *bad = advance(f, t, at);

    if (bad)
        return bad;
    f->nets -= HASH_COUNT(t->nets);
    HASH_CLEAR(hh, t->nets);
    t->cleared = true;
    t->clear = at;
    return NULL;
}

const char *fold_whole_row(struct fold *f, const struct table *t, struct mp values)
{
    const char *bad = row_open(f->row, values, t->shape->ncolumns);

    if (!bad && f->row->unchanged)
        bad = "a row of a snapshot has an unchanged value";
    return bad;
}
