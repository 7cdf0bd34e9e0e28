#include "pgoutput.h"

#include <endian.h>
#include <string.h>

/* A cursor that never leaves its bytes: once a read does not fit, it and all later ones give 0. */
struct cursor {
    const unsigned char *p, *end;
    bool short_of;
};

static const unsigned char *take(struct cursor *c, size_t n)
{
    if (c->short_of || (size_t)(c->end - c->p) < n) {
        c->short_of = true;
        return NULL;
    }
    c->p += n;
    return c->p - n;
}

static unsigned take_u8(struct cursor *c)
{
    const unsigned char *p = take(c, 1);

    return p ? *p : 0;
}

static unsigned take_u16(struct cursor *c)
{
    const unsigned char *p = take(c, 2);
    uint16_t v = 0;

    if (p)
        memcpy(&v, p, sizeof v);
    return be16toh(v);
}

static uint32_t take_u32(struct cursor *c)
{
    const unsigned char *p = take(c, 4);
    uint32_t v = 0;

    if (p)
        memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static uint64_t take_u64(struct cursor *c)
{
    const unsigned char *p = take(c, 8);
    uint64_t v = 0;

    if (p)
        memcpy(&v, p, sizeof v);
    return be64toh(v);
}

static const char *take_string(struct cursor *c)
{
    const unsigned char *nul = c->short_of ? NULL : memchr(c->p, 0, (size_t)(c->end - c->p));

    if (!nul) {
        c->short_of = true;
        return "";
    }
    return (const char *)take(c, (size_t)(nul - c->p) + 1);
}

static int64_t take_time(struct cursor *c)
{
    return (int64_t)(take_u64(c) + (uint64_t)LSN_EPOCH_US);
}

static const char *take_tuple(struct cursor *c, struct arena *a, struct tuple *t)
{
    t->n = take_u16(c);
    t->values = arena_alloc(a, t->n * sizeof *t->values);
    for (unsigned i = 0; i < t->n && !c->short_of; i++) {
        struct value *v = &t->values[i];
        *v = (struct value){.kind = VALUE_NULL};
        switch (take_u8(c)) {
        case 'n':
            break;
        case 'u':
            v->kind = VALUE_UNCHANGED;
            break;
        case 't':
            v->kind = VALUE_TEXT;
            v->len = take_u32(c);
            v->data = (const char *)take(c, v->len);
            break;
        default:
            return c->short_of ? NULL : "a column value of unknown kind";
        }
    }
    return NULL;
}

static const char *take_row(struct cursor *c, struct arena *a, struct pgoutput *m)
{
    m->row.oid = take_u32(c);
    unsigned kind = take_u8(c);
    if (kind == 'K' || kind == 'O') {
        if (m->type == PGOUTPUT_INSERT)
            return "an insert with an old row";
        m->row.has_old = true;
        m->row.old_is_whole = kind == 'O';
        const char *problem = take_tuple(c, a, &m->row.old);
        if (problem || m->type == PGOUTPUT_DELETE)
            return problem;
        kind = take_u8(c);
    }
    if (c->short_of)
        return NULL;
    if (kind != 'N' || m->type == PGOUTPUT_DELETE)
        return "a row of unknown kind";
    return take_tuple(c, a, &m->row.new);
}

static const char *take_relation(struct cursor *c, struct arena *a, struct pgoutput *m)
{
    m->relation.oid = take_u32(c);
    m->relation.schema = take_string(c);
    if (!*m->relation.schema) /* how pgoutput writes it */
        m->relation.schema = "pg_catalog";
    m->relation.table = take_string(c);
    m->relation.identity = (char)take_u8(c);
    m->relation.n = take_u16(c);
    m->relation.columns = arena_alloc(a, m->relation.n * sizeof *m->relation.columns);
    for (unsigned i = 0; i < m->relation.n && !c->short_of; i++) {
        struct pgoutput_column *column = &m->relation.columns[i];
        column->key = take_u8(c) & 1;
        column->name = take_string(c);
        column->type = take_u32(c);
        column->typmod = (int32_t)take_u32(c);
    }
    return c->short_of || (m->relation.identity && strchr("dnfi", m->relation.identity))
               ? NULL
               : "no replica identity";
}

static void take_truncate(struct cursor *c, struct arena *a, struct pgoutput *m)
{
    m->truncate.n = take_u32(c);
    m->truncate.flags = take_u8(c);
    if ((size_t)(c->end - c->p) / 4 < m->truncate.n) {
        c->short_of = true;
        return;
    }
    m->truncate.oids = arena_alloc(a, m->truncate.n * sizeof *m->truncate.oids);
    for (unsigned i = 0; i < m->truncate.n; i++)
        m->truncate.oids[i] = take_u32(c);
}

static void take_message(struct cursor *c, struct pgoutput *m)
{
    m->message.transactional = take_u8(c) & 1;
    m->message.lsn = take_u64(c);
    m->message.prefix = take_string(c);
    m->message.len = take_u32(c);
    m->message.content = (const char *)take(c, m->message.len);
}

const char *pgoutput_parse(struct arena *a, const void *data, size_t len, struct pgoutput *m)
{
    struct cursor c = {.p = data, .end = (const unsigned char *)data + len};
    const char *problem = NULL;

    *m = (struct pgoutput){0};
    switch (take_u8(&c)) {
    case 'B':
        m->type = PGOUTPUT_BEGIN;
        m->begin.lsn = take_u64(&c);
        m->begin.time = take_time(&c);
        m->begin.xid = take_u32(&c);
        break;
    case 'C':
        m->type = PGOUTPUT_COMMIT;
        take(&c, 1); /* flags, unused by PostgreSQL */
        m->commit.lsn = take_u64(&c);
        m->commit.end = take_u64(&c);
        m->commit.time = take_time(&c);
        break;
    case 'R':
        m->type = PGOUTPUT_RELATION;
        problem = take_relation(&c, a, m);
        break;
    case 'I':
        m->type = PGOUTPUT_INSERT;
        problem = take_row(&c, a, m);
        break;
    case 'U':
        m->type = PGOUTPUT_UPDATE;
        problem = take_row(&c, a, m);
        break;
    case 'D':
        m->type = PGOUTPUT_DELETE;
        problem = take_row(&c, a, m);
        break;
    case 'T':
        m->type = PGOUTPUT_TRUNCATE;
        take_truncate(&c, a, m);
        break;
    case 'M':
        m->type = PGOUTPUT_MESSAGE;
        take_message(&c, m);
        break;
    case 'O':
    case 'Y':
        m->type = PGOUTPUT_OTHER;
        c.p = c.end;
        break;
    default:
        return len ? "a message of unknown type" : "an empty message";
    }
    if (c.short_of)
        return "a message that ends early";
    if (!problem && c.p != c.end)
        return "a message that goes on after its end";
    return problem;
}
