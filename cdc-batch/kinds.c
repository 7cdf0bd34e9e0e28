#include "kinds.h"

#include "figures.h"

struct net *kinds_net(struct fold *f, struct table *t, struct mp key)
{
    bool made;
    struct net *n = nets_get(&f->nets, &f->arena, t->group, key, &made);

    if (made) {
        t->nnets++;
        f->rows++;
    } else {
        batch_figures[BATCH_FOLDED].value++;
        DL_DELETE(t->nets, n);
    }
    DL_APPEND(t->nets, n); /* positions that only grow are small differences in a file */
    return n;
}

void kinds_pack_key(msgpack_packer *pk, const struct table *t, struct mp key, bool unchanged)
{
    unsigned next = 0;

    msgpack_pack_array(pk, t->shape->ncolumns);
    for (unsigned i = 0; i < t->shape->ncolumns; i++) {
        if (next < t->nkey && t->key[next] == i) {
            struct mp value = {key.p, key.p};
            mp_skip(&key, STREAM_FRAME_MAX, NULL);
            value.end = key.p;
            pack_raw(pk, value);
            next++;
        } else if (unchanged) {
            pack_unchanged(pk);
        } else {
            msgpack_pack_nil(pk);
        }
    }
}

void kinds_void(struct fold *f, struct table *t)
{
    batch_figures[BATCH_FOLDED].value += t->nnets;
    f->rows -= t->nnets;
    t->nets = NULL;
    t->nnets = 0;
    t->group = nets_group(&f->nets); /* the keys begin anew */
    t->cleared = true;
    t->clear = t->last;
}

struct mp kinds_built(const struct fold *f)
{
    const unsigned char *p = (const unsigned char *)f->values.data;

    return (struct mp){p, p + f->values.len};
}

bool kinds_fill(struct fold *f, const struct row *old, const struct net *before)
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

/* ------------------------------------------------------------------ without a key */

static void add_copies(struct fold *f, struct table *t, struct mp key, int64_t copies)
{
    struct net *n = kinds_net(f, t, key);

    n->kind = NET_COUNT;
    n->at = t->last;
    n->count += copies;
}

static void add_row(struct fold *f, struct table *t)
{
    add_copies(f, t, f->key, 1);
}

static void change_row(struct fold *f, struct table *t, const struct row *old, bool moves)
{
    (void)old;
    (void)moves;
    add_copies(f, t, f->old_key, -1);
    add_copies(f, t, f->key, 1);
}

static void remove_row(struct fold *f, struct table *t)
{
    add_copies(f, t, f->key, -1);
}

const struct kind kind_multiset = {add_row, change_row, remove_row, kinds_void};
