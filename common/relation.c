#include "relation.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    enum operation operation;
    const char *name;
} operations[] = {
    {OP_INSERT, "insert"}, {OP_UPDATE, "update"}, {OP_DELETE, "delete"}, {OP_TRUNCATE, "truncate"}};

enum { OPERATIONS = sizeof operations / sizeof *operations };

char *relation_unpublished(const struct relation *r)
{
    struct buf b = {0};

    buf_str(&b, "");
    for (int i = 0; i < OPERATIONS; i++)
        if (r->unpublished & operations[i].operation)
            buf_printf(&b, "%s%s", b.len ? ", " : "", operations[i].name);
    return b.data;
}

static void pack_unpublished(msgpack_packer *pk, const struct relation *r)
{
    unsigned n = 0;

    for (int i = 0; i < OPERATIONS; i++)
        n += (r->unpublished & operations[i].operation) != 0;
    pack_str(pk, "unpublished");
    msgpack_pack_array(pk, n);
    for (int i = 0; i < OPERATIONS; i++)
        if (r->unpublished & operations[i].operation)
            pack_str(pk, operations[i].name);
}

void relation_pack(struct stream_out *out, const struct relation *r)
{
    msgpack_packer *pk = stream_frame(out, "relation", 4);

    msgpack_pack_uint64(pk, r->lsn);
    msgpack_pack_uint64(pk, r->seq);
    msgpack_pack_uint32(pk, r->oid);
    msgpack_pack_map(pk, 6u + (r->comment != NULL));
    pack_str(pk, "schema");
    pack_str(pk, r->schema);
    pack_str(pk, "table");
    pack_str(pk, r->table);
    pack_str(pk, "identity");
    pack_str_n(pk, &r->identity, 1);
    pack_str(pk, "relfilenode");
    msgpack_pack_uint32(pk, r->relfilenode);
    pack_unpublished(pk, r);
    if (r->comment) {
        pack_str(pk, "comment");
        pack_str(pk, r->comment);
    }
    pack_str(pk, "columns");
    msgpack_pack_array(pk, r->ncolumns);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        const struct column *c = &r->columns[i];
        msgpack_pack_map(pk,
                         10u + (c->basename != NULL) + (c->missing != NULL) + (c->comment != NULL));
        pack_str(pk, "attnum");
        msgpack_pack_int(pk, c->attnum);
        pack_str(pk, "name");
        pack_str(pk, c->name);
        pack_str(pk, "type");
        pack_str(pk, c->type);
        pack_str(pk, "oid");
        msgpack_pack_uint32(pk, c->oid);
        pack_str(pk, "base");
        msgpack_pack_uint32(pk, c->base);
        pack_str(pk, "elem");
        msgpack_pack_uint32(pk, c->elem);
        pack_str(pk, "typmod");
        msgpack_pack_int32(pk, c->typmod);
        pack_str(pk, "delimiter");
        pack_str_n(pk, &c->delimiter, 1);
        if (c->basename) {
            pack_str(pk, "basename");
            pack_str(pk, c->basename);
        }
        if (c->missing) {
            pack_str(pk, "missing");
            pack_str(pk, c->missing);
        }
        if (c->comment) {
            pack_str(pk, "comment");
            pack_str(pk, c->comment);
        }
        pack_str(pk, "key");
        c->key ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
        pack_str(pk, "notnull");
        c->notnull ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
    }
    stream_done(out);
}

static uint32_t oid(struct frame *f)
{
    uint64_t v = frame_uint(f);

    if (v > UINT32_MAX)
        frame_bad(f, "an OID has 32 bits");
    return (uint32_t)v;
}

static char *text(struct frame *f, char *old)
{
    if (old)
        frame_bad(f, "a key occurs twice");
    return frame_strdup(f);
}

/* The next key of a map, in a buffer that is large enough for those that are known. */
static const char *key(struct frame *f, char name[16])
{
    size_t len;
    const char *s = frame_str(f, &len);

    if (len > 15)
        len = 0;
    memcpy(name, s, len);
    name[len] = '\0';
    return name;
}

static unsigned unpublished(struct frame *f)
{
    unsigned set = 0;

    for (unsigned n = frame_array(f); n; n--) {
        size_t len;
        const char *s = frame_str(f, &len);
        unsigned found = 0;
        for (int i = 0; i < OPERATIONS; i++)
            if (strlen(operations[i].name) == len && !memcmp(s, operations[i].name, len))
                found = operations[i].operation;
        if (!found)
            frame_bad(f, "an operation is insert, update, delete or truncate");
        set |= found;
    }
    return set;
}

