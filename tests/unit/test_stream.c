/*
 * The reader and the writer of the stream. The random tests take whole streams, cut anywhere, and
 * streams with wrong bytes: these may be refused, and nothing else.
 *
 *     SEED=n build/unit/test_stream     replays one seed of them
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "dies.h"
#include "relation.h"
#include "stream.h"

/* ------------------------------------------------------------------ a reader on a pipe */

struct reader {
    struct stream_in *in;
    int feed;
    struct frame frame;
    bool readable;
    enum stream_status status;
};

static struct reader reader;
static int pipe_out;

static int set_up(void **state)
{
    int fd[2];

    (void)state;
    if (pipe(fd))
        return -1;
    reader = (struct reader){.in = stream_in_new(fd[0]), .feed = fd[1]};
    pipe_out = fd[0];
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stream_in_free(reader.in);
    close(pipe_out);
    if (reader.feed >= 0)
        close(reader.feed);
    return 0;
}

static void feed(const void *bytes, size_t len)
{
    assert_int_equal(write(reader.feed, bytes, len), (ssize_t)len);
}

static void end_of_input(void)
{
    close(reader.feed);
    reader.feed = -1;
}

static void read_one(const void *readable)
{
    reader.status = stream_read(reader.in, &reader.frame, readable != NULL);
}

#define assert_reads(expected, readable)           \
    do {                                           \
        read_one((readable) ? "" : NULL);          \
        assert_int_equal(reader.status, expected); \
    } while (0)

#define FEED(...) \
    feed((const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))

static void frames_come_whole_however_they_are_cut(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0x92, 0xa3, 'e', 'n', 'd', 7, 0x91, 0xa1, 'x'};

    for (size_t i = 0; i < 6; i++) {
        assert_reads(STREAM_WAIT, false);
        feed(bytes + i, 1);
        assert_reads(i < 5 ? STREAM_WAIT : STREAM_FRAME, true);
    }
    assert_string_equal(reader.frame.type, "end");
    assert_int_equal(reader.frame.elements, 1);
    assert_int_equal(reader.frame.offset, 0);
    assert_int_equal(mp_size(reader.frame.whole), 6);
    assert_int_equal(frame_uint(&reader.frame), 7);
    feed(bytes, 6);
    feed(bytes + 6, 3);
    assert_reads(STREAM_FRAME, true);
    assert_reads(STREAM_FRAME, false); /* both came with one read */
    assert_true(frame_is(&reader.frame, "x"));
    assert_int_equal(reader.frame.offset, 12);
    assert_int_equal(stream_offset(reader.in), 15);
    assert_reads(STREAM_WAIT, false);
    end_of_input();
    assert_reads(STREAM_EOF, true);
}

static void the_end_inside_a_frame_is_told_from_the_end(void **state)
{
    (void)state;
    FEED(0x91, 0xa1, 'x', 0x92);
    end_of_input();
    assert_reads(STREAM_FRAME, true);
    assert_reads(STREAM_TRUNCATED, true);
}

static void a_frame_larger_than_the_buffer_comes_whole(void **state)
{
    (void)state;
    size_t size = (size_t)3 << 20;
    char *part = mem_alloc(32768);

    FEED(0x92, 0xa1, 'x', 0xc6, 0, 0x30, 0, 0);
    for (size_t sent = 0; sent < size; sent += 32768) {
        feed(part, 32768);
        if (sent + 32768 < size)
            assert_reads(STREAM_WAIT, true);
    }
    while (reader.status != STREAM_FRAME)
        read_one("");
    size_t len;
    frame_str(&reader.frame, &len);
    assert_int_equal(len, size);
    free(part);
}

static void assert_refused(const void *bytes, size_t len)
{
    feed(bytes, len);
    assert_int_equal(exit_code_of(read_one, ""), EX_DATAERR);
    tear_down(NULL);
    set_up(NULL);
}

#define REFUSED(...)                                     \
    assert_refused((const unsigned char[]){__VA_ARGS__}, \
                   sizeof((const unsigned char[]){__VA_ARGS__}))

