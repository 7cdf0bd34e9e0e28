/* Messages put aside come back as they were, from memory and from the file, also when the backlog
 * is used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../pgcdc-read/backlog.h"

/* The i-th message: mostly short, now and then longer than a block of the file. */
static size_t message(unsigned i, char *data)
{
    size_t len = i % 97 == 0 ? 700000 + i : i % 13 * 17;

    memset(data, 'a' + (int)(i % 26), len);
    return len;
}

static void round_trip(struct backlog *b, unsigned n)
{
    static char data[1000000];
    char *got;
    size_t got_len;

    for (unsigned i = 1; i <= n; i++)
        backlog_put(b, data, message(i, data));
    for (unsigned i = 1; i <= n; i++) {
        size_t len = message(i, data);
        assert_true(backlog_take(b, &got, &got_len));
        assert_int_equal(got_len, len);
        assert_memory_equal(got, data, len);
        memset(got, '!', len);
    }
    assert_false(backlog_take(b, &got, &got_len));
}

static void comes_back(void **state)
{
    static const size_t memory[] = {0, 1, 1000, 100000, 10000000};

    (void)state;
    for (unsigned i = 0; i < sizeof memory / sizeof *memory; i++) {
        struct backlog *b = backlog_new("/tmp", memory[i]);
        for (unsigned n = 0; n < 1000; n = n * 3 + 1)
            round_trip(b, n);
        backlog_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(comes_back)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
