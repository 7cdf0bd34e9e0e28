#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "out.h"

struct snapshot_row {
    struct snapshot_row *next;
    struct mp values;
    bool keep;
};

struct snapshot *snapshots_largest(const struct snapshots *s)
{
    struct snapshot *largest = s->open;

    for (struct snapshot *one = s->open; one; one = one->next)
        if (one->arena.used > largest->arena.used)
            largest = one;
    return largest;
}

struct snapshot *snapshots_add(struct snapshots *s, uint32_t oid)
{
    struct snapshot *one = mem_alloc(sizeof *one);

    one->oid = oid;
    one->end = &one->first;
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
    s->bytes -= one->arena.used;
    arena_free(&one->arena);
    buf_free(&one->ranges);
    free(one);
}

void snapshots_free(struct snapshots *s)
{
    while (s->open)
        snapshots_remove(s, s->open);
}

void snapshot_row(struct snapshots *s, struct snapshot *one, struct mp values, bool keep)
{
    size_t before = one->arena.used, size = mp_size(values);
    struct snapshot_row *row = arena_alloc(&one->arena, sizeof *row + size);
    unsigned char *copy = (unsigned char *)(row + 1);

    memcpy(copy, values.p, size);
    *row = (struct snapshot_row){.values = {copy, copy + size}, .keep = keep};
    *one->end = row;
    one->end = &row->next;
    one->rows++;
    one->gathered++;
    s->bytes += one->arena.used - before;
}

void snapshot_range(struct snapshot *one, const struct frame *f)
{
    buf_add(&one->ranges, f->whole.p, mp_size(f->whole));
}

void snapshot_ranges_write(struct stream_out *out, struct snapshot *one)
{
    const unsigned char *begin = (const unsigned char *)one->ranges.data;
    struct mp rest = {begin, begin + one->ranges.len};

    if (one->gathered)
        return;
    while (rest.p < rest.end) {
        struct frame f = {.whole = {rest.p, NULL}};
        mp_skip(&rest, STREAM_FRAME_MAX, NULL);
        f.whole.end = rest.p;
        stream_forward(out, &f);
    }
    buf_clear(&one->ranges);
}

static void row_write(struct stream_out *out, const struct snapshot *one, const struct table *t,
                      const struct snapshot_row *row)
{
    bool event = t->shape->append;
    const char *type = row->keep ? "keep" : event ? "event" : t->keyless ? "net" : "upsert";
    msgpack_packer *pk = stream_frame(out, type, row->keep ? 5 : 6);

    msgpack_pack_uint32(pk, one->oid);
    msgpack_pack_uint64(pk, one->lsn);
    msgpack_pack_uint64(pk, 0);
    msgpack_pack_int64(pk, one->time);
    if (event)
        pack_str(pk, "r");
    pack_raw(pk, row->values);
    if (t->keyless && !event)
        msgpack_pack_int64(pk, 1);
    else if (!event && !row->keep)
        msgpack_pack_nil(pk);
    stream_done(out);
}

void snapshot_part_write(struct stream_out *out, uint64_t part, struct snapshots *s,
                         struct snapshot *one, const struct table *t)
{
    msgpack_packer *pk = stream_frame(out, "part", 2);

    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint32(pk, one->oid);
    stream_done(out);
    for (const struct snapshot_row *row = one->first; row; row = row->next) {
        row_write(out, one, t, row);
        out_relieve(out);
    }
    pk = stream_frame(out, "part-end", 2);
    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint64(pk, one->gathered);
    stream_done(out);
    s->bytes -= one->arena.used;
    arena_free(&one->arena); /* snapshots share the memory of the part */
    one->first = NULL;
    one->end = &one->first;
    one->gathered = 0;
    snapshot_ranges_write(out, one);
}
