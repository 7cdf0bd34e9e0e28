/*
 * A cursor over MessagePack bytes (https://github.com/msgpack/msgpack/blob/master/spec.md).
 *
 * Packing is done with msgpack-c. Reading is not: its unpacker reserves memory for as many elements
 * as an array says it has, so that five bytes from a broken peer cost gigabytes. This cursor
 * allocates nothing; strings point into the bytes read.
 */
#ifndef PGCDC_MP_H
#define PGCDC_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp {
    const unsigned char *p, *end;
};

enum mp_type {
    MP_NIL,
    MP_BOOL,
    MP_UINT,
    MP_INT,
    MP_FLOAT,
    MP_STR,
    MP_BIN,
    MP_EXT,
    MP_ARRAY,
    MP_MAP
};

struct mp_token {
    enum mp_type type;
    uint64_t u; /* MP_BOOL, MP_UINT; MP_INT is negative and in i */
    int64_t i;
    const char *data; /* MP_STR, MP_BIN, MP_EXT */
    size_t len;       /* bytes of data; elements of MP_ARRAY; pairs of MP_MAP */
    int ext;          /* type of MP_EXT */
};

/* The extension type that marks an unchanged TOASTed value, cdc-stream(5). */
#define MP_EXT_UNCHANGED 1

/* What mp_next does, for any token. */
int mp_next_any(struct mp *c, struct mp_token *t);

/* Takes one token. 1: done. 0: the bytes end inside it. -1: no MessagePack. For 0 and -1 the cursor
 * stays where it was. What rows mostly consist of, texts of less than 32 bytes and nil, is taken
 * without a call. */
static inline int mp_next(struct mp *c, struct mp_token *t)
{
    size_t have = (size_t)(c->end - c->p);
    unsigned first = have ? *c->p : 0xc1, len = first & 31;

    if ((first & 0xe0) == 0xa0 && have > len) {
        t->type = MP_STR;
        t->data = (const char *)c->p + 1;
        t->len = len;
        c->p += 1 + len;
        return 1;
    }
    if (first == 0xc0) {
        t->type = MP_NIL;
        t->len = 0;
        c->p++;
        return 1;
    }
    return mp_next_any(c, t);
}

/*
 * Steps over one whole object. 1: done. -1: no MessagePack, or deeper than MP_DEPTH, or it says
 * that it is larger than max bytes. 0: it is not complete; *need (if not NULL) is a number of
 * bytes, counted from the cursor, without which it cannot be.
 */
#define MP_DEPTH 8
int mp_skip(struct mp *c, size_t max, size_t *need);

#endif
