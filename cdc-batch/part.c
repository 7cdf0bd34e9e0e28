#include "part.h"

#include "figures.h"
#include "kinds.h"
#include "out.h"

bool part_has(const struct table *t)
{
    if (t->cleared || t->events)
        return true;
    for (const struct net *n = t->nets; n; n = n->next)
        if (n->kind != NET_COUNT || n->count)
            return true;
    return false;
}

static bool has_rows(const struct fold *f)
{
    for (const struct table *t = f->changed; t; t = t->next)
        if (part_has(t))
            return true;
    return false;
}

static void pack_position(msgpack_packer *pk, uint32_t oid, const struct position *at)
{
    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, at->lsn);
    msgpack_pack_uint64(pk, at->seq);
    msgpack_pack_int64(pk, at->time);
}

/* With all its values: an upsert or retire. */
static void row_write(struct stream_out *out, const struct table *t, const struct net *n)
{
    msgpack_packer *pk = stream_frame(out, n->kind == NET_UPSERT ? "upsert" : "retire", 6);

    pack_position(pk, t->oid, &n->at);
    pack_raw(pk, net_values(n));
    if (n->unchanged && n->origin != n) {
        msgpack_pack_array(pk, t->nkey);
        pack_raw(pk, n->origin->key);
    } else {
        msgpack_pack_nil(pk);
    }
    stream_done(out);
}

static void remove_write(struct stream_out *out, const struct table *t, const struct net *n)
{
    msgpack_packer *pk = stream_frame(out, "remove", 5);

    pack_position(pk, t->oid, &n->at);
    kinds_pack_key(pk, t, n->key, false);
    stream_done(out);
}

static void count_write(struct stream_out *out, const struct table *t, const struct net *n)
{
    msgpack_packer *pk = stream_frame(out, "net", 6);

    pack_position(pk, t->oid, &n->at);
    kinds_pack_key(pk, t, n->key, false);
    msgpack_pack_int64(pk, n->count);
    stream_done(out);
}

static void event_write(struct stream_out *out, const struct table *t, const struct event *e)
{
    msgpack_packer *pk = stream_frame(out, "event", 6);

    pack_position(pk, t->oid, &e->at);
    pack_str_n(pk, &e->op, 1);
    pack_raw(pk, e->values);
    stream_done(out);
}

static uint64_t table_write(struct stream_out *out, const struct table *t)
{
    uint64_t rows = 0;

    if (t->cleared) {
        pack_position(stream_frame(out, "clear", 4), t->oid, &t->clear);
        stream_done(out);
    }
    for (const struct net *n = t->nets; n; n = n->next) {
        if (n->kind == NET_COUNT && !n->count)
            continue;
        if (n->kind == NET_COUNT)
            count_write(out, t, n);
        else if (n->kind == NET_REMOVE)
            remove_write(out, t, n);
        else
            row_write(out, t, n);
        rows++;
        out_relieve(out);
    }
    for (const struct event *e = t->events; e; e = e->next) {
        event_write(out, t, e);
        rows++;
        out_relieve(out);
    }
    return rows;
}

bool part_write(struct stream_out *out, uint64_t part, const struct fold *f)
{
    uint64_t rows = 0;
    msgpack_packer *pk;

    if (!has_rows(f))
        return false;
    pk = stream_frame(out, "part", 2);
    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint32(pk, 0);
    stream_done(out);
    for (const struct table *t = f->changed; t; t = t->next)
        rows += table_write(out, t);
    pk = stream_frame(out, "part-end", 2);
    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint64(pk, rows);
    stream_done(out);
    figures_part(rows);
    return true;
}