static void bytes_that_no_frame_has_are_refused_at_once(void **state)
{
    (void)state;
    REFUSED('h');
    REFUSED(0xc1);
    REFUSED(0x81, 0xa1, 'x', 1);
    REFUSED(0x90);
    REFUSED(0x91, 7);
    REFUSED(0xdd, 255, 255, 255, 255);
    REFUSED(0x92, 0xa1, 'x', 0xc1);
    REFUSED(0x92, 0xa1, 'x', 0xdb, 255, 255, 255, 255);
    REFUSED(0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0xc0);
    REFUSED(0x91, 0xb8, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '1', '2', '3', '4',
            '5', '6', '7', '8', '9', '0', '1', '2', '3'); /* a type of 24 letters */
}

static void take_elements(const void *kinds)
{
    size_t len;

    for (const char *k = kinds; *k; k++) {
        switch (*k) {
        case 'u':
            frame_uint(&reader.frame);
            break;
        case 'i':
            frame_int(&reader.frame);
            break;
        case 'b':
            frame_bool(&reader.frame);
            break;
        case 's':
            frame_str(&reader.frame, &len);
            break;
        case 'd':
            free(frame_strdup(&reader.frame));
            break;
        case 'a':
            frame_array(&reader.frame);
            break;
        case 'm':
            frame_map(&reader.frame);
            break;
        default:
            frame_any(&reader.frame);
        }
    }
}

/* Whether the elements `x`, 5, -5, true, "s\0", [], {} can be taken as these kinds. */
static int take_as(const char *kinds)
{
    FEED(0x98, 0xa1, 'x', 5, 0xfb, 0xc3, 0xa2, 's', 0, 0x90, 0x80, 0xc0);
    assert_reads(STREAM_FRAME, true);
    return exit_code_of(take_elements, kinds);
}

static void elements_have_types(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "i-a", "b",    "s",     "d",      "a",        "m",        "uu",       "ub",
        "uiu", "uibd", "uibsm", "uibsaa", "uib-am-u", "uib-am--", "uib-am-b", NULL};

    assert_int_equal(take_as("uibsam-"), -1);
    assert_int_equal(take_as("iib-am-"), -1);
    assert_int_equal(take_as("-------"), -1);
    for (const char *const *w = wrong; *w; w++)
        if (take_as(*w) != EX_DATAERR)
            fail_msg("the elements were taken as %s", *w);
}

/* ------------------------------------------------------------------ writing */

static void what_is_packed_is_read(void **state)
{
    (void)state;
    struct stream_out *out = stream_out_new(reader.feed, false);
    size_t len;
    msgpack_packer *pk = stream_frame(out, "test", 5);

    msgpack_pack_uint64(pk, UINT64_MAX);
    msgpack_pack_int64(pk, -7);
    pack_str(pk, "text");
    pack_unchanged(pk);
    pack_bin(pk, "\0", 1);
    stream_done(out);
    assert_true(stream_pending(out) > 0);
    assert_true(stream_flush(out));
    assert_int_equal(stream_pending(out), 0);
    assert_reads(STREAM_FRAME, true);
    assert_true(frame_uint(&reader.frame) == UINT64_MAX);
    assert_int_equal(frame_int(&reader.frame), -7);
    assert_memory_equal(frame_str(&reader.frame, &len), "text", 4);
    struct mp unchanged = frame_any(&reader.frame);
    assert_memory_equal(unchanged.p, "\xc7\0\1", 3);
    assert_int_equal(*frame_str(&reader.frame, &len), 0);

    stream_forward(out, &reader.frame); /* as it came */
    assert_true(stream_flush(out));
    size_t size = mp_size(reader.frame.whole);
    unsigned char *copy = mem_alloc(size);
    memcpy(copy, reader.frame.whole.p, size);
    assert_reads(STREAM_FRAME, true);
    assert_int_equal(mp_size(reader.frame.whole), size);
    assert_memory_equal(reader.frame.whole.p, copy, size);
    free(copy);
    stream_out_free(out);
}

