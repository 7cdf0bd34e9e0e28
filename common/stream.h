/*
 * The stream between the stages: frames in, frames out. The format is cdc-stream(5).
 */
#ifndef PGCDC_STREAM_H
#define PGCDC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lsn.h"
#include "mem.h"
#include "mp.h"
#include "pack.h"

#define STREAM_VERSION 1
#define STREAM_FRAME_MAX ((size_t)2 << 30)

/* ------------------------------------------------------------------ reading */

struct stream_in;

/* fd stays the caller's. */
struct stream_in *stream_in_new(int fd);
void stream_in_free(struct stream_in *in);

/* One frame. The bytes that it points to stay valid until the next stream_read. */
struct frame {
    const char *type;  /* NUL-terminated copy */
    unsigned elements; /* after the type */
    struct mp body;    /* cursor over the elements after the type */
    struct mp whole;   /* the frame as it came, for forwarding */
    uint64_t offset;   /* of the frame in the stream, for messages */
    char type_buf[24];
};

enum stream_status { STREAM_FRAME, STREAM_WAIT, STREAM_EOF, STREAM_TRUNCATED };

/*
 * Takes the next frame out of the bytes that have come; reads from fd at most once, and only if
 * readable says that poll() found something there (without O_NONBLOCK it would block otherwise).
 * STREAM_WAIT: poll for more. STREAM_EOF: end of file between two frames. STREAM_TRUNCATED: end of
 * file inside one. Bytes that are no frame: exits with 65.
 */
enum stream_status stream_read(struct stream_in *in, struct frame *f, bool readable);

/* Bytes consumed so far. */
uint64_t stream_offset(const struct stream_in *in);

/* Takes the next element of a frame, in order. Another type than asked for: exits with 65. */
uint64_t frame_uint(struct frame *f);
int64_t frame_int(struct frame *f);
bool frame_bool(struct frame *f);
const char *frame_str(struct frame *f, size_t *len); /* not NUL-terminated; str or bin */
unsigned frame_array(struct frame *f);               /* its elements come next */
unsigned frame_map(struct frame *f);                 /* its keys and values come next */
struct mp frame_any(struct frame *f);                /* one whole element, unopened */
char *frame_strdup(struct frame *f);                 /* a str without NUL bytes; free() it */
_Noreturn void frame_bad(const struct frame *f, const char *what); /* exits with 65 */

/* Types mostly differ in their first byte. */
static inline bool frame_is(const struct frame *f, const char *type)
{
    const char *own = f->type;

    while (*own == *type && *own)
        own++, type++;
    return *own == *type;
}

/* A whole element as bytes, e.g. the `values` of a row: cursors to hand on or to open later. */
static inline size_t mp_size(struct mp m)
{
    return (size_t)(m.end - m.p);
}

/* ------------------------------------------------------------------ writing */

struct stream_out;

/* json: JSON Lines, for eyes, instead of the stream. fd stays the caller's. */
struct stream_out *stream_out_new(int fd, bool json);
void stream_out_free(struct stream_out *out);

/* From here on a write to fd does not wait for downstream; whoever shares it (a shell's subshell
 * does) gets it back as it was when the program ends. For one stream of a program. False: fd is
 * neither a pipe nor a socket, and nothing changes. */
bool stream_unblock(struct stream_out *out);

/* Opens a frame of 1 + elements elements and packs the type. Pack the elements into the packer that
 * it returns, then call stream_done. Frames gather in memory until a flush. */
msgpack_packer *stream_frame(struct stream_out *out, const char *type, unsigned elements);
void stream_done(struct stream_out *out);

/* The same, where the elements are counted only at the end. */
msgpack_packer *stream_frame_open(struct stream_out *out, const char *type);
void stream_done_with(struct stream_out *out, unsigned elements);

/* Appends a frame as it came. */
void stream_forward(struct stream_out *out, const struct frame *f);

/* Bytes that wait to be written. */
size_t stream_pending(const struct stream_out *out);

/* Writes all of it, blocking. False: downstream is gone (EPIPE). */
bool stream_flush(struct stream_out *out);

/* Writes what fd takes now, see stream_unblock. False: downstream is gone. */
bool stream_flush_some(struct stream_out *out);

/* The same, if so much has come since the last write() that one is worth while. */
bool stream_push(struct stream_out *out);

/* ------------------------------------------------------------------ frames that several stages
 * know */

/* Where the changes come from. Strings are owned; source_free frees them. */
struct source {
    char *system, *database, *slot;
    char *publications; /* "name=oid,name=oid", sorted by name */
};

/* A `start` or `check` frame. */
struct start {
    bool check;
    unsigned failures; /* of a check */
    char *run, *pipeline;
    struct source source;
    bool anew; /* changes are missing before it, and all tables are read again */
};

void start_pack(struct stream_out *out, const struct start *s); /* whole frame, not flushed */
void start_unpack(struct frame *f, struct start *s);            /* free with start_free */
void start_free(struct start *s);

/* A `fail` frame, flushed (blocking); for msg_on_die. */
void stream_fail(struct stream_out *out, int code);

#endif
