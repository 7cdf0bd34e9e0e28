/* hstore: walks the pairs of an hstore's text, as hstore_out prints it
 * (contrib/hstore/hstore_io.c): "a"=>"1", "b"=>NULL. Nothing is allocated but in the buffers, which
 * hold one pair. */
#ifndef CDC_MERGE_HSTORE_H
#define CDC_MERGE_HSTORE_H

#include "cursor.h"
#include "mem.h"

struct hstore {
    struct cursor text;
    struct buf *key, *value;
    bool any;
};

enum hstore_item { HSTORE_PAIR, HSTORE_END, HSTORE_BAD /* no text of an hstore */ };

struct hstore hstore_begin(const char *text, size_t len, struct buf *key, struct buf *value);

/* The next pair is in the two buffers; *null: the value is NULL. Keys come shorter ones first and
 * in bytewise order, as PostgreSQL stores them, so that none comes twice. */
enum hstore_item hstore_next(struct hstore *h, bool *null);

#endif
