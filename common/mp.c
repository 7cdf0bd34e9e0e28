#include "mp.h"

#include <endian.h>
#include <string.h>

/* A number of 1, 2, 4 or 8 bytes. */
static uint64_t big_endian(const unsigned char *p, unsigned bytes)
{
    uint64_t v8;
    uint32_t v4;
    uint16_t v2;

    switch (bytes) {
    case 1:
        return *p;
    case 2:
        memcpy(&v2, p, 2);
        return be16toh(v2);
    case 4:
        memcpy(&v4, p, 4);
        return be32toh(v4);
    default:
        memcpy(&v8, p, 8);
        return be64toh(v8);
    }
}

/* Header of len bytes after the first, then data. */
static int blob(struct mp *c, struct mp_token *t, enum mp_type type, unsigned header, size_t len)
{
    size_t have = (size_t)(c->end - c->p);
    size_t before = 1 + header;

    if (have < before || have - before < len) {
        t->len = len;
        return 0;
    }
    t->type = type;
    if (type == MP_EXT)
        t->ext = (int8_t)c->p[header];
    t->data = (const char *)c->p + before;
    t->len = len;
    c->p += before + len;
    return 1;
}

static int number(struct mp *c, struct mp_token *t, unsigned bytes, bool is_signed)
{
    if ((size_t)(c->end - c->p) < 1 + bytes)
        return 0;
    uint64_t v = big_endian(c->p + 1, bytes);
    t->type = MP_UINT;
    t->u = v;
    if (is_signed && v >> (bytes * 8 - 1)) {
        t->type = MP_INT;
        t->i = bytes == 8 ? (int64_t)v : (int64_t)(v | UINT64_MAX << (bytes * 8));
    }
    c->p += 1 + bytes;
    return 1;
}

static int header(struct mp *c, struct mp_token *t, enum mp_type type, unsigned bytes)
{
    if ((size_t)(c->end - c->p) < 1 + bytes)
        return 0;
    t->type = type;
    t->len = big_endian(c->p + 1, bytes);
    c->p += 1 + bytes;
    return 1;
}

int mp_next_any(struct mp *c, struct mp_token *t)
{
    size_t have = (size_t)(c->end - c->p);

    t->len = 0;
    if (!have)
        return 0;
    unsigned b = *c->p;
    if (b < 0x80 || b >= 0xe0) {
        t->type = b < 0x80 ? MP_UINT : MP_INT;
        t->u = b;
        t->i = (int8_t)b;
        c->p++;
        return 1;
    }
    if (b < 0xa0) {
        t->type = b < 0x90 ? MP_MAP : MP_ARRAY;
        t->len = b & 15;
        c->p++;
        return 1;
    }
    if (b < 0xc0)
        return blob(c, t, MP_STR, 0, b & 31);

#define LENGTH(n) (have > (n) ? (size_t)big_endian(c->p + 1, n) : 0)
    switch (b) {
    case 0xc0:
        t->type = MP_NIL;
        c->p++;
        return 1;
    case 0xc2:
    case 0xc3:
        t->type = MP_BOOL;
        t->u = b & 1;
        c->p++;
        return 1;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return blob(c, t, MP_BIN, 1u << (b - 0xc4), LENGTH(1u << (b - 0xc4)));
    case 0xc7:
    case 0xc8:
    case 0xc9: /* length, then the type byte */
        return blob(c, t, MP_EXT, (1u << (b - 0xc7)) + 1, LENGTH(1u << (b - 0xc7)));
    case 0xca:
    case 0xcb:
        if (have < (b == 0xca ? 5 : 9))
            return 0;
        t->type = MP_FLOAT;
        c->p += b == 0xca ? 5 : 9;
        return 1;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return number(c, t, 1u << (b - 0xcc), false);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return number(c, t, 1u << (b - 0xd0), true);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return blob(c, t, MP_EXT, 1, (size_t)1 << (b - 0xd4));
    case 0xd9:
    case 0xda:
    case 0xdb:
        return blob(c, t, MP_STR, 1u << (b - 0xd9), LENGTH(1u << (b - 0xd9)));
    case 0xdc:
    case 0xdd:
        return header(c, t, MP_ARRAY, b == 0xdc ? 2 : 4);
    case 0xde:
    case 0xdf:
        return header(c, t, MP_MAP, b == 0xde ? 2 : 4);
    default:
        return -1;
    }
}

/* Steps over tokens that hold no others and whose first byte says how long they are, count at most
 * and none that is not whole; returns how many it leaves. Rows consist of little else. */
static uint64_t skip_short(struct mp *c, uint64_t count)
{
    const unsigned char *p = c->p;

    for (; count && p < c->end; count--) {
        unsigned first = *p;
        size_t size = 1;
        if ((first & 0xe0) == 0xa0)
            size += first & 31;
        else if (first >= 0xcc && first <= 0xcf)
            size += (size_t)1 << (first - 0xcc);
        else if (first >= 0x80 && first != 0xc0)
            break;
        if ((size_t)(c->end - p) < size)
            break;
        p += size;
    }
    c->p = p;
    return count;
}

int mp_skip(struct mp *c, size_t max, size_t *need)
{
    struct mp at = *c;
    struct mp_token t;
    uint64_t left[MP_DEPTH]; /* objects still to come, on the levels above */
    uint64_t count = 1;      /* and on this one */
    int depth = 0;

    for (;;) {
        count = skip_short(&at, count);
        while (!count && depth)
            count = left[--depth];
        size_t before = (size_t)(at.p - c->p);
        if (!count) {
            if (before > max)
                return -1;
            c->p = at.p;
            return 1;
        }
        int r = mp_next_any(&at, &t);
        if (r < 0 || t.len > max || before > max - t.len)
            return -1;
        if (!r) {
            if (need)
                *need = before + t.len + 1;
            return 0;
        }
        count--;
        if (t.type == MP_ARRAY || t.type == MP_MAP) {
            uint64_t n = t.type == MP_MAP ? 2 * (uint64_t)t.len : t.len;
            if (n > max - before)
                return -1;
            if (n) {
                if (depth == MP_DEPTH)
                    return -1;
                left[depth++] = count;
                count = n;
            }
        }
    }
}
