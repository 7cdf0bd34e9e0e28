#include "snapshot.h"

#include <stdlib.h>

#include "out.h"

struct snapshot *snapshots_largest(const struct snapshots *s)
{
    struct snapshot *largest = s->open;

    for (struct snapshot *one = s->open; one; one = one->next)
        if (one->frames.len > largest->frames.len)
            largest = one;
    return largest;
}

struct snapshot *snapshots_add(struct snapshots *s, uint32_t oid)
{
    struct snapshot *one = mem_alloc(sizeof *one);

    one->oid = oid;
    one->next = s->open;
    s->open = one;
    return one;
}

void snapshots_remove(struct snapshots *s, struct snapshot *one)
{
    struct snapshot **at = &s->open;

    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    s->bytes -= one->frames.len;
    buf_free(&one->frames);
    buf_free(&one->ranges);
    free(one);
}

void snapshots_free(struct snapshots *s)
{
    while (s->open)
        snapshots_remove(s, s->open);
}

static void begin_row(struct snapshot *one, msgpack_packer *pk, const char *type, unsigned elements)
{
    pack_into(pk, &one->frames);
    msgpack_pack_array(pk, elements + 1);
    pack_str(pk, type);
    msgpack_pack_uint32(pk, one->oid);
    msgpack_pack_uint64(pk, one->lsn);
    msgpack_pack_uint64(pk, 0);
    msgpack_pack_int64(pk, one->time);
}

static void end_row(struct snapshots *s, struct snapshot *one, size_t before)
{
    one->rows++;
    one->gathered++;
    s->bytes += one->frames.len - before;
}

void snapshot_row(struct snapshots *s, struct snapshot *one, const struct table *t,
                  struct mp values)
{
    bool event = t->shape->append;
    size_t before = one->frames.len;
    msgpack_packer pk;

    begin_row(one, &pk, event ? "event" : t->keyless ? "net" : "upsert", 6);
    if (event)
        pack_str(&pk, "r");
    pack_raw(&pk, values);
    if (!event)
        t->keyless ? msgpack_pack_int64(&pk, 1) : msgpack_pack_nil(&pk);
    end_row(s, one, before);
}

void snapshot_keep(struct snapshots *s, struct snapshot *one, struct mp values)
{
    size_t before = one->frames.len;
    msgpack_packer pk;

    begin_row(one, &pk, "keep", 5);
    pack_raw(&pk, values);
    end_row(s, one, before);
}

void snapshot_range(struct snapshot *one, const struct frame *f)
{
    buf_add(&one->ranges, f->whole.p, mp_size(f->whole));
}

static void forward_all(struct stream_out *out, const struct buf *frames)
{
    const unsigned char *begin = (const unsigned char *)frames->data;
    struct mp rest = {begin, begin + frames->len};

    while (rest.p < rest.end) {
        struct frame f = {.whole = {rest.p, NULL}};
        mp_skip(&rest, STREAM_FRAME_MAX, NULL);
        f.whole.end = rest.p;
        stream_forward(out, &f);
        out_relieve(out);
    }
}

void snapshot_ranges_write(struct stream_out *out, struct snapshot *one)
{
    if (one->gathered)
        return;
    forward_all(out, &one->ranges);
    buf_clear(&one->ranges);
}

void snapshot_part_write(struct stream_out *out, uint64_t part, struct snapshots *s,
                         struct snapshot *one)
{
    msgpack_packer *pk = stream_frame(out, "part", 2);

    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint32(pk, one->oid);
    stream_done(out);
    forward_all(out, &one->frames);
    pk = stream_frame(out, "part-end", 2);
    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint64(pk, one->gathered);
    stream_done(out);
    s->bytes -= one->frames.len;
    buf_free(&one->frames); /* snapshots share the memory of the part: give it back */
    one->gathered = 0;
    snapshot_ranges_write(out, one);
}
