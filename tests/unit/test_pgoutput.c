/*
 * pgoutput's messages, made by hand from the format's description: each kind is understood; none
 * can be cut short, lengthened or bent without being refused; and nothing is read beyond its end
 * (the sanitizers watch). Then the lines of COPY.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../pgcdc-read/copytext.h"
#include "../../pgcdc-read/pgoutput.h"

static struct arena arena;

/* Parses a copy of exactly these bytes, so that a read beyond them is seen. */
static const char *parse(const char *bytes, size_t len, struct pgoutput *m, void **copy)
{
    *copy = malloc(len ? len : 1);
    memcpy(*copy, bytes, len);
    return pgoutput_parse(&arena, *copy, len, m);
}

#define GOOD(bytes, m, copy) assert_null(parse(bytes, sizeof bytes - 1, m, copy))

/* Every shorter version is refused; so is a longer one. */
static void assert_exact(const char *bytes, size_t len)
{
    struct pgoutput m;
    void *copy;
    char *longer = malloc(len + 1);

    for (size_t n = 0; n < len; n++) {
        assert_non_null(parse(bytes, n, &m, &copy));
        free(copy);
    }
    memcpy(longer, bytes, len);
    longer[len] = 0;
    assert_non_null(parse(longer, len + 1, &m, &copy));
    free(copy);
    free(longer);
}

#define EXACT(bytes) assert_exact(bytes, sizeof bytes - 1)

static const char begin[] = "B"
                            "\0\0\0\x16\xb3\x74\xd8\x48"
                            "\0\0\0\0\0\0\0\x05"
                            "\0\0\x02\xd7";
static const char commit[] = "C\0"
                             "\0\0\0\x16\xb3\x74\xd8\x48"
                             "\0\0\0\x16\xb3\x74\xd8\x78"
                             "\xff\xff\xff\xff\xff\xff\xff\xff";
static const char relation[] = "R"
                               "\0\0\x40\0"
                               "public\0t\0d"
                               "\0\x02"
                               "\x01id\0\0\0\0\x17\xff\xff\xff\xff"
                               "\0v\0\0\0\x04\x13\0\0\0\x0e";
static const char insert[] = "I\0\0\x40\0N\0\x03"
                             "t\0\0\0\x02"
                             "42"
                             "n"
                             "t\0\0\0\0";
static const char update[] = "U\0\0\x40\0K\0\x02"
                             "t\0\0\0\x01"
                             "1"
                             "n"
                             "N\0\x02"
                             "t\0\0\0\x01"
                             "2"
                             "u";
static const char delete[] = "D\0\0\x40\0O\0\x01t\0\0\0\x01x";
static const char message[] = "M\1\0\0\0\0\x01\x02\x03\x04p\0\0\0\0\x02\0\xff";
static const char truncate[] = "T\0\0\0\x02\x03\0\0\x40\0\0\0\x40\x01";

static void a_transaction_is_understood(void **state)
{
    struct pgoutput m;
    void *copy;

    (void)state;
    GOOD(begin, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_BEGIN);
    assert_true(m.begin.lsn == UINT64_C(0x16b374d848));
    assert_true(m.begin.time == LSN_EPOCH_US + 5);
    assert_int_equal(m.begin.xid, 727);
    free(copy);
    GOOD(commit, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_COMMIT);
    assert_true(m.commit.lsn == UINT64_C(0x16b374d848));
    assert_true(m.commit.end == UINT64_C(0x16b374d878));
    assert_true(m.commit.time == LSN_EPOCH_US - 1);
    free(copy);
}

static void a_relation_is_understood(void **state)
{
    struct pgoutput m;
    void *copy;

    (void)state;
    GOOD(relation, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_RELATION);
    assert_int_equal(m.relation.oid, 16384);
    assert_string_equal(m.relation.schema, "public");
    assert_string_equal(m.relation.table, "t");
    assert_int_equal(m.relation.identity, 'd');
    assert_int_equal(m.relation.n, 2);
    assert_string_equal(m.relation.columns[0].name, "id");
    assert_true(m.relation.columns[0].key);
    assert_int_equal(m.relation.columns[0].type, 23);
    assert_int_equal(m.relation.columns[0].typmod, -1);
    assert_false(m.relation.columns[1].key);
    assert_int_equal(m.relation.columns[1].typmod, 14);
    free(copy);
    GOOD("R\0\0\0\x01\0t\0n\0\0", &m, &copy);
    assert_string_equal(m.relation.schema, "pg_catalog");
    free(copy);
}