static void a_half_packed_frame_is_dropped_by_fail(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        char bytes[100];
        struct stream_out *out = stream_out_new(reader.feed, json);
        stream_frame(out, "whole", 0);
        stream_done(out);
        pack_str(stream_frame(out, "half", 2), "and no more");
        stream_fail(out, 75);
        ssize_t n = read(pipe_out, bytes, sizeof bytes);
        const char *expected = json ? "[\"whole\"]\n[\"fail\",75]\n"
                                    : "\x91\xa5whole\x92\xa4"
                                      "failK";
        assert_int_equal(n, (ssize_t)strlen(expected));
        assert_memory_equal(bytes, expected, (size_t)n);
        stream_out_free(out);
    }
}

static void a_full_pipe_takes_some_and_the_rest_later(void **state)
{
    (void)state;
    struct stream_out *out = stream_out_new(reader.feed, false);
    uint64_t expected = 0;

    fcntl(reader.feed, F_SETFL, O_NONBLOCK);
    for (uint64_t i = 0; i < 300000; i++) {
        msgpack_pack_uint64(stream_frame(out, "number", 1), i);
        stream_done(out);
        if (i % 1000 == 0)
            assert_true(stream_flush_some(out));
    }
    assert_true(stream_pending(out) > 0);
    while (expected < 300000) {
        assert_true(stream_flush_some(out));
        for (read_one(""); reader.status == STREAM_FRAME; read_one(NULL))
            assert_true(frame_uint(&reader.frame) == expected++);
    }
    assert_int_equal(stream_pending(out), 0);
    stream_out_free(out);
}

static void a_reader_that_is_gone_is_told(void **state)
{
    (void)state;
    struct stream_out *out = stream_out_new(reader.feed, false);

    signal(SIGPIPE, SIG_IGN);
    close(pipe_out);
    stream_fail(out, 75);
    assert_false(stream_flush(out));
    stream_out_free(out);
    pipe_out = dup(0);
}

/* ------------------------------------------------------------------ frames that several stages
 * know */

static void start_comes_back_as_packed(void **state)
{
    (void)state;
    static char system[] = "7", database[] = "d b", slot[] = "s", none[] = "",
                two[] = "a=b=5,p=4294967295", run[] = "r", pipeline[] = "ä";

    for (int i = 0; i < 4; i++) {
        struct stream_out *out = stream_out_new(reader.feed, false);
        char *publications = i & 2 ? two : none;
        struct start s = {i & 1, 3, run, pipeline, {system, database, slot, publications}, i & 2},
                     t;
        start_pack(out, &s);
        assert_true(stream_flush(out));
        stream_out_free(out);
        assert_reads(STREAM_FRAME, true);
        start_unpack(&reader.frame, &t);
        assert_int_equal(t.check, s.check);
        assert_int_equal(t.failures, s.check ? 3 : 0);
        assert_string_equal(t.run, run);
        assert_string_equal(t.pipeline, pipeline);
        assert_string_equal(t.source.system, system);
        assert_string_equal(t.source.database, database);
        assert_string_equal(t.source.slot, slot);
        assert_string_equal(t.source.publications, s.source.publications);
        assert_int_equal(t.anew, s.anew);
        start_free(&t);
    }
}

static struct column columns[] = {
    {.name = (char[]){"id"},
     .type = (char[]){"integer"},
     .attnum = 1,
     .oid = 23,
     .base = 23,
     .basename = (char[]){"int4"},
     .delimiter = ',',
     .typmod = -1,
     .key = true,
     .notnull = true},
    {.name = (char[]){"a \"b\""},
     .type = (char[]){"text[]"},
     .attnum = 32767,
     .oid = 1009,
     .base = 1009,
     .elem = 25,
     .delimiter = ':',
     .typmod = 14},
};
static struct relation relation = {.oid = UINT32_MAX,
                                   .lsn = UINT64_MAX,
                                   .seq = 5,
                                   .schema = (char[]){"public"},
                                   .table = (char[]){"t"},
                                   .identity = 'i',
                                   .relfilenode = 7,
                                   .unpublished = OP_UPDATE | OP_TRUNCATE,
                                   .ncolumns = 2,
                                   .nkey = 1,
                                   .columns = columns};

