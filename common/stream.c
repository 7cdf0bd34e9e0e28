/*
 * Frames are found with mp_skip before anything in them is believed. Input gathers in one buffer
 * that grows with the bytes that come, never with what they claim.
 */
#include "stream.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "msg.h"

#define READ_SIZE ((size_t)256 << 10)
#define WRITE_SIZE ((size_t)64 << 10) /* worth a write() */
#define PIPE_SIZE (1 << 20) /* so that a stage is not kept waiting while the next is busy */

struct stream_in {
    int fd;
    struct buf buf;
    size_t at;       /* the next frame begins here in buf */
    size_t need;     /* bytes from `at` without which it cannot be whole */
    uint64_t offset; /* of buf.data[at] in the stream */
};

struct stream_in *stream_in_new(int fd)
{
    struct stream_in *in = mem_alloc(sizeof *in);

    in->fd = fd;
    return in;
}

void stream_in_free(struct stream_in *in)
{
    buf_free(&in->buf);
    free(in);
}

uint64_t stream_offset(const struct stream_in *in)
{
    return in->offset;
}

static _Noreturn void bad(uint64_t offset, const char *what)
{
    msg_die(EX_DATAERR,
            "the input is not a stream of change events: %s; see cdc-stream(5) offset=%llu", what,
            (unsigned long long)offset);
}

/* The frame at the cursor, if it is whole. */
static bool take(struct stream_in *in, struct frame *f)
{
    size_t have = in->buf.len - in->at;
    const unsigned char *begin = (const unsigned char *)in->buf.data + in->at;
    struct mp c = {begin, begin + have};
    struct mp_token t;

    if (!have || have < in->need)
        return false;
    /* an array header is 0x90-0x9f, 0xdc or 0xdd: refuse anything else before waiting for its end
     */
    if ((*begin & 0xf0) != 0x90 && *begin != 0xdc && *begin != 0xdd)
        bad(in->offset, "a frame has to be an array");
    int r = mp_skip(&c, STREAM_FRAME_MAX, &in->need);
    if (r < 0)
        bad(in->offset, "a frame that is too deep, too large, or no MessagePack");
    if (!r)
        return false;

    *f = (struct frame){.offset = in->offset, .whole = {begin, c.p}, .body = {begin, c.p}};
    f->type = f->type_buf;
    mp_next(&f->body, &t);
    if (!t.len || t.len > UINT_MAX)
        bad(in->offset, "a frame without a type");
    f->elements = (unsigned)t.len - 1;
    mp_next(&f->body, &t);
    if (t.type != MP_STR || t.len >= sizeof f->type_buf)
        bad(in->offset, "the type of a frame has to be a short string");
    memcpy(f->type_buf, t.data, t.len);
    in->at += mp_size(f->whole);
    in->offset += mp_size(f->whole);
    in->need = 0;
    return true;
}

enum stream_status stream_read(struct stream_in *in, struct frame *f, bool readable)
{
    if (take(in, f))
        return STREAM_FRAME;
    if (!readable)
        return STREAM_WAIT;
    buf_drop(&in->buf, in->at); /* what is left is the beginning of a frame */
    in->at = 0;
    /* a huge frame: let the buffer double, so that it is not moved for every read */
    buf_reserve(&in->buf, READ_SIZE);
    size_t room = in->buf.cap - in->buf.len - 1;
    ssize_t n = read(in->fd, in->buf.data + in->buf.len, room > SSIZE_MAX ? SSIZE_MAX : room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return STREAM_WAIT;
    if (n < 0)
        msg_die(EX_TEMPFAIL, "cannot read the stream: %s", strerror(errno));
    if (n == 0)
        return in->buf.len ? STREAM_TRUNCATED : STREAM_EOF;
    in->buf.len += (size_t)n;
    return take(in, f) ? STREAM_FRAME : STREAM_WAIT;
}

void frame_bad(const struct frame *f, const char *what)
{
    msg_die(EX_DATAERR, "bad frame in the stream: %s type=%s offset=%llu; see cdc-stream(5)", what,
            f->type, (unsigned long long)f->offset);
}

static void next(struct frame *f, struct mp_token *t)
{
    if (mp_next(&f->body, t) != 1)
        frame_bad(f, "it ends too early");
}

uint64_t frame_uint(struct frame *f)
{
    struct mp_token t;

    next(f, &t);
    if (t.type != MP_UINT)
        frame_bad(f, "an unsigned integer was expected");
    return t.u;
}

int64_t frame_int(struct frame *f)
{
    struct mp_token t;

    next(f, &t);
    if (t.type == MP_INT)
        return t.i;
    if (t.type != MP_UINT || t.u > INT64_MAX)
        frame_bad(f, "an integer was expected");
    return (int64_t)t.u;
}

bool frame_bool(struct frame *f)
{
    struct mp_token t;

    next(f, &t);
    if (t.type != MP_BOOL)
        frame_bad(f, "a boolean was expected");
    return t.u;
}

const char *frame_str(struct frame *f, size_t *len)
{
    struct mp_token t;

    next(f, &t);
    if (t.type != MP_STR && t.type != MP_BIN)
        frame_bad(f, "a string was expected");
    *len = t.len;
    return t.data;
}

char *frame_strdup(struct frame *f)
{
    size_t len;
    const char *s = frame_str(f, &len);

    if (memchr(s, 0, len))
        frame_bad(f, "a string with a NUL byte");
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    return copy;
}

static unsigned count(struct frame *f, enum mp_type type, const char *what)
{
    struct mp_token t;

    next(f, &t);
    if (t.type != type)
        frame_bad(f, what);
    return (unsigned)t.len; /* mp_skip has seen as many elements, so it fits */
}

unsigned frame_array(struct frame *f)
{
    return count(f, MP_ARRAY, "an array was expected");
}

unsigned frame_map(struct frame *f)
{
    return count(f, MP_MAP, "a map was expected");
}

struct mp frame_any(struct frame *f)
{
    struct mp m = {f->body.p, NULL};

