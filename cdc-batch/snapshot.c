#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "out.h"

struct snapshot_rows {
    struct snapshot_rows *next;
    struct mp rows;
    unsigned n;
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

void snapshot_rows(struct snapshots *s, struct snapshot *one, struct mp rows, unsigned n, bool keep)
{
    size_t before = one->arena.used, size = mp_size(rows);
    struct snapshot_rows *to = arena_alloc(&one->arena, sizeof *to + size);
    unsigned char *copy = (unsigned char *)(to + 1);

    memcpy(copy, rows.p, size);
    *to = (struct snapshot_rows){.rows = {copy, copy + size}, .n = n, .keep = keep};
    *one->end = to;
    one->end = &to->next;
    one->rows += n;
    one->gathered += n;
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

static void rows_write(struct stream_out *out, const struct snapshot *one,
                       const struct snapshot_rows *rows)
{
    msgpack_packer *pk =
        rows->keep ? stream_frame(out, "keep", 5) : stream_frame(out, "rows", 3 + rows->n);

    msgpack_pack_uint32(pk, one->oid);
    msgpack_pack_uint64(pk, one->lsn);
    if (rows->keep)
        msgpack_pack_uint64(pk, 0);
    msgpack_pack_int64(pk, one->time);
    pack_raw(pk, rows->rows);
    stream_done(out);
}

void snapshot_part_write(struct stream_out *out, uint64_t part, struct snapshots *s,
                         struct snapshot *one)
{
    msgpack_packer *pk = stream_frame(out, "part", 2);

    msgpack_pack_uint64(pk, part);
    msgpack_pack_uint32(pk, one->oid);
    stream_done(out);
    for (const struct snapshot_rows *rows = one->first; rows; rows = rows->next) {
        rows_write(out, one, rows);
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
