/* Tables with a key: one net change per key. Deletes are hard or soft. */
#include <string.h>

#include "kinds.h"

static void set_row(struct fold *f, const struct table *t, struct net *n, enum net_kind kind,
                    struct mp values, bool unchanged, const struct net *origin)
{
    n->size = mp_size(values);
    if (n->room < n->size) {
        n->values = arena_alloc(&f->arena, n->size);
        n->room = n->size;
    }
    memcpy(n->values, values.p, n->size);
    n->kind = kind;
    n->at = t->last;
    n->unchanged = unchanged;
    n->origin = origin;
}

static void insert(struct fold *f, struct table *t)
{
    struct net *n = kinds_net(f, t, f->key);

    set_row(f, t, n, NET_UPSERT, f->row->raw, f->row->unchanged, n);
}

/* The row leaves its key: it was deleted, or has another key now. */
typedef void leave_fn(struct fold *f, const struct table *t, struct net *n, const struct row *old);

static void update(struct fold *f, struct table *t, const struct row *old, bool moves,
                   leave_fn *leave)
{
    struct net *before = kinds_net(f, t, moves ? f->old_key : f->key), *now = before;
    bool unchanged = f->row->unchanged;
    struct mp values = f->row->raw;

    if (unchanged) {
        unchanged = kinds_fill(f, old, before);
        values = kinds_built(f);
    }
    if (moves)
        now = kinds_net(f, t, f->key);
    /* for a row that was not changed yet, origin is before itself */
    set_row(f, t, now, NET_UPSERT, values, unchanged, before->origin);
    if (moves)
        leave(f, t, before, old);
}

/* ------------------------------------------------------------------ hard deletes */

static void leave_hard(struct fold *f, const struct table *t, struct net *n, const struct row *old)
{
    (void)f;
    (void)t;
    (void)old;
    n->kind = NET_REMOVE;
    n->at = t->last;
    n->origin = n;
}

static void update_hard(struct fold *f, struct table *t, const struct row *old, bool moves)
{
    update(f, t, old, moves, leave_hard);
}

static void remove_hard(struct fold *f, struct table *t)
{
    leave_hard(f, t, kinds_net(f, t, f->key), f->old);
}

const struct kind kind_hard = {insert, update_hard, remove_hard, kinds_void};

/* ------------------------------------------------------------------ soft deletes */

/* The last values of a row that is not in the part: the key's; the others are as they were. */
static void build_from_key(struct fold *f, const struct table *t, struct mp key)
{
    msgpack_packer pk;

    buf_clear(&f->values);
    pack_into(&pk, &f->values);
    kinds_pack_key(&pk, t, key, true);
}

static void leave_soft(struct fold *f, const struct table *t, struct net *n, const struct row *old)
{
    if (t->shape->identity == 'f') {
        set_row(f, t, n, NET_RETIRE, old->raw, old->unchanged, n);
    } else if (n->values) {
        n->kind = NET_RETIRE;
        n->at = t->last;
    } else {
        build_from_key(f, t, n->key);
        set_row(f, t, n, NET_RETIRE, kinds_built(f), t->nkey < t->shape->ncolumns, n);
    }
}

static void update_soft(struct fold *f, struct table *t, const struct row *old, bool moves)
{
    update(f, t, old, moves, leave_soft);
}

static void remove_soft(struct fold *f, struct table *t)
{
    leave_soft(f, t, kinds_net(f, t, f->key), f->old);
}

/* Nothing is void: the rows stay, as deleted. Of two TRUNCATEs the first is the one that found the
 * rows from before the part. */
static void truncate_soft(struct fold *f, struct table *t)
{
    (void)f;
    for (struct net *n = t->nets; n; n = n->next) {
        if (n->kind != NET_UPSERT)
            continue;
        n->kind = NET_RETIRE;
        n->at = t->last;
    }
    if (!t->cleared)
        t->clear = t->last;
    t->cleared = true;
}

const struct kind kind_soft = {insert, update_soft, remove_soft, truncate_soft};