static void a_relation_comes_back_as_packed(void **state)
{
    (void)state;
    struct stream_out *out = stream_out_new(reader.feed, false);

    relation_pack(out, &relation);
    assert_true(stream_flush(out));
    stream_out_free(out);
    assert_reads(STREAM_FRAME, true);
    struct relation *r = relation_unpack(&reader.frame);
    assert_int_equal(r->oid, relation.oid);
    assert_true(r->lsn == relation.lsn && r->seq == 5);
    assert_string_equal(r->schema, "public");
    assert_string_equal(r->table, "t");
    assert_int_equal(r->identity, 'i');
    assert_int_equal(r->relfilenode, 7);
    char *unpublished = relation_unpublished(r);
    assert_string_equal(unpublished, "update, truncate");
    free(unpublished);
    assert_int_equal(r->ncolumns, 2);
    assert_int_equal(r->nkey, 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct column *a = &columns[i], *b = &r->columns[i];
        assert_string_equal(a->name, b->name);
        assert_string_equal(a->type, b->type);
        assert_true(a->attnum == b->attnum && a->oid == b->oid && a->base == b->base &&
                    a->elem == b->elem && a->typmod == b->typmod && a->key == b->key &&
                    a->notnull == b->notnull && a->delimiter == b->delimiter);
        assert_string_equal(a->basename ? a->basename : "", b->basename ? b->basename : "");
    }
    relation_free(r);
}

/* ------------------------------------------------------------------ at random */

static uint64_t random_state;

static unsigned pick(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(random_state >> 33) % n;
}

/* A stream of a few frames of every kind. */
static void random_stream(struct buf *b)
{
    static const char *const types[] = {"start", "begin", "insert", "update", "x", "checkpoint"};
    static char word[300];
    int fd = open("/dev/null", O_WRONLY);
    struct stream_out *out = stream_out_new(fd, false);
    msgpack_packer pk;

    memset(word, 'w', sizeof word);
    pack_into(&pk, b);
    for (unsigned n = 1 + pick(8); n; n--) {
        unsigned elements = pick(6);
        msgpack_pack_array(&pk, elements + 1);
        pack_str(&pk, types[pick(6)]);
        for (; elements; elements--) {
            switch (pick(6)) {
            case 0:
                msgpack_pack_uint64(&pk, (uint64_t)pick(1u << 31) << pick(33));
                break;
            case 1:
                msgpack_pack_int64(&pk, -(int64_t)pick(70000));
                break;
            case 2:
                pack_str_n(&pk, word, pick(sizeof word));
                break;
            case 3:
                pack_unchanged(&pk);
                break;
            case 4:
                msgpack_pack_array(&pk, 2);
                msgpack_pack_nil(&pk);
                pack_bin(&pk, word, pick(40));
                break;
            default:
                msgpack_pack_map(&pk, 1);
                pack_str(&pk, "key");
                msgpack_pack_true(&pk);
            }
        }
    }
    stream_out_free(out);
    close(fd);
}

static void append_whole(struct buf *b)
{
    buf_add(b, reader.frame.whole.p, mp_size(reader.frame.whole));
}

static struct buf bytes, seen; /* what is sent, and the frames that came of it */

/* Feeds the bytes in random pieces and reads what comes; elements are taken at random. */
static void read_in_pieces(const void *arg)
{
    static const char kinds[] = "uibsdam-";

    (void)arg;
    for (size_t sent = 0; sent < bytes.len;) {
        size_t n = 1 + pick(pick(4) ? 400 : 3);
        if (n > bytes.len - sent)
            n = bytes.len - sent;
        feed(bytes.data + sent, n);
        sent += n;
        for (read_one(""); reader.status == STREAM_FRAME; read_one(NULL)) {
            append_whole(&seen);
            if (pick(3) == 0 && reader.frame.elements) {
                char some[3] = {kinds[pick(8)], reader.frame.elements > 1 ? '-' : '\0'};
                take_elements(pick(20) ? "-" : some);
            }
        }
    }
    end_of_input();
    read_one("");
}

static uint64_t first_seed(uint64_t *count)
{
    const char *one = getenv("SEED");

    if (one)
        *count = 1;
    return one ? strtoull(one, NULL, 10) : 1;
}

