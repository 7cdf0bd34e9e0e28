/*
 * Conversion of PostgreSQL's text: every type's edges, and what is no value of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cdc-merge/convert.h"

static struct buf scratch;
static union parquet_value got;

static enum convert_result result(enum parquet_type type, const char *text)
{
    struct parquet_column column = {.type = type};

    /* a copy without a NUL behind it: a read past the end is one that ASan sees */
    size_t len = strlen(text);
    char *copy = mem_alloc(len + 1);
    char *exact = mem_realloc(memcpy(copy, text, len), len ? len : 1);
    enum convert_result r = convert(&column, exact, len, &scratch, &got);
    if (type == PARQUET_STRING && r == CONVERT_OK)
        assert_memory_equal(got.bytes.data, text, len);
    free(exact);
    return r;
}

static void good(enum parquet_type type, const char *text, int64_t value)
{
    if (result(type, text) != CONVERT_OK || got.i != value)
        fail_msg("%s: %lld, not %lld", text, (long long)got.i, (long long)value);
}

static void bad(enum parquet_type type, const char *text)
{
    if (result(type, text) != CONVERT_BAD)
        fail_msg("'%s' was taken", text);
}

static void beyond(enum parquet_type type, const char *text)
{
    if (result(type, text) != CONVERT_UNREPRESENTABLE)
        fail_msg("'%s' was not unrepresentable", text);
}

static void test_integers_to_their_last_value(void **state)
{
    (void)state;
    good(PARQUET_INT16, "-32768", INT16_MIN);
    good(PARQUET_INT16, "32767", INT16_MAX);
    bad(PARQUET_INT16, "32768");
    good(PARQUET_INT32, "-2147483648", INT32_MIN);
    bad(PARQUET_INT32, "2147483648");
    good(PARQUET_INT64, "9223372036854775807", INT64_MAX);
    good(PARQUET_INT64, "-9223372036854775808", INT64_MIN);
    bad(PARQUET_INT64, "9223372036854775808");
    bad(PARQUET_INT64, "-9223372036854775809");
    bad(PARQUET_INT64, "18446744073709551617");
    bad(PARQUET_INT64, "");
    bad(PARQUET_INT64, "-");
    bad(PARQUET_INT64, "1 ");
    bad(PARQUET_INT64, "+1");
    bad(PARQUET_INT64, "0x1");
}

static void test_booleans(void **state)
{
    (void)state;
    good(PARQUET_BOOLEAN, "t", 1);
    good(PARQUET_BOOLEAN, "f", 0);
    bad(PARQUET_BOOLEAN, "true");
    bad(PARQUET_BOOLEAN, "");
}