static void rows_are_understood(void **state)
{
    struct pgoutput m;
    void *copy;

    (void)state;
    GOOD(insert, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_INSERT);
    assert_false(m.row.has_old);
    assert_int_equal(m.row.new.n, 3);
    assert_int_equal(m.row.new.values[0].len, 2);
    assert_memory_equal(m.row.new.values[0].data, "42", 2);
    assert_int_equal(m.row.new.values[1].kind, VALUE_NULL);
    assert_int_equal(m.row.new.values[2].kind, VALUE_TEXT);
    assert_int_equal(m.row.new.values[2].len, 0);
    free(copy);
    GOOD(update, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_UPDATE);
    assert_true(m.row.has_old && !m.row.old_is_whole);
    assert_memory_equal(m.row.old.values[0].data, "1", 1);
    assert_memory_equal(m.row.new.values[0].data, "2", 1);
    assert_int_equal(m.row.new.values[1].kind, VALUE_UNCHANGED);
    free(copy);
    GOOD(delete, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_DELETE);
    assert_true(m.row.has_old && m.row.old_is_whole);
    free(copy);
    GOOD(truncate, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_TRUNCATE);
    assert_int_equal(m.truncate.n, 2);
    assert_int_equal(m.truncate.oids[1], 16385);
    assert_int_equal(m.truncate.flags, 3);
    free(copy);
    GOOD(message, &m, &copy);
    assert_int_equal(m.type, PGOUTPUT_MESSAGE);
    assert_true(m.message.transactional);
    assert_int_equal(m.message.lsn, 0x01020304);
    assert_string_equal(m.message.prefix, "p");
    assert_int_equal(m.message.len, 2);
    assert_memory_equal(m.message.content, "\0\xff", 2);
    free(copy);
}

static void no_message_can_be_cut_or_lengthened(void **state)
{
    (void)state;
    EXACT(begin);
    EXACT(commit);
    EXACT(relation);
    EXACT(insert);
    EXACT(update);
    EXACT(delete);
    EXACT(truncate);
    EXACT(message);
}

static void bent_messages_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
#define BYTES(s) {s, sizeof s - 1}
        BYTES(""),
        BYTES("?"),
        BYTES("I\0\0\x40\0K\0\0N\0\0"),               /* an insert has no old row */
        BYTES("D\0\0\x40\0N\0\0"),                    /* a delete has no new row */
        BYTES("U\0\0\x40\0X\0\0"),                    /* no kind of row */
        BYTES("I\0\0\x40\0N\0\x01z"),                 /* no kind of value */
        BYTES("I\0\0\x40\0N\0\x01t\xff\xff\xff\xff"), /* longer than the message */
        BYTES("I\0\0\x40\0N\xff\xff"),                /* more columns than bytes */
        BYTES("T\xff\xff\xff\xff\0\0\0\0\x01"),       /* more tables than bytes */
        BYTES("R\0\0\x40\0public"),                   /* a string without an end */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pgoutput m;
        void *copy;
        assert_non_null(parse(bad[i].bytes, bad[i].len, &m, &copy));
        free(copy);
    }
}

/* Whatever single bytes are changed, the answer is a message or a refusal, never a crash. */
static void changed_bytes_are_survived(void **state)
{
    char bytes[sizeof update - 1];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        for (int c = 0; c < 256; c++) {
            struct pgoutput m;
            void *copy;
            memcpy(bytes, update, sizeof bytes);
            bytes[i] = (char)c;
            parse(bytes, sizeof bytes, &m, &copy);
            free(copy);
            arena_reset(&arena);
        }
}

static void copy_lines_are_split_and_unescaped(void **state)
{
    char line[] = "1\t\\N\t\ta\\tb\\\\c\\n\t\\\\N\n";
    struct value v[5];

    (void)state;
    assert_true(copytext_split(line, sizeof line - 1, v, 5));
    assert_memory_equal(v[0].data, "1", 1);
    assert_int_equal(v[1].kind, VALUE_NULL);
    assert_int_equal(v[2].kind, VALUE_TEXT);
    assert_int_equal(v[2].len, 0);
    assert_int_equal(v[3].len, 6);
    assert_memory_equal(v[3].data, "a\tb\\c\n", 6);
    assert_int_equal(v[4].kind, VALUE_TEXT); /* the text \N, not NULL */
    assert_memory_equal(v[4].data, "\\N", 2);
}

static void copy_lines_of_another_shape_are_refused(void **state)
{
    struct value v[3];
    char two[] = "1\t2\n", three[] = "1\t2\t3\n", broken[] = "1\t2\\", none[] = "\n";

    (void)state;
    assert_false(copytext_split(two, sizeof two - 1, v, 3));
    assert_false(copytext_split(three, sizeof three - 1, v, 2));
    assert_false(copytext_split(broken, sizeof broken - 1, v, 2));
    assert_true(copytext_split(none, sizeof none - 1, v, 0));
}

static int free_arena(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_is_understood),
        cmocka_unit_test(a_relation_is_understood),
        cmocka_unit_test(rows_are_understood),
        cmocka_unit_test(no_message_can_be_cut_or_lengthened),
        cmocka_unit_test(bent_messages_are_refused),
        cmocka_unit_test(changed_bytes_are_survived),
        cmocka_unit_test(copy_lines_are_split_and_unescaped),
        cmocka_unit_test(copy_lines_of_another_shape_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, free_arena);
}
