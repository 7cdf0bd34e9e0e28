/*
 * Values within values: the texts of arrays, vectors and hstores, and what of JSON a VARIANT can
 * hold. Every text is one that a PostgreSQL 15 printed, unless it is called bad.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cdc-merge/array.h"
#include "../../cdc-merge/hstore.h"
#include "../../cdc-merge/value.h"
#include "../../cdc-merge/variant.h"

static struct value_scratch scratch;

/* A copy without a NUL behind it: a read past the end is one that ASan sees. */
static char *exactly(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    return mem_realloc(copy, len ? len : 1);
}

/* ------------------------------------------------------------------ arrays */

/* What the walk finds, as <a><b>~: ~ is NULL. Behind it + for a list, - for another array, ! for
 * bad text. */
static const char *walk(const char *text, char delimiter)
{
    static struct buf seen;
    char *copy = exactly(text, strlen(text));
    struct array a = array_begin(copy, strlen(text), delimiter, &scratch.first);
    const char *element;
    size_t len;
    enum array_item item;

    buf_clear(&seen);
    while ((item = delimiter ? array_next(&a, &element, &len)
                             : array_next_of_vector(&a, &element, &len)) < ARRAY_END)
        if (item == ARRAY_NULL)
            buf_char(&seen, '~');
        else
            buf_printf(&seen, "<%.*s>", (int)len, len ? element : "");
    buf_str(&seen, item == ARRAY_BAD ? "!" : array_is_list(&a) ? "+" : "-");
    free(copy);
    return seen.data;
}

static void test_an_array_is_walked_element_by_element(void **state)
{
    (void)state;
    assert_string_equal(walk("{}", ','), "+");
    assert_string_equal(walk("{1,-2,3}", ','), "<1><-2><3>+");
    assert_string_equal(walk("{NULL}", ','), "~+");
    assert_string_equal(walk("{1,NULL,3}", ','), "<1>~<3>+");
    assert_string_equal(walk("{\"NULL\",\"null\",NULLS}", ','), "<NULL><null><NULLS>+");
    assert_string_equal(walk("{\"\"}", ','), "<>+");
    assert_string_equal(walk("{\"a b\",\"c,d\",\"{}\",é}", ','), "<a b><c,d><{}><é>+");
    assert_string_equal(walk("{\"a\\\"b\\\\c\",\"\\\\\"}", ','), "<a\"b\\c><\\>+");
    assert_string_equal(walk("{(1,1),(0,0);(3,3),(2,2)}", ';'), "<(1,1),(0,0)><(3,3),(2,2)>+");
    assert_string_equal(walk("{0101:0102}", ':'), "<0101><0102>+");
    assert_string_equal(walk("{2024-01-01,infinity}", ','), "<2024-01-01><infinity>+");
}

static void test_more_dimensions_and_other_bounds_are_no_list(void **state)
{
    (void)state;
    assert_string_equal(walk("{{1,2},{3,NULL}}", ','), "<1><2><3>~-");
    assert_string_equal(walk("{{{{{{1}}}}}}", ','), "<1>-");
    assert_string_equal(walk("{{\"a,b\"},{\"}\"}}", ','), "<a,b><}>-");
    assert_string_equal(walk("[2:4]={1,2,3}", ','), "<1><2><3>-");
    assert_string_equal(walk("[-1:0][1:2]={{1,2},{3,4}}", ','), "<1><2><3><4>-");
}

static void test_what_no_array_prints_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "{",           "}",
        "1",        "{1",          "{1,",
        "{1,}",     "{,1}",        "{1}}",
        "{1}x",     "{1} ",        " {1}",
        "{\"a}",    "{\"a\\",      "{\"a\\\"",
        "{\"a\"b}", "{a\"b\"}",    "{a\\b}",
        "{{1},2}",  "{1,{2}}",     "{{}}",
        "{{1},{}}", "[1:2]",       "[1:2]=",
        "[1:2]{}",  "[1:2]={}",    "[1]={1}",
        "[:2]={1}", "[1:2={1}",    "[a:2]={1}",
        "[0:1]={1", "{1}{2}",      "{{{{{{{1}}}}}}}",
        "{1;2",     "{{1},{{2}}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *seen = walk(bad[i], ',');
        if (!strchr(seen, '!'))
            fail_msg("'%s' was taken: %s", bad[i], seen);
    }
}

