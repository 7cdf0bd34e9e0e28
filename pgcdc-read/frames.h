/* The frames that pgcdc-read writes, cdc-stream(5); each call packs a whole one, but for
 * rows. */
#ifndef PGCDC_READ_FRAMES_H
#define PGCDC_READ_FRAMES_H

#include <stdint.h>

#include "lsn.h"
#include "pgoutput.h"
#include "resume.h"
#include "stream.h"

/* resume: the attempts that it goes on from, or NULL. */
void frames_snapshot(struct stream_out *out, uint32_t oid, uint64_t attempt, lsn_t lsn,
                     int64_t time, uint64_t horizon, uint64_t stamp, const struct resume *resume);
/* Rows of a snapshot, in one frame: begin, each row, end. Nothing else is written meanwhile. */
msgpack_packer *frames_rows(struct stream_out *out, uint32_t oid, lsn_t lsn);
void frames_rows_add(msgpack_packer *pk, const struct tuple *row);
void frames_rows_end(struct stream_out *out, unsigned rows);
void frames_keep(struct stream_out *out, uint32_t oid, lsn_t lsn, const struct tuple *key);
void frames_range(struct stream_out *out, uint32_t oid, uint64_t attempt,
                  const struct load_range *range);
void frames_snapshot_end(struct stream_out *out, uint32_t oid, uint64_t attempt, lsn_t lsn,
                         uint64_t rows);
void frames_begin(struct stream_out *out, lsn_t lsn, int64_t time, uint32_t xid);
void frames_insert(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *row);
void frames_update(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *row, const struct tuple *old); /* old: or NULL */
void frames_delete(struct stream_out *out, uint32_t oid, lsn_t lsn, uint64_t seq,
                   const struct tuple *old);
void frames_truncate(struct stream_out *out, const uint32_t *oids, unsigned n, lsn_t lsn,
                     uint64_t seq, unsigned flags);
/* m is a PGOUTPUT_MESSAGE */
void frames_message(struct stream_out *out, lsn_t lsn, const struct pgoutput *m);
void frames_define(struct stream_out *out, uint32_t oid);
void frames_checkpoint(struct stream_out *out, lsn_t lsn, int64_t time);
void frames_end(struct stream_out *out, lsn_t lsn);

#endif
