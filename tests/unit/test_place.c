/* Columns of a relation message, placed on the catalog's attributes: what is proven, and what is
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../pgcdc-read/place.h"

enum { INT = 23, TEXT = 25 };

/* Columns and attributes as texts, one letter each: a column's name is its letter and its type int,
 * or text for a capital. An attribute is the letter that it is known to have, or, where only its
 * kind is known, ! (sent), ? (perhaps) or + (new). Attnums count from 1; a dot is one that was not
 * there. The result is the attnums as digits, or "" if nothing is proven. */
static const char *placed(const char *columns, const char *attributes)
{
    static char result[16];
    char names[32][2] = {0};
    struct place_column c[16] = {0};
    struct place_attribute a[16] = {0};
    int attnums[16] = {0};
    unsigned nc = 0, na = 0;

    for (; columns[nc]; nc++) {
        names[nc][0] = columns[nc];
        c[nc] = (struct place_column){
            .name = names[nc], .type = columns[nc] < 'a' ? TEXT : INT, .typmod = -1};
    }
    for (int i = 0; attributes[i]; i++) {
        char *name = names[16 + i];
        name[0] = attributes[i];
        if (*name == '.')
            continue;
        a[na++] = *name == '?'   ? (struct place_attribute){i + 1, PLACE_MAY, NULL, 0, 0, 0}
                  : *name == '!' ? (struct place_attribute){i + 1, PLACE_MUST, NULL, 0, 0, 0}
                  : *name == '+' ? (struct place_attribute){i + 1, PLACE_NEW, NULL, 0, 0, 0}
                                 : (struct place_attribute){
                                       i + 1, PLACE_MUST, name, *name < 'a' ? TEXT : INT, -1, 0};
    }
    memset(result, 0, sizeof result);
    if (place_columns(c, nc, a, na, attnums))
        for (unsigned i = 0; i < nc; i++)
            result[i] = (char)('0' + attnums[i]);
    return result;
}

static void what_has_not_changed_is_where_it_was(void **state)
{
    (void)state;
    assert_string_equal(placed("abc", "abc"), "123");
    assert_string_equal(placed("ac", "a.c"), "13");
    assert_string_equal(placed("ab", "abc"), ""); /* c was there */
    assert_string_equal(placed("abA", "aba"), "");
    assert_string_equal(placed("", ""), "");
}

static void a_renamed_column_is_the_one_that_is_left(void **state)
{
    (void)state;
    assert_string_equal(placed("axc", "a!c"), "123");
    assert_string_equal(placed("xy", "!!"), "12");
}

static void an_added_column_comes_last(void **state)
{
    (void)state;
    assert_string_equal(placed("abn", "ab+"), "123");
    assert_string_equal(placed("ab", "ab+"), "12"); /* not yet */
    assert_string_equal(placed("abn", "ab++"), "123");
    assert_string_equal(placed("abno", "ab++"), "1234");
    assert_string_equal(placed("abnop", "ab++"), "");
}

static void a_dropped_column_was_there_if_it_has_to_be(void **state)
{
    (void)state;
    assert_string_equal(placed("abc", "a?c"), "123");
    assert_string_equal(placed("ac", "a?c"), "13");
    assert_string_equal(placed("acn", "a?c+"), "134");
    assert_string_equal(placed("abcn", "a?c+"), "1234");
    assert_string_equal(placed("abc", "??c"), "123");
    assert_string_equal(placed("bc", "??c"), ""); /* which of the two? */
}

static void a_last_column_that_went_is_not_told_from_one_that_came(void **state)
{
    (void)state;
    assert_string_equal(placed("abx", "ab?+"), "");
    assert_string_equal(placed("ab", "ab?+"), "12");
    assert_string_equal(placed("abcx", "ab?+"), "1234");
}

static void layouts_tell_types_apart(void **state)
{
    (void)state;
    struct place_column c = {.name = "x", .type = INT, .typmod = -1, .layout = 4};
    struct place_attribute a[] = {{.attnum = 3, .kind = PLACE_MAY, .layout = 8},
                                  {.attnum = 4, .kind = PLACE_NEW, .layout = 4}};
    int attnum;

    assert_true(place_columns(&c, 1, a, 2, &attnum));
    assert_int_equal(attnum, 4);
    a[0].layout = 0;
    assert_false(place_columns(&c, 1, a, 2, &attnum));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_not_changed_is_where_it_was),
        cmocka_unit_test(a_renamed_column_is_the_one_that_is_left),
        cmocka_unit_test(an_added_column_comes_last),
        cmocka_unit_test(a_dropped_column_was_there_if_it_has_to_be),
        cmocka_unit_test(a_last_column_that_went_is_not_told_from_one_that_came),
        cmocka_unit_test(layouts_tell_types_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
