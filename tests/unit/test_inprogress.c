/*
 * Transactions that come while they are in progress, their messages made by hand: they come out as
 * protocol version 1 has them, without what was rolled back; and what cannot be is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../pgcdc-read/inprogress.h"
#include "dies.h"

/* A transaction's id is one letter here. */
#define XID(x) "\0\0\0" x
#define START(x) "S" XID(x) "\1"
#define MORE(x) "S" XID(x) "\0"
#define STOP "E"
#define ROW(x, text) "I" XID(x) text
#define ABORT(x, sub) "A" XID(x) XID(sub)
#define LSN "\0\0\0\1\0\0\0\2"
#define END "\0\0\0\1\0\0\0\3"
#define TIME "\0\1\2\3\4\5\6\7"
#define COMMIT(x) "c" XID(x) "\0" LSN END TIME

#define BEGIN_1(x) "B" LSN TIME XID(x)
#define COMMIT_1 "C\0" LSN END TIME

static struct inprogress *p;

static int set_up(void **state)
{
    (void)state;
    if (!p)
        p = inprogress_new("/tmp");
    inprogress_reset(p);
    return 0;
}

/* Gives a copy of exactly these bytes, so that a read beyond them is seen. */
static bool take(const char *bytes, size_t len)
{
    char *copy = malloc(len ? len : 1);

    memcpy(copy, bytes, len);
    bool taken = inprogress_take(p, copy, len);
    free(copy);
    return taken;
}

static void assert_next(const char *bytes, size_t len)
{
    char *data;
    size_t n;

    assert_true(inprogress_next(p, &data, &n));
    assert_int_equal(n, len);
    assert_memory_equal(data, bytes, len);
}

static void assert_none(void)
{
    char *data;
    size_t n;

    assert_false(inprogress_next(p, &data, &n));
}

#define TAKE(bytes) assert_true(take(bytes, sizeof(bytes) - 1))
#define PASS(bytes) assert_false(take(bytes, sizeof(bytes) - 1))
#define NEXT(bytes) assert_next(bytes, sizeof(bytes) - 1)

static void comes_out_as_version_1_has_it(void **state)
{
    (void)state;
    PASS("B and so on");
    TAKE(START("x"));
    assert_true(inprogress_inside(p));
    TAKE("O origin");
    TAKE("Y" XID("x") "type");
    TAKE("R" XID("x") "relation");
    TAKE(ROW("x", "one"));
    TAKE(STOP);
    assert_false(inprogress_inside(p));
    assert_none();
    PASS("I row of another");
    TAKE(MORE("x"));
    TAKE("T" XID("x") "truncate");
    TAKE("M" XID("x") "message");
    TAKE(STOP);
    TAKE(COMMIT("x"));
    NEXT(BEGIN_1("x"));
    NEXT("Rrelation");
    NEXT("Ione");
    NEXT("Ttruncate");
    NEXT("Mmessage");
    NEXT(COMMIT_1);
    assert_none();
    assert_false(inprogress_unclear(p));
    TAKE(START("x"));
}

static void several_are_kept_apart(void **state)
{
    (void)state;
    TAKE(START("x"));
    TAKE(ROW("x", "x1"));
    TAKE(STOP);
    TAKE(START("y"));
    TAKE(ROW("y", "y1"));
    TAKE(STOP);
    TAKE(START("z"));
    TAKE(STOP);
    TAKE(MORE("x"));
    TAKE(ROW("x", "x2"));
    TAKE(STOP);
    TAKE(ABORT("y", "y"));
    TAKE(COMMIT("x"));
    NEXT(BEGIN_1("x"));
    NEXT("Ix1");
    NEXT("Ix2");
    NEXT(COMMIT_1);
    TAKE(COMMIT("z"));
    NEXT(BEGIN_1("z"));
    NEXT(COMMIT_1);
    assert_none();
}

static void what_is_rolled_back_stays_away(void **state)
{
    (void)state;
    TAKE(START("x"));
    TAKE(ROW("x", "1"));
    TAKE(ROW("c", "2"));
    TAKE(ROW("b", "3"));
    TAKE(ROW("x", "4"));
    TAKE(STOP);
    TAKE(ABORT("x", "c"));
    TAKE(ABORT("x", "a"));
    TAKE(ABORT("q", "q")); /* never seen: nothing to forget */
    TAKE(MORE("x"));
    TAKE(ROW("d", "5"));
    TAKE(STOP);
    TAKE(COMMIT("x"));
    NEXT(BEGIN_1("x"));
    NEXT("I1");
    NEXT("I3");
    NEXT("I4");
    NEXT("I5");
    NEXT(COMMIT_1);
    assert_none();
}

/* Whose message it was cannot be told. */
static void a_message_and_a_rollback_are_unclear(void **state)
{
    (void)state;
    TAKE(START("x"));
    TAKE("M" XID("x") "message");
    TAKE(STOP);
    assert_false(inprogress_unclear(p));
    TAKE(ABORT("x", "a"));
    assert_true(inprogress_unclear(p));
    inprogress_reset(p);
    assert_false(inprogress_unclear(p));
    assert_none();
}

struct given {
    const char *data;
    size_t len;
};

static void give(const void *arg)
{
    const struct given *b = arg;

    take(b->data, b->len);
}

#define REFUSED(bytes) \
    assert_int_equal(exit_code_of(give, &(struct given){bytes, sizeof(bytes) - 1}), EX_DATAERR)

static void what_cannot_be_is_refused(void **state)
{
    static const char *whole[] = {START("y"), STOP, COMMIT("x"), ABORT("x", "x")};
    static const size_t len[] = {6, 1, 30, 9};

    (void)state;
    TAKE(START("x"));
    REFUSED(START("x"));
    REFUSED(START("y"));
    REFUSED(COMMIT("x"));
    REFUSED(ABORT("x", "x"));
    REFUSED("B" LSN TIME XID("x"));
    REFUSED("C");
    REFUSED("");
    REFUSED("I");
    REFUSED("I\0\0\0");
    REFUSED("E ");
    TAKE(STOP);
    REFUSED(STOP);
    REFUSED(START("x"));
    REFUSED(MORE("y"));
    REFUSED(COMMIT("y"));
    for (unsigned i = 0; i < 4; i++) /* each cut short, and lengthened */
        for (size_t n = 1; n <= len[i] + 1; n++) {
            char longer[40] = {0};
            memcpy(longer, whole[i], len[i]);
            if (n != len[i])
                assert_int_equal(exit_code_of(give, &(struct given){longer, n}), EX_DATAERR);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(comes_out_as_version_1_has_it, set_up),
        cmocka_unit_test_setup(several_are_kept_apart, set_up),
        cmocka_unit_test_setup(what_is_rolled_back_stays_away, set_up),
        cmocka_unit_test_setup(a_message_and_a_rollback_are_unclear, set_up),
        cmocka_unit_test_setup(what_cannot_be_is_refused, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