static void decimal(unsigned precision, unsigned scale, const char *text, const char *unscaled)
{
    struct parquet_column column = {
        .type = PARQUET_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    enum convert_result r = convert(&column, text, strlen(text), &scratch, &got);
    char digits[64] = "", *p = digits + sizeof digits - 1;
    __int128 v = got.decimal;

    if (!unscaled) {
        if (r != CONVERT_UNREPRESENTABLE)
            fail_msg("%s fits into DECIMAL(%u,%u)", text, precision, scale);
        return;
    }
    assert_int_equal(r, CONVERT_OK);
    do
        *--p = (char)('0' + (int)(v % 10 < 0 ? -(v % 10) : v % 10));
    while ((v /= 10));
    if (got.decimal < 0)
        *--p = '-';
    assert_string_equal(p, unscaled);
}

#define NINES_38 "99999999999999999999999999999999999999"

static void test_decimals_exactly_or_not_at_all(void **state)
{
    (void)state;
    decimal(5, 2, "123.45", "12345");
    decimal(5, 2, "-0.01", "-1");
    decimal(5, 2, "7", "700");
    decimal(5, 2, "7.5", "750");
    decimal(5, 2, "7.500", "750");
    decimal(5, 2, "999.99", "99999");
    decimal(5, 2, "1000.00", NULL);
    decimal(5, 2, "0.001", NULL); /* not rounded */
    decimal(1, 0, "9", "9");
    decimal(1, 0, "10", NULL);
    decimal(38, 0, NINES_38, NINES_38);
    decimal(38, 0, "-" NINES_38, "-" NINES_38);
    decimal(38, 0, NINES_38 "0", NULL);
    decimal(38, 38, "0." NINES_38, NINES_38);
    decimal(38, 38, "1", NULL);
    decimal(38, 10, "0000000000000000000000000000000000000000000001", "10000000000");
    decimal(38, 0, "NaN", NULL);
    decimal(38, 0, "Infinity", NULL);
    decimal(38, 0, "-Infinity", NULL);

    struct parquet_column column = {.type = PARQUET_DECIMAL, .precision = 10, .scale = 2};
    static const char *const no_numbers[] = {"", "-", ".", "1e5", "1.2.3", "1,5", " 1", "nan"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++)
        assert_int_equal(convert(&column, no_numbers[i], strlen(no_numbers[i]), &scratch, &got),
                         CONVERT_BAD);
}

static void test_floating_point_keeps_its_bits(void **state)
{
    (void)state;
    assert_int_equal(result(PARQUET_DOUBLE, "0.1"), CONVERT_OK);
    assert_true(got.d == 0.1);
    assert_int_equal(result(PARQUET_DOUBLE, "-0"), CONVERT_OK);
    assert_true(got.d == 0 && signbit(got.d));
    assert_int_equal(result(PARQUET_DOUBLE, "5e-324"), CONVERT_OK);
    assert_true(got.d == 4.9406564584124654e-324);
    assert_int_equal(result(PARQUET_DOUBLE, "1.7976931348623157e+308"), CONVERT_OK);
    assert_true(got.d == 1.7976931348623157e308);
    assert_int_equal(result(PARQUET_DOUBLE, "-Infinity"), CONVERT_OK);
    assert_true(isinf(got.d) && got.d < 0);
    assert_int_equal(result(PARQUET_DOUBLE, "NaN"), CONVERT_OK);
    assert_true(isnan(got.d));

    /* through a double this one would be rounded twice, and end one bit off */
    assert_int_equal(result(PARQUET_FLOAT, "1.00000017881393432617187499"), CONVERT_OK);
    assert_true(got.f == 0x1.000002p0f);
    assert_int_equal(result(PARQUET_FLOAT, "3.4028235e+38"), CONVERT_OK);
    assert_true(got.f == 3.4028235e38f);
    assert_int_equal(result(PARQUET_FLOAT, "Infinity"), CONVERT_OK);
    assert_true(isinf(got.f));

    bad(PARQUET_FLOAT, "1e39");
    bad(PARQUET_DOUBLE, "1e309");
    bad(PARQUET_DOUBLE, "");
    bad(PARQUET_DOUBLE, "nan");
    bad(PARQUET_DOUBLE, "inf");
    bad(PARQUET_DOUBLE, "0x1p3");
    bad(PARQUET_DOUBLE, "1.5 ");
}

static void test_dates(void **state)
{
    (void)state;
    good(PARQUET_DATE, "1970-01-01", 0);
    good(PARQUET_DATE, "1969-12-31", -1);
    good(PARQUET_DATE, "2000-02-29", 11016);
    good(PARQUET_DATE, "0001-01-01", -719162);
    good(PARQUET_DATE, "0001-12-31 BC", -719163);
    good(PARQUET_DATE, "0044-03-15 BC", -735160);
    good(PARQUET_DATE, "4713-01-01 BC", -2440550);
    good(PARQUET_DATE, "5874897-12-31", 2145042905);
    good(PARQUET_DATE, "1582-10-10", -141432); /* there is no gap in October */
    beyond(PARQUET_DATE, "infinity");
    beyond(PARQUET_DATE, "-infinity");
    bad(PARQUET_DATE, "2001-02-29");
    bad(PARQUET_DATE, "1900-02-29");
    bad(PARQUET_DATE, "2000-00-10");
    bad(PARQUET_DATE, "2000-13-10");
    bad(PARQUET_DATE, "2000-01-00");
    bad(PARQUET_DATE, "2000-1-1");
    bad(PARQUET_DATE, "2000-01-01 AD");
    bad(PARQUET_DATE, " BC");
    bad(PARQUET_DATE, "");
}

static void test_times(void **state)
{
    (void)state;
    good(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:00:00", 0);
    good(PARQUET_TIMESTAMP_NTZ, "1969-12-31 23:59:59.999999", -1);
    good(PARQUET_TIMESTAMP_NTZ, "2001-02-03 04:05:06.7", 981173106700000);
    good(PARQUET_TIMESTAMP_NTZ, "4713-01-01 00:00:00 BC", -210863520000000000);
    good(PARQUET_TIMESTAMP, "1970-01-01 00:00:00+00", 0);
    good(PARQUET_TIMESTAMP, "1970-01-01 00:00:00+05:30", -19800000000);
    good(PARQUET_TIMESTAMP, "1970-01-01 00:00:00-00:19:32", 1172000000);
    good(PARQUET_TIMESTAMP, "0044-03-15 12:00:00+00 BC", -63517780800000000);
    good(PARQUET_TIMESTAMP, "294247-01-10 04:00:54.775807+00", INT64_MAX);
    beyond(PARQUET_TIMESTAMP, "294247-01-10 04:00:54.775808+00");
    beyond(PARQUET_TIMESTAMP_NTZ, "294276-12-31 23:59:59.999999");
    beyond(PARQUET_TIMESTAMP, "infinity");
    beyond(PARQUET_TIMESTAMP_NTZ, "-infinity");
    bad(PARQUET_TIMESTAMP, "1970-01-01 00:00:00");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:00:00+00");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 24:00:00");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:60:00");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:00:60");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:00:00.");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01 00:00:00.1234567");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01T00:00:00");
    bad(PARQUET_TIMESTAMP_NTZ, "1970-01-01");
}

