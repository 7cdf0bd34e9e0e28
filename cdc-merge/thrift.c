#include "thrift.h"

#include <assert.h>

enum { TYPE_TRUE = 1, TYPE_FALSE = 2, TYPE_I8 = 3 };

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

/* The header of a field: the distance to the last id in the high half of a byte where it fits. */
static void field(struct thrift *t, int id, int type)
{
    int delta = id - t->last[t->depth];
    assert(delta >= 1 && delta <= 15); /* true of all that Parquet has */
    *bytes_add(t->out, 1) = (uint8_t)(delta << 4 | type);
    t->last[t->depth] = id;
}

struct thrift thrift_begin(struct buf *out)
{
    return (struct thrift){.out = out};
}

void thrift_struct(struct thrift *t, int id)
{
    field(t, id, THRIFT_STRUCT);
    thrift_element(t);
}

void thrift_element(struct thrift *t)
{
    t->depth++;
    assert(t->depth < (int)(sizeof t->last / sizeof *t->last));
    t->last[t->depth] = 0;
}

void thrift_end(struct thrift *t)
{
    *bytes_add(t->out, 1) = 0;
    t->depth--;
}

void thrift_bool(struct thrift *t, int id, bool v)
{
    field(t, id, v ? TYPE_TRUE : TYPE_FALSE);
}

void thrift_i8(struct thrift *t, int id, int8_t v)
{
    field(t, id, TYPE_I8);
    *bytes_add(t->out, 1) = (uint8_t)v;
}

void thrift_i32(struct thrift *t, int id, int32_t v)
{
    field(t, id, THRIFT_I32);
    bytes_put_varint(t->out, zigzag(v));
}

void thrift_i64(struct thrift *t, int id, int64_t v)
{
    field(t, id, THRIFT_I64);
    bytes_put_varint(t->out, zigzag(v));
}

void thrift_binary(struct thrift *t, int id, const void *data, size_t len)
{
    field(t, id, THRIFT_BINARY);
    bytes_put_varint(t->out, len);
    bytes_put(t->out, data, len);
}

void thrift_string(struct thrift *t, int id, const char *s)
{
    thrift_binary(t, id, s, strlen(s));
}

void thrift_list(struct thrift *t, int id, enum thrift_type element, size_t n)
{
    field(t, id, THRIFT_LIST);
    if (n < 15) {
        *bytes_add(t->out, 1) = (uint8_t)(n << 4 | element);
    } else {
        *bytes_add(t->out, 1) = (uint8_t)(0xf0 | element);
        bytes_put_varint(t->out, n);
    }
}

void thrift_item_i32(struct thrift *t, int32_t v)
{
    bytes_put_varint(t->out, zigzag(v));
}

void thrift_item_string(struct thrift *t, const char *s)
{
    size_t len = strlen(s);
    bytes_put_varint(t->out, len);
    bytes_put(t->out, s, len);
}
