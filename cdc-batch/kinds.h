/*
 * What becomes of the changes of a table, as a few functions for each kind of table. For fold.c,
 * which looks at a change before it hands it to them: f->row is the new row and f->key its key, or
 * the key of the removed row, which is f->old. t->last is the change's position.
 */
#ifndef CDC_BATCH_KINDS_H
#define CDC_BATCH_KINDS_H

#include "fold.h"
#include "row.h"
#include "stream.h"

struct kind {
    void (*insert)(struct fold *f, struct table *t);
    /* old: f->old, or NULL if it did not come; moves: its key, f->old_key, is another */
    void (*update)(struct fold *f, struct table *t, const struct row *old, bool moves);
    void (*remove)(struct fold *f, struct table *t);
    void (*truncate)(struct fold *f, struct table *t);
};

extern const struct kind kind_hard;     /* with a key; rows that are gone are removed */
extern const struct kind kind_soft;     /* with a key; rows that are gone are retired */
extern const struct kind kind_multiset; /* without a key */
extern const struct kind kind_log;      /* every event is kept */

/* What kinds have in common. */

/* The net change of a key, made as NET_REMOVE if the part has none. */
struct net *kinds_net(struct fold *f, struct table *t, struct mp key);

/* A row of which only the key is known: the other columns are nil, or unchanged. */
void kinds_pack_key(msgpack_packer *pk, const struct table *t, struct mp key, bool unchanged);

/* Voids what the part holds of the table, up to and with this TRUNCATE. */
void kinds_void(struct fold *f, struct table *t);

/* Fills the unchanged values of f->row: from the old row (or NULL) if it carries them, else from
 * what the part holds of the row (or NULL). The result is in f->values; true if some stay
 * unchanged. */
bool kinds_fill(struct fold *f, const struct row *old, const struct net *before);

/* f->values, to read. */
struct mp kinds_built(const struct fold *f);

#endif