/* One of two words: whether it is the second. */
static bool choice(struct frame *f, const char *first, const char *second)
{
    size_t len;
    const char *s = frame_str(f, &len);

    if (strlen(second) == len && !memcmp(s, second, len))
        return true;
    if (strlen(first) != len || memcmp(s, first, len) != 0)
        frame_bad(f, "a mode is merge or append, and deletes are hard or soft");
    return false;
}

static char character(struct frame *f)
{
    size_t len;
    const char *s = frame_str(f, &len);

    if (len != 1)
        frame_bad(f, "a delimiter is one character");
    return *s;
}

static void column_unpack(struct frame *f, struct column *c)
{
    char name[16];

    c->delimiter = ',';
    for (unsigned n = frame_map(f); n; n--) {
        key(f, name);
        if (!strcmp(name, "attnum")) {
            int64_t v = frame_int(f);
            if (v < 1 || v > INT16_MAX)
                frame_bad(f, "an attnum is from 1 to 32767");
            c->attnum = (int)v;
        } else if (!strcmp(name, "name")) {
            c->name = text(f, c->name);
        } else if (!strcmp(name, "type")) {
            c->type = text(f, c->type);
        } else if (!strcmp(name, "oid")) {
            c->oid = oid(f);
        } else if (!strcmp(name, "basename")) {
            c->basename = text(f, c->basename);
        } else if (!strcmp(name, "missing")) {
            c->missing = text(f, c->missing);
        } else if (!strcmp(name, "comment")) {
            c->comment = text(f, c->comment);
        } else if (!strcmp(name, "delimiter")) {
            c->delimiter = character(f);
        } else if (!strcmp(name, "base")) {
            c->base = oid(f);
        } else if (!strcmp(name, "elem")) {
            c->elem = oid(f);
        } else if (!strcmp(name, "typmod")) {
            int64_t v = frame_int(f);
            if (v < INT32_MIN || v > INT32_MAX)
                frame_bad(f, "a typmod has 32 bits");
            c->typmod = (int32_t)v;
        } else if (!strcmp(name, "key")) {
            c->key = frame_bool(f);
        } else if (!strcmp(name, "notnull")) {
            c->notnull = frame_bool(f);
        } else {
            frame_any(f);
        }
    }
    if (!c->attnum || !c->name || !c->type || !c->oid)
        frame_bad(f, "a column is not whole");
}

struct relation *relation_unpack(struct frame *f)
{
    struct relation *r = mem_alloc(sizeof *r);
    char name[16];

    if (f->elements != 4)
        frame_bad(f, "wrong number of elements");
    r->lsn = frame_uint(f);
    r->seq = frame_uint(f);
    r->oid = oid(f);
    for (unsigned n = frame_map(f); n; n--) {
        key(f, name);
        if (!strcmp(name, "schema")) {
            r->schema = text(f, r->schema);
        } else if (!strcmp(name, "table")) {
            r->table = text(f, r->table);
        } else if (!strcmp(name, "identity")) {
            size_t len;
            const char *s = frame_str(f, &len);
            if (len != 1 || !strchr("dnfi", *s))
                frame_bad(f, "a replica identity is d, n, f or i");
            r->identity = *s;
        } else if (!strcmp(name, "relfilenode")) {
            r->relfilenode = oid(f);
        } else if (!strcmp(name, "comment")) {
            r->comment = text(f, r->comment);
        } else if (!strcmp(name, "unpublished")) {
            r->unpublished = unpublished(f);
        } else if (!strcmp(name, "mode")) {
            r->append = choice(f, "merge", "append");
        } else if (!strcmp(name, "deletes")) {
            r->soft = choice(f, "hard", "soft");
        } else if (!strcmp(name, "columns") && !r->columns) {
            r->ncolumns = frame_array(f);
            if (r->ncolumns > 1600)
                frame_bad(f, "a table has at most 1600 columns");
            r->columns = mem_alloc(r->ncolumns * sizeof *r->columns);
            for (unsigned i = 0; i < r->ncolumns; i++) {
                column_unpack(f, &r->columns[i]);
                r->nkey += r->columns[i].key;
            }
        } else {
            frame_any(f);
        }
    }
    if (!r->schema || !r->table || !r->identity || !r->columns)
        frame_bad(f, "the relation is not whole");
    return r;
}

void relation_free(struct relation *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->ncolumns; i++) {
        free(r->columns[i].name);
        free(r->columns[i].type);
        free(r->columns[i].basename);
        free(r->columns[i].missing);
        free(r->columns[i].comment);
    }
    free(r->columns);
    free(r->schema);
    free(r->table);
    free(r->comment);
    free(r);
}
