/*
 * The fold: all that happened to a row since the last part becomes one net change.
 *
 * A row is known by its key, the texts of its key columns. The net change of a key is that the row
 * is there, with these values (NET_UPSERT), or that it is gone (NET_REMOVE), as of the position of
 * its last change. A table without a key is a multiset: the whole row is its key, and its net
 * change is a number of copies (NET_COUNT).
 *
 * A value that an UPDATE left unchanged and the WAL does not carry is filled from the change before
 * it. If there is none in this part it stays unchanged, which means: as it was when the part began.
 * Since a row may have had another key then, a net change remembers its origin, the key under which
 * that row was known. TRUNCATE voids what the part holds of a table.
 *
 * Where deletes are soft, a row that is gone is one more state of it (NET_RETIRE), with the last
 * values that it had, and TRUNCATE is the end of all rows that are there. A table that is appended
 * to is not folded: its events are kept as they come, one after the other.
 *
 * A part is folded in one arena, which is emptied when the part has been written.
 */
#ifndef CDC_BATCH_FOLD_H
#define CDC_BATCH_FOLD_H

#include "mem.h"
#include "mp.h"
#include "net.h"
#include "nets.h"
#include "relation.h"

struct fold {
    struct arena arena;
    size_t rows;                          /* net changes and events in the part */
    struct table *tables;                 /* by OID */
    struct table *changed, **changed_end; /* those with changes in the part, in order */
    struct row *row, *old, *before;       /* rows being looked at */
    struct nets nets;                     /* the net changes, by key */
    struct mp key, old_key;               /* of the rows being looked at, in them or in: */
    struct buf key_bytes, old_key_bytes;
    struct buf values; /* being built */
};

void fold_init(struct fold *f);
void fold_free(struct fold *f);

/* The table, or NULL if no relation frame announced it. */
struct table *fold_table(struct fold *f, uint32_t oid);

/* Makes this the shape of its table, which it returns; takes the relation. The table must have no
 * changes in the part. definition is what tells shapes apart; it is copied. */
struct table *fold_shape(struct fold *f, struct relation *shape, struct mp definition);

/*
 * The changes. Rows are `values` of cdc-stream(5); what is behind them is left alone. Of an update,
 * rows are the new one and behind it the old one, or nil. They return NULL, or why the change
 * cannot be right; then nothing was folded.
 */
const char *fold_insert(struct fold *f, struct table *t, struct position at, struct mp values);
const char *fold_update(struct fold *f, struct table *t, struct position at, struct mp rows);
const char *fold_delete(struct fold *f, struct table *t, struct position at, struct mp old);
const char *fold_truncate(struct fold *f, struct table *t, struct position at);

/* Bytes that the part takes. */
size_t fold_size(const struct fold *f);

/* Forgets the part; tables and their shapes stay. */
void fold_reset(struct fold *f);

#endif
