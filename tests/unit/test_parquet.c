/*
 * The Parquet writer from inside: its encoders, its bounds, its manners towards the sink. Whether
 * other readers get the values back is what tests/test_parquet.py asks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cdc-merge/delta.h"
#include "../../cdc-merge/dict.h"
#include "../../cdc-merge/parquet.h"
#include "../../cdc-merge/rle.h"
#include "../../cdc-merge/stats.h"

static uint32_t seed = 1;

static uint32_t chance(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* ------------------------------------------------------------------ runs and packed groups */

/* The hybrid encoding, read as Encodings.md describes it. */
static size_t rle_decode(const struct buf *in, unsigned width, uint32_t *out, size_t max)
{
    const uint8_t *p = (const uint8_t *)in->data, *end = p + in->len;
    size_t n = 0;
    while (p < end && n < max) {
        uint64_t header = 0;
        for (unsigned shift = 0;; shift += 7) {
            header |= (uint64_t)(*p & 0x7f) << shift;
            if (!(*p++ & 0x80))
                break;
        }
        if (header & 1) {
            uint64_t bit = 0, values = (header >> 1) * 8;
            for (uint64_t i = 0; i < values; i++) {
                uint32_t v = 0;
                for (unsigned b = 0; b < width; b++, bit++)
                    v |= (uint32_t)(p[bit / 8] >> bit % 8 & 1) << b;
                if (n < max)
                    out[n++] = v;
            }
            p += (header >> 1) * width;
        } else {
            uint32_t v = 0;
            for (unsigned b = 0; b < (width + 7) / 8; b++)
                v |= (uint32_t)*p++ << 8 * b;
            for (uint64_t i = 0; i < header >> 1 && n < max; i++)
                out[n++] = v;
        }
        assert_true(p <= end);
    }
    return n;
}

static void test_runs_and_groups_read_back(void **state)
{
    (void)state;
    enum { MAX = 3000 };
    static uint32_t in[MAX], out[MAX];
    struct rle r = {0};
    for (int round = 0; round < 2000; round++) {
        unsigned width = 1 + chance(32);
        uint32_t mask = width == 32 ? UINT32_MAX : (1u << width) - 1;
        size_t n = 0, want = chance(MAX);
        while (n < want) {
            uint32_t v = seed & mask;
            for (uint32_t k = 1 + chance(chance(4) ? 4 : 600); k && n < want; k--)
                in[n++] = v;
            chance(2);
        }
        rle_begin(&r, width);
        for (size_t i = 0; i < n; i++)
            rle_put(&r, in[i]);
        rle_finish(&r);
        assert_int_equal(rle_decode(&r.out, width, out, n), n);
        assert_memory_equal(in, out, n * sizeof *in);
    }
    rle_free(&r);
}

static void test_a_long_run_takes_a_few_bytes(void **state)
{
    (void)state;
    struct rle r = {0};
    rle_begin(&r, 1);
    for (int i = 0; i < 1000000; i++)
        rle_put(&r, 1);
    rle_finish(&r);
    assert_int_equal(r.out.len, 4);
    rle_free(&r);
}

/* ------------------------------------------------------------------ differences */

static uint64_t take_varint(const uint8_t **p)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        v |= (uint64_t)(**p & 0x7f) << shift;
        if (!(*(*p)++ & 0x80))
            return v;
    }
}

static uint64_t take_zigzag(const uint8_t **p)
{
    uint64_t v = take_varint(p);
    return v >> 1 ^ -(v & 1);
}