static void streams_come_through_however_they_are_cut(void **state)
{
    uint64_t count = 3000, first = first_seed(&count);

    for (uint64_t seed = first; seed < first + count; seed++) {
        random_state = seed;
        random_stream(&bytes);
        int code = exit_code_of(read_in_pieces, NULL);
        if (code != -1 && code != EX_DATAERR) /* a kind asked for at random may be wrong */
            fail_msg("SEED=%llu exit code %d", (unsigned long long)seed, code);
        if (code == -1 && (reader.status != STREAM_EOF || seen.len != bytes.len ||
                           memcmp(seen.data, bytes.data, bytes.len) != 0))
            fail_msg("SEED=%llu the frames are not those that were sent", (unsigned long long)seed);
        buf_free(&seen);
        buf_free(&bytes);
        tear_down(state);
        set_up(state);
    }
}

static void wrong_bytes_are_refused_or_read_and_nothing_else(void **state)
{
    uint64_t count = 20000, first = first_seed(&count);
    unsigned refused = 0;

    for (uint64_t seed = first; seed < first + count; seed++) {
        random_state = seed;
        random_stream(&bytes);
        for (unsigned n = 1 + pick(4); n; n--) {
            size_t at = pick((unsigned)bytes.len);
            switch (pick(3)) {
            case 0:
                bytes.data[at] = (char)pick(256);
                break;
            case 1:
                bytes.len = at + 1; /* cut */
                break;
            default:
                bytes.data[at] = (char)(0xc0 + pick(32)); /* another header */
            }
        }
        int code = exit_code_of(read_in_pieces, NULL);
        refused += code == EX_DATAERR;
        if (code == -1 && reader.status != STREAM_EOF && reader.status != STREAM_TRUNCATED)
            fail_msg("SEED=%llu neither read nor refused", (unsigned long long)seed);
        if (code != -1 && code != EX_DATAERR)
            fail_msg("SEED=%llu exit code %d", (unsigned long long)seed, code);
        buf_free(&seen);
        buf_free(&bytes);
        tear_down(state);
        set_up(state);
    }
    if (count > 1)
        assert_in_range(refused, count / 10, count * 9 / 10);
}

/* What unpacks relations and starts is given every wrong byte at every place. */
static void unpack(const void *starts)
{
    struct start s;

    read_one("");
    if (reader.status != STREAM_FRAME)
        return;
    if (starts) {
        start_unpack(&reader.frame, &s);
        start_free(&s);
    } else {
        relation_free(relation_unpack(&reader.frame));
    }
}

static void definitions_with_wrong_bytes_are_refused_or_read(void **state)
{
    static char word[] = "word", list[] = "p=1";
    struct start s = {true, 0, word, word, {word, word, word, list}, true};
    unsigned char packed[1000];

    for (int starts = 0; starts < 2; starts++) {
        struct stream_out *out = stream_out_new(reader.feed, false);
        starts ? start_pack(out, &s) : relation_pack(out, &relation);
        stream_flush(out);
        stream_out_free(out);
        ssize_t size = read(pipe_out, packed, sizeof packed);
        for (ssize_t at = 0; at < size; at++) {
            for (unsigned byte = 0; byte < 256; byte += byte < 0x7e ? 14 : 1) {
                unsigned char right = packed[at];
                packed[at] = (unsigned char)byte;
                feed(packed, (size_t)size);
                int code = exit_code_of(unpack, starts ? "" : NULL);
                assert_true(code == -1 || code == EX_DATAERR);
                packed[at] = right;
                tear_down(state);
                set_up(state);
            }
        }
    }
}

int main(void)
{
#define STREAM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STREAM(frames_come_whole_however_they_are_cut),
        STREAM(the_end_inside_a_frame_is_told_from_the_end),
        STREAM(a_frame_larger_than_the_buffer_comes_whole),
        STREAM(bytes_that_no_frame_has_are_refused_at_once),
        STREAM(elements_have_types),
        STREAM(what_is_packed_is_read),
        STREAM(a_half_packed_frame_is_dropped_by_fail),
        STREAM(a_full_pipe_takes_some_and_the_rest_later),
        STREAM(a_reader_that_is_gone_is_told),
        STREAM(start_comes_back_as_packed),
        STREAM(a_relation_comes_back_as_packed),
        STREAM(streams_come_through_however_they_are_cut),
        STREAM(wrong_bytes_are_refused_or_read_and_nothing_else),
        STREAM(definitions_with_wrong_bytes_are_refused_or_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