static void test_a_vector_is_walked_number_by_number(void **state)
{
    (void)state;
    assert_string_equal(walk("[1,2.5,-3e-07]", 0), "<1><2.5><-3e-07>+");
    static const char *const bad[] = {"", "[", "]", "[1", "[1,2", "1]", "[1]2", "{1}", "[1][2]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(strchr(walk(bad[i], 0), '!'));
}

/* ------------------------------------------------------------------ hstores */

static const char *pairs(const char *text)
{
    static struct buf seen;
    char *copy = exactly(text, strlen(text));
    struct hstore h = hstore_begin(copy, strlen(text), &scratch.first, &scratch.second);
    enum hstore_item item;
    bool null;

    buf_clear(&seen);
    while ((item = hstore_next(&h, &null)) == HSTORE_PAIR) {
        buf_char(&seen, '<');
        buf_add(&seen, scratch.first.data, scratch.first.len);
        buf_char(&seen, '=');
        if (null)
            buf_char(&seen, '~');
        else
            buf_add(&seen, scratch.second.data, scratch.second.len);
        buf_char(&seen, '>');
    }
    buf_str(&seen, item == HSTORE_BAD ? "!" : "+");
    free(copy);
    return seen.data;
}

static void test_an_hstore_is_walked_pair_by_pair(void **state)
{
    (void)state;
    assert_string_equal(pairs(""), "+");
    assert_string_equal(pairs("\"a\"=>\"1\""), "<a=1>+");
    assert_string_equal(pairs("\"a\"=>NULL, \"b\"=>\"NULL\", \"aa\"=>\"\""), "<a=~><b=NULL><aa=>+");
    assert_string_equal(pairs("\"\"=>\"x\""), "<=x>+");
    assert_string_equal(pairs("\"q\\\"\\\\\"=>\"a, b=>\\\"c\\\"\""), "<q\"\\=a, b=>\"c\">+");
    static const char *const bad[] = {
        "a=>1",
        "\"a\"",
        "\"a\"=>",
        "\"a\"=>1",
        "\"a\"=>\"1",
        "\"a=>\"1\"",
        "\"a\"=>\"1\",",
        "\"a\"=>\"1\", ",
        "\"a\"=> \"1\"",
        "\"a\"=>NULLx",
        "\"a\"=>\"1\"\"b\"",
        "\"a\"=>\"1\", \"a\"=>\"2\"",
        "\"b\"=>\"1\", \"a\"=>\"2\"",
        "\"aa\"=>NULL, \"b\"=>NULL",
        "\"a\\",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!strchr(pairs(bad[i]), '!'))
            fail_msg("'%s' was taken", bad[i]);
}

/* ------------------------------------------------------------------ JSON */

static enum convert_result check(const char *text)
{
    char *copy = exactly(text, strlen(text));
    enum convert_result r = variant_check(copy, strlen(text), &scratch.scalar);
    free(copy);
    return r;
}

#define DIGITS_38 "12345678901234567890123456789012345678"

static void test_json_that_a_variant_holds(void **state)
{
    (void)state;
    static const char *const good[] = {
        "1",
        "-1",
        "0",
        "-0",
        "null",
        "true",
        "false",
        "\"\"",
        "\"a\\n\\u00e9é\\ud83d\\ude00\"",
        "[]",
        "{}",
        " [ 1 , 2.50 ]\t\r\n",
        "{\"a\": {\"a\": 1}, \"b\": [{\"a\": null}]}",
        DIGITS_38,
        "-0." DIGITS_38,
        "0.00000000000000000000000000000000000001",
        "1e2",
        "1E+2",
        "1.5e300",
        "1.2345678901234568e-05",
        "1e16",
        "0e0",
        "-0.0e5",
        "5e-324",
        "0.001e3",
        "120.0e-3",
        "{\"\": 1}",
        "{\"a\": 1, \"A\": 2}",
        "\"\\u0000\\\"\\\\\\/\"",
        "9223372036854775808",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (check(good[i]) != CONVERT_OK)
            fail_msg("'%s' was not taken", good[i]);
}

static void test_json_that_a_variant_would_change(void **state)
{
    (void)state;
    static const char *const beyond[] = {
        DIGITS_38 "9",
        "0." DIGITS_38 "9",
        "0.000000000000000000000000000000000000001",
        "1e400",
        "1e-400",
        "1.23456789012345678e0",
        "1.00000000000000011e0",
        "1e99999999999999999999",
        "{\"a\": 1, \"a\": 2}",
        "{\"a\": 1, \"\\u0061\": 2}",
        "[{\"b\": {\"x\": 1, \"x\": 1}}]",
        "{\"\": 1, \"\": 1}",
        "{\"é\": 1, \"\\u00e9\": 1}",
        "{\"\\ud83d\\ude00\": 1, \"😀\": 1}",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\ud83d\"",
    };
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++)
        if (check(beyond[i]) != CONVERT_UNREPRESENTABLE)
            fail_msg("'%s' was not unrepresentable", beyond[i]);
}

static void test_what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       " ",         "nul",    "True",    "01",        "-",           "1.",
        ".5",     "1e",        "1e+",    "+1",      "0x1",       "NaN",         "'a'",
        "\"",     "\"a",       "\"\\",   "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud83d\\u12\"",
        "\"\t\"", "[",         "]",      "[1",      "[1,",       "[1,]",        "[,1]",
        "[1 2]",  "{",         "{\"a\"", "{\"a\":", "{\"a\":1",  "{\"a\":1,}",  "{a:1}",
        "{1:1}",  "{\"a\" 1}", "1 2",    "[]]",     "{}x",       "[}",          "{]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (check(bad[i]) != CONVERT_BAD)
            fail_msg("'%s' was not refused", bad[i]);
}