/* DELTA_BINARY_PACKED, read as Encodings.md describes it. */
static size_t delta_decode(const struct buf *in, unsigned most_bits, uint64_t *out)
{
    const uint8_t *p = (const uint8_t *)in->data, *end = p + in->len;
    assert_int_equal(take_varint(&p), 128);
    assert_int_equal(take_varint(&p), 4);
    size_t n = take_varint(&p), at = 0;
    uint64_t last = take_zigzag(&p);
    if (n > 0)
        out[at++] = last;
    while (at < n) {
        uint64_t min = take_zigzag(&p);
        const uint8_t *widths = p;
        p += 4;
        for (unsigned i = 0; i < 4; i++) {
            assert_true(widths[i] <= most_bits);
            assert_true(at < n || widths[i] == 0);
            for (size_t k = 0; k < 32; k++) {
                uint64_t v = 0;
                for (size_t bit = k * widths[i], b = 0; b < widths[i]; b++, bit++)
                    v |= (uint64_t)(p[bit / 8] >> bit % 8 & 1) << b;
                last += min + v;
                if (at < n)
                    out[at++] = last;
            }
            p += 4 * widths[i];
        }
        assert_true(p <= end);
    }
    assert_ptr_equal(p, end);
    return n;
}

static void test_differences_read_back(void **state)
{
    (void)state;
    enum { MAX = 700 };
    static uint64_t in[MAX], out[MAX];
    static uint32_t narrow[MAX];
    struct buf b = {0};
    for (int round = 0; round < 2000; round++) {
        size_t n = chance(MAX);
        unsigned bits = chance(65);
        uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1, base = chance(1 << 20);
        for (size_t i = 0; i < n; i++) {
            uint64_t high = (uint64_t)chance(1 << 24) << 40 | (uint64_t)chance(1 << 20) << 20;
            in[i] = (base + ((high | chance(1 << 20)) & mask)) << chance(chance(9) ? 1 : 4);
            narrow[i] = (uint32_t)in[i];
        }
        b.len = 0;
        delta_put(&b, in, n, 8);
        assert_int_equal(delta_decode(&b, 64, out), n);
        assert_memory_equal(in, out, n * sizeof *in);
        b.len = 0;
        delta_put(&b, narrow, n, 4);
        assert_int_equal(delta_decode(&b, 32, out), n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal((uint32_t)out[i], narrow[i]);
    }
    buf_free(&b);
}

static void test_differences_of_the_extremes(void **state)
{
    (void)state;
    const int64_t wide[] = {INT64_MIN, INT64_MAX, INT64_MIN, 0, -1, INT64_MAX, INT64_MAX};
    const int32_t narrow[] = {INT32_MIN, INT32_MAX, INT32_MIN, 0, -1, INT32_MAX, INT32_MAX};
    uint64_t out[7];
    struct buf b = {0};
    delta_put(&b, wide, 7, 8);
    assert_int_equal(delta_decode(&b, 64, out), 7);
    assert_memory_equal(wide, out, sizeof wide);
    b.len = 0;
    delta_put(&b, narrow, 7, 4);
    assert_int_equal(delta_decode(&b, 32, out), 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal((int32_t)(uint32_t)out[i], narrow[i]);
    buf_free(&b);
}

/* ------------------------------------------------------------------ the dictionary */

static void test_equal_values_have_one_index(void **state)
{
    (void)state;
    struct dict d = {0};
    for (int round = 0; round < 2; round++) {
        dict_reset(&d);
        assert_int_equal(dict_index(&d, "", 0), 0);
        for (uint32_t i = 1; i < 20000; i++)
            assert_int_equal(dict_index(&d, &i, sizeof i), i);
        for (uint32_t i = 1; i < 20000; i++)
            assert_int_equal(dict_index(&d, &i, sizeof i), i);
        assert_int_equal(dict_index(&d, "", 0), 0);
        size_t len;
        uint32_t v;
        memcpy(&v, dict_value(&d, 777, &len), sizeof v);
        assert_int_equal(len, 4);
        assert_int_equal(v, 777);
    }
    dict_free(&d);
}

/* ------------------------------------------------------------------ bounds */

static void test_bounds_of_doubles_leave_nan_out(void **state)
{
    (void)state;
    struct stats s;
    stats_begin(&s);
    stats_double(&s, NAN);
    assert_false(s.any);
    assert_int_equal(s.nans, 1);
    stats_double(&s, -INFINITY);
    stats_double(&s, 3);
    assert_true(s.min.d < -1e300 && s.max.d == 3);
}

static void check_bytes(const char *values[], bool utf8, const char *low, const char *high)
{
    struct stats s;
    uint8_t out[STATS_BYTES + 1];
    size_t len;
    stats_begin(&s);
    for (; *values; values++)
        stats_bytes(&s, *values, strlen(*values));
    out[stats_lower_bytes(&s, utf8, out)] = '\0';
    assert_string_equal((char *)out, low);
    assert_int_equal(stats_upper_bytes(&s, utf8, out, &len), high != NULL);
    if (high) {
        out[len] = '\0';
        assert_string_equal((char *)out, high);
    }
}

#define A60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define E32 "éééééééééééééééééééééééééééééééé"

static void test_bounds_of_texts_are_short_and_still_bounds(void **state)
{
    (void)state;
    check_bytes((const char *[]){"b", "", "c", "ab", NULL}, true, "", "c");
    check_bytes((const char *[]){A60 "bcde", A60 "bcdf", NULL}, true, A60 "bcde", A60 "bcdf");
    /* 64 bytes are kept; above, the last one is raised */
    check_bytes((const char *[]){A60 "bcdeXYZ", NULL}, true, A60 "bcde", A60 "bcdf");
    check_bytes((const char *[]){A60 "bcd\x7fXYZ", NULL}, true, A60 "bcd\x7f", A60 "bce");
    /* no half characters, and nothing but ASCII is raised */
    check_bytes((const char *[]){"a" E32, NULL}, true, "aééééééééééééééééééééééééééééééé", "b");
    check_bytes((const char *[]){E32 "x", NULL}, true, E32, NULL);
    check_bytes((const char *[]){E32 "x", NULL}, false, E32,
                "ééééééééééééééééééééééééééééééé\xc3\xaa");
    /* a cut text is greater than its own prefix */
    check_bytes((const char *[]){A60 "bcdeX", A60 "bcde", NULL}, true, A60 "bcde", A60 "bcdf");
}

/* ------------------------------------------------------------------ the sink */

struct sink {
    size_t bytes, calls, fail_after;
};

static int count(void *arg, const void *data, size_t len)
{
    struct sink *s = arg;
    (void)data;
    s->bytes += len;
    if (++s->calls > s->fail_after) {
        errno = EPIPE;
        return -1;
    }
    return 0;
}

static const struct parquet_column columns[] = {
    {.name = "i", .type = PARQUET_INT64},
    {.name = "s", .type = PARQUET_STRING},
    {.name = "l", .type = PARQUET_INT32, .shape = PARQUET_LIST},
    {.name = "m", .type = PARQUET_STRING, .shape = PARQUET_MAP},
};
enum { NCOLUMNS = sizeof columns / sizeof *columns };

static int write_rows(struct parquet *p, struct sink *sink, int rows)
{
    char text[64];
    memset(text, 'x', sizeof text);
    int r = parquet_open(p, columns, NCOLUMNS, count, sink);
    for (int i = 0; r == 0 && i < rows; i++) {
        uint32_t n = seed;
        memcpy(text, &n, sizeof n);
        parquet_put(p, 0, &(union parquet_value){.i = chance(1 << 20)});
        parquet_put(p, 1, &(union parquet_value){.bytes = {text, sizeof text}});
        if (i % 3 == 0)
            parquet_put_null_element(p, 2);
        if (i % 5 == 0)
            parquet_put_empty(p, 3);
        r = parquet_end_row(p);
    }
    return r == 0 ? parquet_close(p) : r;
}

static void test_a_row_group_leaves_when_its_limit_is_passed(void **state)
{
    (void)state;
    struct parquet *p = parquet_new(100000);
    struct sink sink = {.fail_after = SIZE_MAX};
    assert_int_equal(parquet_open(p, columns, NCOLUMNS, count, &sink), 0);
    size_t most = 0;
    for (int i = 0; i < 50000; i++) {
        size_t before = sink.bytes;
        uint32_t text[16];
        for (size_t k = 0; k < 16; k++)
            text[k] = chance(1 << 24);
        parquet_put(p, 1, &(union parquet_value){.bytes = {(char *)text, sizeof text}});
        assert_int_equal(parquet_end_row(p), 0);
        if (sink.bytes - before > most)
            most = sink.bytes - before;
    }
    assert_int_equal(parquet_close(p), 0);
    assert_true(most > 50000 && most < 200000);
    assert_true(sink.bytes > 2000000);
    parquet_free(p);
}

static void test_lists_without_values_count_as_little_as_they_take(void **state)
{
    (void)state;
    struct parquet *p = parquet_new(1 << 20);
    struct sink sink = {.fail_after = SIZE_MAX};
    assert_int_equal(parquet_open(p, columns, NCOLUMNS, count, &sink), 0);
    for (int i = 0; i < 100000; i++) {
        parquet_put_null_element(p, 2);
        if (i % 2)
            parquet_put_empty(p, 3);
        else
            parquet_put_entry(p, 3, &(union parquet_value){.bytes = {"k", 1}},
                              &(union parquet_value){.bytes = {NULL, 0}});
        assert_int_equal(parquet_end_row(p), 0);
    }
    assert_int_equal(parquet_close(p), 0);
    assert_true(sink.calls < 20); /* one row group or two */
    parquet_free(p);
}

static void test_an_error_of_the_sink_ends_the_file_and_not_the_writer(void **state)
{
    (void)state;
    struct parquet *p = parquet_new(10000);
    struct sink whole = {.fail_after = SIZE_MAX};
    seed = 1;
    assert_int_equal(write_rows(p, &whole, 2000), 0);
    for (size_t i = 0; i < whole.calls; i += 1 + whole.calls / 50) {
        struct sink sink = {.fail_after = i};
        errno = 0;
        assert_int_equal(write_rows(p, &sink, 2000), -1);
        assert_int_equal(errno, EPIPE);
    }
    struct sink again = {.fail_after = SIZE_MAX};
    seed = 1;
    assert_int_equal(write_rows(p, &again, 2000), 0);
    assert_int_equal(again.bytes, whole.bytes);
    parquet_free(p);
}

static void test_a_huge_value_passes(void **state)
{
    (void)state;
    size_t len = (size_t)100 << 20;
    char *huge = calloc(1, len);
    struct parquet *p = parquet_new(1 << 20);
    struct sink sink = {.fail_after = SIZE_MAX};
    assert_non_null(huge);
    assert_int_equal(parquet_open(p, columns, NCOLUMNS, count, &sink), 0);
    parquet_put(p, 1, &(union parquet_value){.bytes = {huge, len}});
    assert_int_equal(parquet_end_row(p), 0);
    assert_int_equal(parquet_close(p), 0);
    assert_true(sink.bytes < 1 << 20); /* zeros */
    parquet_free(p);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_and_groups_read_back),
        cmocka_unit_test(test_a_long_run_takes_a_few_bytes),
        cmocka_unit_test(test_differences_read_back),
        cmocka_unit_test(test_differences_of_the_extremes),
        cmocka_unit_test(test_equal_values_have_one_index),
        cmocka_unit_test(test_bounds_of_doubles_leave_nan_out),
        cmocka_unit_test(test_bounds_of_texts_are_short_and_still_bounds),
        cmocka_unit_test(test_a_row_group_leaves_when_its_limit_is_passed),
        cmocka_unit_test(test_lists_without_values_count_as_little_as_they_take),
        cmocka_unit_test(test_an_error_of_the_sink_ends_the_file_and_not_the_writer),
        cmocka_unit_test(test_a_huge_value_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