    if (mp_skip(&f->body, STREAM_FRAME_MAX, NULL) != 1)
        frame_bad(f, "it ends too early");
    m.end = f->body.p;
    return m;
}

/* ------------------------------------------------------------------ writing */

struct stream_out {
    int fd;
    bool json;
    struct buf buf; /* whole frames that wait, then the one being packed */
    size_t frame;   /* where the frame being packed begins, */
    bool packing;   /* if one is */
    size_t sent;    /* bytes of buf already written */
    size_t worth;   /* bytes that wait before a write() is worth while */
    struct buf line;
    msgpack_packer pk;
};

struct stream_out *stream_out_new(int fd, bool json)
{
    struct stream_out *out = mem_alloc(sizeof *out);

    out->fd = fd;
    out->json = json;
    fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE); /* as far as it is one, and the system lets us */
    pack_into(&out->pk, &out->buf);
    return out;
}

static int shared_fd, shared_flags;

static void restore(void)
{
    fcntl(shared_fd, F_SETFL, shared_flags);
}

bool stream_unblock(struct stream_out *out)
{
    struct stat st;

    if (fstat(out->fd, &st) || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return false;
    shared_fd = out->fd;
    shared_flags = fcntl(out->fd, F_GETFL);
    if (shared_flags >= 0 && fcntl(out->fd, F_SETFL, shared_flags | O_NONBLOCK) == 0)
        atexit(restore);
    return true;
}

void stream_out_free(struct stream_out *out)
{
    buf_free(&out->buf);
    buf_free(&out->line);
    free(out);
}

msgpack_packer *stream_frame(struct stream_out *out, const char *type, unsigned elements)
{
    out->frame = out->buf.len;
    out->packing = true;
    msgpack_pack_array(&out->pk, elements + 1);
    pack_str(&out->pk, type);
    return &out->pk;
}

msgpack_packer *stream_frame_open(struct stream_out *out, const char *type)
{
    out->frame = out->buf.len;
    out->packing = true;
    buf_add(&out->buf, "\xdd\0\0\0\0", 5); /* an array; its length comes later */
    pack_str(&out->pk, type);
    return &out->pk;
}

void stream_done_with(struct stream_out *out, unsigned elements)
{
    uint32_t length = htobe32(elements + 1);

    memcpy(out->buf.data + out->frame + 1, &length, sizeof length);
    stream_done(out);
}

void stream_done(struct stream_out *out)
{
    out->packing = false;
    if (!out->json)
        return;
    const unsigned char *p = (const unsigned char *)out->buf.data;
    buf_clear(&out->line);
    json_line(&out->line, (struct mp){p + out->frame, p + out->buf.len});
    out->buf.len = out->frame;
    buf_add(&out->buf, out->line.data, out->line.len);
}

void stream_forward(struct stream_out *out, const struct frame *f)
{
    out->frame = out->buf.len;
    pack_raw(&out->pk, f->whole);
    stream_done(out);
}

size_t stream_pending(const struct stream_out *out)
{
    return out->buf.len - out->sent;
}

static bool flush(struct stream_out *out, bool wait)
{
    while (stream_pending(out)) {
        ssize_t n = write(out->fd, out->buf.data + out->sent, stream_pending(out));
        if (n >= 0) {
            out->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            if (!wait)
                break;
            poll(&(struct pollfd){.fd = out->fd, .events = POLLOUT}, 1, -1);
        } else if (errno == EPIPE) {
            return false;
        } else if (errno != EINTR) {
            msg_die(EX_TEMPFAIL, "cannot write the stream: %s", strerror(errno));
        }
    }
    if (!stream_pending(out)) {
        buf_clear(&out->buf);
        out->sent = 0;
    } else if (out->sent > READ_SIZE && out->sent > stream_pending(out)) {
        /* the smaller half is moved: what is long would else be moved for each piece of it */
        buf_drop(&out->buf, out->sent);
        out->sent = 0;
    }
    out->worth = stream_pending(out) + WRITE_SIZE; /* what is not taken now hardly is a row later */
    return true;
}

bool stream_flush(struct stream_out *out)
{
    return flush(out, true);
}

bool stream_flush_some(struct stream_out *out)
{
    return flush(out, false);
}

bool stream_push(struct stream_out *out)
{
    return stream_pending(out) < out->worth || flush(out, false);
}

/* ------------------------------------------------------------------ start, check, fail */

static void publications_pack(msgpack_packer *pk, const char *list)
{
    unsigned n = *list ? 1 : 0;

    for (const char *p = list; *p; p++)
        n += *p == ',';
    msgpack_pack_map(pk, n);
    while (*list) {
        const char *end = list + strcspn(list, ",");
        const char *eq = end;
        while (eq > list && *eq != '=')
            eq--;
        pack_str_n(pk, list, (size_t)(eq - list));
        msgpack_pack_uint32(pk, (uint32_t)strtoul(*eq ? eq + 1 : eq, NULL, 10));
        list = *end ? end + 1 : end;
    }
}

void start_pack(struct stream_out *out, const struct start *s)
{
    msgpack_packer *pk = s->check ? stream_frame(out, "check", 5) : stream_frame(out, "start", 4);

    msgpack_pack_int(pk, STREAM_VERSION);
    pack_str(pk, s->run);
    pack_str(pk, s->pipeline);
    msgpack_pack_map(pk, 4 + s->anew);
    pack_str(pk, "system");
    pack_str(pk, s->source.system);
    pack_str(pk, "database");
    pack_str(pk, s->source.database);
    pack_str(pk, "slot");
    pack_str(pk, s->source.slot);
    pack_str(pk, "publications");
    publications_pack(pk, s->source.publications);
    if (s->anew) {
        pack_str(pk, "anew");
        msgpack_pack_true(pk);
    }
    if (s->check)
        msgpack_pack_unsigned_int(pk, s->failures);
    stream_done(out);
}

static char *publications_unpack(struct frame *f)
{
    struct buf b = {0};

    buf_str(&b, "");
    for (unsigned n = frame_map(f); n; n--) {
        size_t len;
        const char *name = frame_str(f, &len);
        buf_printf(&b, "%s%.*s=", b.len ? "," : "", (int)len, name);
        buf_printf(&b, "%llu", (unsigned long long)frame_uint(f));
    }
    return b.data;
}

void start_unpack(struct frame *f, struct start *s)
{
    *s = (struct start){.check = frame_is(f, "check")};
    if (!s->check && !frame_is(f, "start"))
        frame_bad(f, "a stream opens with `start`");
    if (f->elements != (s->check ? 5 : 4))
        frame_bad(f, "wrong number of elements");
    uint64_t version = frame_uint(f);
    if (version != STREAM_VERSION)
        msg_die(EX_DATAERR,
                "the stream has format version %llu, this program knows %d; "
                "use the same release for all stages",
                (unsigned long long)version, STREAM_VERSION);
    s->run = frame_strdup(f);
    s->pipeline = frame_strdup(f);
    for (unsigned n = frame_map(f); n; n--) {
        size_t len;
        const char *key = frame_str(f, &len);
        char **to = len == 6 && !memcmp(key, "system", len)     ? &s->source.system
                    : len == 8 && !memcmp(key, "database", len) ? &s->source.database
                    : len == 4 && !memcmp(key, "slot", len)     ? &s->source.slot
                                                                : NULL;
        if (to && !*to)
            *to = frame_strdup(f);
        else if (len == 12 && !memcmp(key, "publications", len) && !s->source.publications)
            s->source.publications = publications_unpack(f);
        else if (len == 4 && !memcmp(key, "anew", len))
            s->anew = frame_bool(f);
        else
            frame_any(f);
    }
    if (!s->source.system || !s->source.database || !s->source.slot || !s->source.publications)
        frame_bad(f, "the source is not whole");
    if (s->check)
        s->failures = (unsigned)frame_uint(f);
}

void start_free(struct start *s)
{
    free(s->run);
    free(s->pipeline);
    free(s->source.system);
    free(s->source.database);
    free(s->source.slot);
    free(s->source.publications);
    *s = (struct start){0};
}

void stream_fail(struct stream_out *out, int code)
{
    if (out->packing) /* a frame that is half packed is nothing for downstream */
        out->buf.len = out->frame;
    msgpack_pack_int(stream_frame(out, "fail", 1), code);
    stream_done(out);
    stream_flush(out);
}