static void test_bytes(void **state)
{
    (void)state;
    assert_int_equal(result(PARQUET_BINARY, "\\x00ff7f80"), CONVERT_OK);
    assert_int_equal(got.bytes.len, 4);
    assert_memory_equal(got.bytes.data, "\x00\xff\x7f\x80", 4);
    assert_int_equal(result(PARQUET_BINARY, "\\x"), CONVERT_OK);
    assert_int_equal(got.bytes.len, 0);
    assert_non_null(got.bytes.data);
    bad(PARQUET_BINARY, "\\x0");
    bad(PARQUET_BINARY, "\\x0g");
    bad(PARQUET_BINARY, "\\000");
    bad(PARQUET_BINARY, "");
    assert_int_equal(result(PARQUET_STRING, "anything"), CONVERT_OK);
    assert_int_equal(result(PARQUET_STRING, ""), CONVERT_OK);
}

/* Any text at all is taken, refused or unrepresentable, but never read beyond its end. */
static void test_no_text_harms(void **state)
{
    (void)state;
    static const char letters[] = "0123456789+-.:eE \\xNaInfityBC";
    uint32_t random = 1;
    for (int round = 0; round < 200000; round++) {
        char text[24];
        size_t len = (random >> 8) % (sizeof text - 1);
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525 + 1013904223;
            text[i] = letters[(random >> 8) % (sizeof letters - 1)];
        }
        text[len] = '\0';
        random = random * 1664525 + 1013904223;
        for (int type = PARQUET_BOOLEAN; type <= PARQUET_BINARY; type++)
            if (type != PARQUET_DECIMAL)
                result((enum parquet_type)type, text);
        struct parquet_column column = {.type = PARQUET_DECIMAL, .precision = 9, .scale = 3};
        convert(&column, text, len, &scratch, &got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_to_their_last_value),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_decimals_exactly_or_not_at_all),
        cmocka_unit_test(test_floating_point_keeps_its_bits),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_no_text_harms),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    buf_free(&scratch);
    return failed;
}