static char *repeat(const char *open, const char *middle, const char *close, size_t n)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++)
        buf_str(&b, open);
    buf_str(&b, middle);
    for (size_t i = 0; i < n; i++)
        buf_str(&b, close);
    return b.data;
}

static void expect(enum convert_result result, char *text)
{
    assert_int_equal(check(text), result);
    free(text);
}

static void test_json_has_limits_in_a_variant(void **state)
{
    (void)state;
    expect(CONVERT_OK, repeat("[", "", "]", VARIANT_DEPTH_MAX));
    expect(CONVERT_UNREPRESENTABLE, repeat("[", "", "]", VARIANT_DEPTH_MAX + 1));
    expect(CONVERT_UNREPRESENTABLE, repeat("[", "", "", 1000000));
    expect(CONVERT_OK, repeat("{\"a\":", "1", "}", 10));
    char *name = repeat("k", "", "", VARIANT_NAME_MAX + 1);
    expect(CONVERT_UNREPRESENTABLE, mem_printf("{\"%s\": 1}", name));
    expect(CONVERT_OK, mem_printf("[\"%s\"]", name));
    free(name);
    char *large = repeat("x", "", "", VARIANT_SIZE_MAX);
    expect(CONVERT_UNREPRESENTABLE, mem_printf("\"%s\"", large));
    large[VARIANT_SIZE_MAX - 100] = '\0';
    expect(CONVERT_OK, mem_printf("\"%s\"", large));
    free(large);
}

/* ------------------------------------------------------------------ at random */

/* Any text is taken, refused or unrepresentable, and never read beyond its end. */
static void test_no_text_harms(void **state)
{
    (void)state;
    static const char *const letters[] = {"{}[]\",\\NUL1:=-", "\"=>, NULa\\",
                                          "[]{}:,\"\\u0dafe1. n"};
    uint32_t random = 1;
    for (int round = 0; round < 300000; round++) {
        char text[24];
        const char *from = letters[round % 3];
        size_t len = (random >> 8) % sizeof text, n = strlen(from);
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525 + 1013904223;
            text[i] = from[(random >> 8) % n];
        }
        random = random * 1664525 + 1013904223;
        char *copy = exactly(text, len);
        const char *element;
        size_t size;
        bool null;
        struct array a = array_begin(copy, len, ',', &scratch.first);
        while (array_next(&a, &element, &size) < ARRAY_END)
            ;
        a = array_begin(copy, len, ',', &scratch.first);
        while (array_next_of_vector(&a, &element, &size) < ARRAY_END)
            ;
        struct hstore h = hstore_begin(copy, len, &scratch.first, &scratch.second);
        while (hstore_next(&h, &null) == HSTORE_PAIR)
            ;
        variant_check(copy, len, &scratch.scalar);
        free(copy);
    }
}

/* ------------------------------------------------------------------ values */

static int swallow(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return 0;
}

/* What becomes of one value in a file of its own. */
static enum convert_result put(struct column c, const struct types_options *options,
                               const char *text)
{
    struct target_column to;
    union parquet_value v;
    c.name = (char[]){"c"};
    c.typmod = c.typmod ? c.typmod : -1;
    c.delimiter = ',';
    types_column(&c, false, options, &to);
    to.parquet.name = "c";
    struct parquet *p = parquet_new(1 << 20);
    parquet_open(p, &to.parquet, 1, swallow, NULL);
    enum convert_result r = value_put(&scratch, p, 0, &to, text, strlen(text), &v);
    assert_int_equal(parquet_end_row(p), 0);
    assert_int_equal(parquet_close(p), 0);
    parquet_free(p);
    return r;
}

