#include "frames.h"

static void pack_tuple(msgpack_packer *pk, const struct tuple *t)
{
    msgpack_pack_array(pk, t->n);
    for (unsigned i = 0; i < t->n; i++) {
        const struct value *v = &t->values[i];
        switch (v->kind) {
        case VALUE_NULL:
            msgpack_pack_nil(pk);
            break;
        case VALUE_TEXT:
            pack_str_n(pk, v->data, v->len);
            break;
        case VALUE_UNCHANGED:
            pack_unchanged(pk);
            break;
        }
    }
}

/* An old row: what the WAL did not carry is nil. */
static void pack_old(msgpack_packer *pk, const struct tuple *t)
{
    msgpack_pack_array(pk, t->n);
    for (unsigned i = 0; i < t->n; i++) {
        const struct value *v = &t->values[i];
        if (v->kind == VALUE_TEXT)
            pack_str_n(pk, v->data, v->len);
        else
            msgpack_pack_nil(pk);
    }
}

static msgpack_packer *row_frame(struct stream_out *out, const char *type, unsigned elements,
                                 uint32_t oid, lsn_t lsn, uint64_t seq)
{
    msgpack_packer *pk = stream_frame(out, type, elements);

    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_uint64(pk, seq);
    return pk;
}

void frames_snapshot(struct stream_out *out, uint32_t oid, uint64_t attempt, lsn_t lsn,
                     int64_t time, uint64_t horizon, uint64_t stamp, const struct resume *resume)
{
    msgpack_packer *pk = stream_frame(out, "snapshot", 7);

    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, attempt);
    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_int64(pk, time);
    msgpack_pack_uint64(pk, horizon);
    msgpack_pack_uint64(pk, stamp);
    msgpack_pack_array(pk, resume_attempts(resume));
    for (unsigned i = 0; i < resume_attempts(resume); i++) {
        msgpack_pack_array(pk, 3);
        pack_str(pk, resume_attempt(resume, i)->run);
        msgpack_pack_uint64(pk, resume_attempt(resume, i)->attempt);
        msgpack_pack_uint64(pk, resume_attempt(resume, i)->layout);
    }
    stream_done(out);
}

msgpack_packer *frames_rows(struct stream_out *out, uint32_t oid, lsn_t lsn)
{
    msgpack_packer *pk = stream_frame_open(out, "rows");

    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, lsn);
    return pk;
}

void frames_rows_add(msgpack_packer *pk, const struct tuple *row)
{
    pack_tuple(pk, row);
}

void frames_rows_end(struct stream_out *out, unsigned rows)
{
    stream_done_with(out, 2 + rows);
}

void frames_keep(struct stream_out *out, uint32_t oid, lsn_t lsn, const struct tuple *key)
{
    pack_tuple(row_frame(out, "keep", 4, oid, lsn, 0), key);
    stream_done(out);
}

void frames_range(struct stream_out *out, uint32_t oid, uint64_t attempt,
                  const struct load_range *range)
{
    msgpack_packer *pk = stream_frame(out, "range", 5);

    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, attempt);
    msgpack_pack_uint64(pk, range->file);
    msgpack_pack_uint64(pk, range->from);
    msgpack_pack_uint64(pk, range->to);
    stream_done(out);
}

void frames_snapshot_end(struct stream_out *out, uint32_t oid, uint64_t attempt, lsn_t lsn,
                         uint64_t rows)
{
    msgpack_packer *pk = stream_frame(out, "snapshot-end", 4);

    msgpack_pack_uint32(pk, oid);
    msgpack_pack_uint64(pk, attempt);
    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_uint64(pk, rows);
    stream_done(out);
}

void frames_begin(struct stream_out *out, lsn_t lsn, int64_t time, uint32_t xid)
{
    msgpack_packer *pk = stream_frame(out, "begin", 3);

    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_int64(pk, time);
    msgpack_pack_uint32(pk, xid);
    stream_done(out);
}

void frames_insert(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *row)
{
    pack_tuple(row_frame(out, "insert", 4, oid, lsn, seq), row);
    stream_done(out);
}

void frames_update(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *row, const struct tuple *old)
{
    msgpack_packer *pk = row_frame(out, "update", 5, oid, lsn, seq);

    pack_tuple(pk, row);
    if (old)
        pack_old(pk, old);
    else
        msgpack_pack_nil(pk);
    stream_done(out);
}

void frames_delete(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *old)
{
    pack_old(row_frame(out, "delete", 4, oid, lsn, seq), old);
    stream_done(out);
}

void frames_truncate(struct stream_out *out, const uint32_t *oids, unsigned n, lsn_t lsn,
                     uint64_t seq, unsigned flags)
{
    msgpack_packer *pk = stream_frame(out, "truncate", 4);

    msgpack_pack_array(pk, n);
    for (unsigned i = 0; i < n; i++)
        msgpack_pack_uint32(pk, oids[i]);
    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_uint64(pk, seq);
    msgpack_pack_unsigned_int(pk, flags);
    stream_done(out);
}

void frames_message(struct stream_out *out, lsn_t lsn, const struct pgoutput *m)
{
    msgpack_packer *pk = stream_frame(out, "message", 4);

    msgpack_pack_uint64(pk, lsn);
    m->message.transactional ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
    pack_str(pk, m->message.prefix);
    pack_bin(pk, m->message.content, m->message.len);
    stream_done(out);
}

void frames_define(struct stream_out *out, uint32_t oid)
{
    msgpack_pack_uint32(stream_frame(out, "define", 1), oid);
    stream_done(out);
}

void frames_checkpoint(struct stream_out *out, lsn_t lsn, int64_t time)
{
    msgpack_packer *pk = stream_frame(out, "checkpoint", 2);

    msgpack_pack_uint64(pk, lsn);
    msgpack_pack_int64(pk, time);
    stream_done(out);
}

void frames_end(struct stream_out *out, lsn_t lsn)
{
    msgpack_pack_uint64(stream_frame(out, "end", 1), lsn);
    stream_done(out);
}
