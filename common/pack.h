/*
 * Packing MessagePack into a buffer: msgpack_pack_array(pk, n) and all the others of msgpack-c,
 * https://github.com/msgpack/msgpack-c. They are its own, from the template that it makes them of,
 * but they append to a struct buf in place, where msgpack.h calls a function for every few bytes.
 * So that header must not be included beside this one. They always return 0.
 */
#ifndef PGCDC_PACK_H
#define PGCDC_PACK_H

#include <msgpack/pack_define.h>
#include <msgpack/timestamp.h>
#include <string.h>

#include "mem.h"
#include "mp.h"

typedef struct {
    struct buf *to; /* the caller's */
} msgpack_packer;

static inline int pack_append(const msgpack_packer *pk, const void *bytes, size_t len)
{
    struct buf *b = pk->to;

    if (b->cap - b->len <= len)
        buf_reserve(b, len);
    if (len)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    return 0;
}

#define msgpack_pack_user msgpack_packer *
#define msgpack_pack_append_buffer(pk, bytes, len) return pack_append(pk, bytes, len)
#define msgpack_pack_inline_func(name) static inline int msgpack_pack##name
#define msgpack_pack_inline_func_cint msgpack_pack_inline_func
#include <msgpack/pack_template.h>
#undef msgpack_pack_inline_func_cint

/* The packer of a buffer. */
static inline void pack_into(msgpack_packer *pk, struct buf *b)
{
    pk->to = b;
}

/* What frames consist of beside numbers. */
static inline void pack_str_n(msgpack_packer *pk, const char *s, size_t len)
{
    msgpack_pack_str(pk, len);
    pack_append(pk, s, len);
}

static inline void pack_str(msgpack_packer *pk, const char *s)
{
    pack_str_n(pk, s, strlen(s));
}

static inline void pack_bin(msgpack_packer *pk, const void *data, size_t len)
{
    msgpack_pack_bin(pk, len);
    pack_append(pk, data, len);
}

static inline void pack_unchanged(msgpack_packer *pk)
{
    msgpack_pack_ext(pk, 0, MP_EXT_UNCHANGED);
}

/* Bytes that are packed already. */
static inline void pack_raw(msgpack_packer *pk, struct mp m)
{
    pack_append(pk, m.p, (size_t)(m.end - m.p));
}

#endif