static void test_a_value_is_put_as_a_whole_or_not_at_all(void **state)
{
    (void)state;
    enum { TEXT = 25, INT4 = 23, DATE = 1082, NUMERIC = 1700, JSONB = 3802, BYTEA = 17 };
    const struct types_options plain = {0}, variant = {.json_variant = true};
    struct column ints = {.base = 1007, .elem = INT4}, dates = {.base = 1182, .elem = DATE};
    struct column numerics = {.base = 1231, .elem = NUMERIC, .typmod = (5 << 16 | 2) + 4};
    struct column texts = {.base = 1009, .elem = TEXT}, bytes = {.base = 1001, .elem = BYTEA};
    struct column json = {.base = JSONB}, jsons = {.base = 3807, .elem = JSONB};
    struct column hstore = {.base = 99999, .basename = (char[]){"hstore"}};
    struct column vector = {.base = 99998, .basename = (char[]){"vector"}};

    assert_int_equal(put(ints, &plain, "{}"), CONVERT_OK);
    assert_int_equal(put(ints, &plain, "{1,NULL}"), CONVERT_OK);
    assert_int_equal(put(ints, &plain, "{{1},{2}}"), CONVERT_UNREPRESENTABLE);
    assert_int_equal(put(ints, &plain, "{1,x}"), CONVERT_BAD);
    assert_int_equal(put(ints, &plain, "{1,2147483648}"), CONVERT_BAD);
    assert_int_equal(put(ints, &plain, "{{1},{x}}"), CONVERT_BAD);
    assert_int_equal(put(dates, &plain, "{2024-01-01}"), CONVERT_OK);
    assert_int_equal(put(dates, &plain, "{2024-01-01,infinity}"), CONVERT_UNREPRESENTABLE);
    assert_int_equal(put(dates, &plain, "{infinity,2024-01-32}"), CONVERT_BAD);
    assert_int_equal(put(numerics, &plain, "{999.99,-1.00}"), CONVERT_OK);
    assert_int_equal(put(numerics, &plain, "{1.00,NaN}"), CONVERT_UNREPRESENTABLE);
    assert_int_equal(put(texts, &plain, "{\"a\\\\\",\"\"}"), CONVERT_OK);
    assert_int_equal(put(bytes, &plain, "{\"\\\\x00ff\",\"\\\\x\"}"), CONVERT_OK);
    assert_int_equal(put(bytes, &plain, "{\"\\\\x0\"}"), CONVERT_BAD);
    assert_int_equal(put(json, &plain, "{\"a\": 1, \"a\": 1}"), CONVERT_OK);
    assert_int_equal(put(json, &variant, "{\"a\": 1, \"a\": 1}"), CONVERT_UNREPRESENTABLE);
    assert_int_equal(put(jsons, &variant, "{\"{\\\"a\\\": 1}\",NULL}"), CONVERT_OK);
    assert_int_equal(put(jsons, &variant, "{1e400}"), CONVERT_UNREPRESENTABLE);
    assert_int_equal(put(hstore, &plain, "\"a\"=>\"\", \"b\"=>NULL"), CONVERT_OK);
    assert_int_equal(put(hstore, &plain, ""), CONVERT_OK);
    assert_int_equal(put(hstore, &plain, "\"a\"=>\"1\", \"a\"=>\"2\""), CONVERT_BAD);
    assert_int_equal(put(vector, &plain, "[1,2.5,3e-07]"), CONVERT_OK);
    assert_int_equal(put(vector, &plain, "[1,x]"), CONVERT_BAD);
    assert_int_equal(put(vector, &plain, "[]"), CONVERT_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_array_is_walked_element_by_element),
        cmocka_unit_test(test_more_dimensions_and_other_bounds_are_no_list),
        cmocka_unit_test(test_what_no_array_prints_is_refused),
        cmocka_unit_test(test_a_vector_is_walked_number_by_number),
        cmocka_unit_test(test_an_hstore_is_walked_pair_by_pair),
        cmocka_unit_test(test_json_that_a_variant_holds),
        cmocka_unit_test(test_json_that_a_variant_would_change),
        cmocka_unit_test(test_what_is_no_json_is_refused),
        cmocka_unit_test(test_json_has_limits_in_a_variant),
        cmocka_unit_test(test_no_text_harms),
        cmocka_unit_test(test_a_value_is_put_as_a_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
