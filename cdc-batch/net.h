/* What a part holds: per table, the net change of each key, or all its events. See fold.h. */
#ifndef CDC_BATCH_NET_H
#define CDC_BATCH_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lsn.h"
#include "mem.h"
#include "mp.h"
#include "relation.h"

#define uthash_malloc(size) mem_alloc(size)
#include <uthash.h>
#include <utlist.h>

struct position {
    lsn_t lsn;
    uint64_t seq;
    int64_t time; /* of the commit */
};

enum net_kind {
    NET_UPSERT, /* the row is there, with these values */
    NET_REMOVE, /* it is gone */
    NET_RETIRE, /* the same, where deletes are soft: these were its values */
    NET_COUNT   /* copies of it were added, or removed */
};

/* Everything that it points to is in the fold's arena. */
struct net {
    enum net_kind kind;
    bool unchanged;           /* some of the values are unchanged ones */
    uint32_t group;           /* of its table: nets.h */
    struct position at;       /* of the last change */
    int64_t count;            /* NET_COUNT: copies added, or below 0 removed; 0 is no change */
    struct mp key;            /* the key columns' values, MessagePack, one after the other */
    unsigned char *values;    /* a MessagePack array, one per column; NULL if it never had any */
    size_t size, room;        /* bytes of it, and bytes that there are for it */
    const struct net *origin; /* of the values: the key that the row had when the part began */
    struct net *prev, *next;  /* of the table, in the order of last change */
};

static inline struct mp net_values(const struct net *n)
{
    return (struct mp){n->values, n->values + n->size};
}

/* Of a table that is appended to. */
struct event {
    struct event *next;
    struct position at;
    char op;          /* i, u, d or t: cdc-stream(5) */
    struct mp values; /* in the fold's arena */
};

struct table {
    struct relation *shape;
    const struct kind *kind; /* what becomes of its changes: kinds.h */
    struct buf definition;   /* shape as it came */
    bool keyless;
    unsigned nkey, *key;  /* the columns of the key; all of them if keyless */
    struct position last; /* of its last change */
    bool changed;         /* in the list of the part */
    bool shown;           /* rows of this shape were handed on, or `define` */
    bool in_batch;        /* the open batch has changes of it in an earlier part, or `define` */
    struct snapshot *snapshot; /* that is open: changes are applied after it; or NULL */
    bool cleared;              /* truncated in this part, at clear */
    struct position clear;
    struct net *nets;
    size_t nnets;
    uint32_t group; /* of its keys in this part: nets.h */
    struct event *events, **events_end;
    struct table *next; /* in the list of the part */
    uint32_t oid;
    UT_hash_handle hh; /* by oid */
};

#endif
