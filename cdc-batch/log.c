/* Tables that are appended to: every event is a row, in the order of the source. */
#include "kinds.h"

static void append(struct fold *f, struct table *t, char op, struct mp values)
{
    struct event *e = arena_alloc(&f->arena, sizeof *e);
    const unsigned char *p = arena_copy(&f->arena, values.p, mp_size(values));

    *e = (struct event){.at = t->last, .op = op, .values = {p, p + mp_size(values)}};
    *t->events_end = e;
    t->events_end = &e->next;
    f->rows++;
}

static void append_insert(struct fold *f, struct table *t)
{
    append(f, t, 'i', f->row->raw);
}

/* A row with another key is another row: the one goes and the other comes. Without a key every
 * column is part of it. */
static void append_update(struct fold *f, struct table *t, const struct row *old, bool moves)
{
    if (moves || t->keyless)
        append(f, t, 'd', old->raw);
    kinds_fill(f, old, NULL);
    append(f, t, 'u', kinds_built(f));
}

static void append_delete(struct fold *f, struct table *t)
{
    append(f, t, 'd', f->old->raw);
}

static void append_truncate(struct fold *f, struct table *t)
{
    msgpack_packer pk;

    buf_clear(&f->values);
    pack_into(&pk, &f->values);
    msgpack_pack_array(&pk, t->shape->ncolumns);
    for (unsigned i = 0; i < t->shape->ncolumns; i++)
        msgpack_pack_nil(&pk);
    append(f, t, 't', kinds_built(f));
}

const struct kind kind_log = {append_insert, append_update, append_delete, append_truncate};
