/* The small modules that all programs share: what they accept, and what they refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli.h"
#include "crc32.h"
#include "dies.h"
#include "json.h"
#include "lsn.h"
#include "mem.h"
#include "mp.h"
#include "names.h"
#include "quote.h"
#include "state.h"

/* ------------------------------------------------------------------ mem */

static void a_buffer_grows_and_drops(void **state)
{
    (void)state;
    struct buf b = {0};

    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%03d", i);
    assert_int_equal(b.len, 3000);
    assert_int_equal(strlen(b.data), 3000);
    buf_drop(&b, 2997);
    assert_memory_equal(b.data, "999", 3);
    buf_clear(&b);
    buf_str(&b, "x");
    buf_char(&b, 'y');
    assert_string_equal(b.data, "xy");
    buf_free(&b);
    assert_null(b.data);
}

static void an_arena_keeps_what_it_gave_until_the_reset(void **state)
{
    (void)state;
    struct arena a = {0};
    char *given[100];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 100; i++) {
            size_t size = i % 10 == 9 ? (size_t)3 << 20 : i * 37;
            given[i] = arena_alloc(&a, size);
            assert_int_equal((uintptr_t)given[i] % 8, 0);
            memset(given[i], (int)i, size);
        }
        for (size_t i = 1; i < 100; i++)
            assert_int_equal(given[i][0], (char)i);
        assert_true(a.used > (size_t)30 << 20);
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    arena_free(&a);
}

/* ------------------------------------------------------------------ mp */

#define BYTES(...) \
    ((const unsigned char[]){__VA_ARGS__}), sizeof((const unsigned char[]){__VA_ARGS__})

static const struct {
    enum mp_type type;
    int64_t number; /* or the bytes, elements or pairs */
    const unsigned char *bytes;
    size_t size;
} tokens[] = {
    {MP_NIL, 0, BYTES(0xc0)},
    {MP_BOOL, 0, BYTES(0xc2)},
    {MP_BOOL, 1, BYTES(0xc3)},
    {MP_UINT, 0, BYTES(0)},
    {MP_UINT, 127, BYTES(0x7f)},
    {MP_UINT, 255, BYTES(0xcc, 255)},
    {MP_UINT, 0x1234, BYTES(0xcd, 0x12, 0x34)},
    {MP_UINT, 0x12345678, BYTES(0xce, 0x12, 0x34, 0x56, 0x78)},
    {MP_UINT, INT64_MAX, BYTES(0xcf, 0x7f, 255, 255, 255, 255, 255, 255, 255)},
    {MP_UINT, 5, BYTES(0xd0, 5)},
    {MP_UINT, 5, BYTES(0xd3, 0, 0, 0, 0, 0, 0, 0, 5)},
    {MP_INT, -1, BYTES(0xff)},
    {MP_INT, -32, BYTES(0xe0)},
    {MP_INT, -128, BYTES(0xd0, 0x80)},
    {MP_INT, -2, BYTES(0xd1, 255, 254)},
    {MP_INT, INT32_MIN, BYTES(0xd2, 0x80, 0, 0, 0)},
    {MP_INT, INT64_MIN, BYTES(0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0)},
    {MP_FLOAT, 0, BYTES(0xca, 1, 2, 3, 4)},
    {MP_FLOAT, 0, BYTES(0xcb, 1, 2, 3, 4, 5, 6, 7, 8)},
    {MP_STR, 0, BYTES(0xa0)},
    {MP_STR, 2, BYTES(0xa2, 'h', 'i')},
    {MP_STR, 2, BYTES(0xd9, 2, 'h', 'i')},
    {MP_STR, 2, BYTES(0xda, 0, 2, 'h', 'i')},
    {MP_STR, 2, BYTES(0xdb, 0, 0, 0, 2, 'h', 'i')},
    {MP_BIN, 1, BYTES(0xc4, 1, 0)},
    {MP_BIN, 1, BYTES(0xc5, 0, 1, 0)},
    {MP_BIN, 1, BYTES(0xc6, 0, 0, 0, 1, 0)},
    {MP_EXT, 0, BYTES(0xc7, 0, 1)},
    {MP_EXT, 1, BYTES(0xc8, 0, 1, 1, 9)},
    {MP_EXT, 1, BYTES(0xc9, 0, 0, 0, 1, 1, 9)},
    {MP_EXT, 1, BYTES(0xd4, 1, 9)},
    {MP_EXT, 2, BYTES(0xd5, 1, 9, 9)},
    {MP_EXT, 4, BYTES(0xd6, 1, 9, 9, 9, 9)},
    {MP_EXT, 8, BYTES(0xd7, 1, 9, 9, 9, 9, 9, 9, 9, 9)},
    {MP_EXT, 16, BYTES(0xd8, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9)},
    {MP_ARRAY, 15, BYTES(0x9f)},
    {MP_ARRAY, 0x1234, BYTES(0xdc, 0x12, 0x34)},
    {MP_ARRAY, 0xffffffff, BYTES(0xdd, 255, 255, 255, 255)},
    {MP_MAP, 3, BYTES(0x83)},
    {MP_MAP, 0x1234, BYTES(0xde, 0x12, 0x34)},
    {MP_MAP, 7, BYTES(0xdf, 0, 0, 0, 7)},
};

/* A cursor over a copy of exactly these bytes, so that one byte too far is seen. */
static struct mp exactly(const unsigned char *bytes, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1);

    if (size)
        memcpy(copy, bytes, size);
    return (struct mp){copy, copy + size};
}

static void release(const unsigned char *bytes)
{
    free((void *)(uintptr_t)bytes);
}

static void every_token_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        for (size_t size = 0; size <= tokens[i].size; size++) {
            struct mp whole = exactly(tokens[i].bytes, size), c = whole;
            struct mp_token t;
            int r = mp_next(&c, &t);
            if (size < tokens[i].size) {
                assert_int_equal(r, 0);
                assert_ptr_equal(c.p, whole.p);
            } else {
                assert_int_equal(r, 1);
                assert_ptr_equal(c.p, whole.end);
                assert_int_equal(t.type, tokens[i].type);
                if (t.type == MP_INT)
                    assert_true(t.i == tokens[i].number);
                else if (t.type == MP_UINT || t.type == MP_BOOL)
                    assert_true(t.u == (uint64_t)tokens[i].number);
                else if (t.type != MP_NIL && t.type != MP_FLOAT)
                    assert_true(t.len == (size_t)tokens[i].number);
                if (t.type == MP_EXT)
                    assert_int_equal(t.ext, 1);
            }
            release(whole.p);
        }
    }
}

static int skip_object(const unsigned char *bytes, size_t size, size_t max, size_t *need)
{
    struct mp whole = exactly(bytes, size), c = whole;
    int r = mp_skip(&c, max, need);

    assert_true(r == 1 ? c.p == whole.end : c.p == whole.p);
    release(whole.p);
    return r;
}

static void hostile_objects_are_refused(void **state)
{
    (void)state;
    unsigned char deep[20];

    assert_int_equal(skip_object(BYTES(0xc1), 100, NULL), -1);
    assert_int_equal(skip_object(BYTES(0x92, 1, 0xc1), 100, NULL), -1);
    memset(deep, 0x91, sizeof deep);
    assert_int_equal(skip_object(deep, sizeof deep, 100, NULL), -1);
    deep[MP_DEPTH] = 0xc0;
    assert_int_equal(skip_object(deep, MP_DEPTH + 1, 100, NULL), 1);
    /* they say that they are larger than may be, in elements or bytes */
    assert_int_equal(skip_object(BYTES(0xdd, 0x0f, 255, 255, 255), 1000000, NULL), -1);
    assert_int_equal(skip_object(BYTES(0xdf, 0, 0, 0, 51), 100, NULL), -1);
    assert_int_equal(skip_object(BYTES(0xdb, 255, 255, 255, 255), (size_t)1 << 31, NULL), -1);
    assert_int_equal(skip_object(BYTES(0x92, 0xa0, 0xc6, 0, 0, 0, 99), 100, NULL), -1);
}

static void what_is_needed_is_never_more_than_the_object(void **state)
{
    (void)state;
    static const unsigned char object[] = {0x93, 0xa3, 'a', 'b', 'c',  0x81, 5, 0x92,
                                           0xc0, 0xcd, 1,   2,   0xc7, 0,    1};
    size_t need;

    for (size_t size = 0; size < sizeof object; size++) {
        assert_int_equal(skip_object(object, size, 100, &need), 0);
        assert_in_range(need, 1, sizeof object);
    }
    assert_int_equal(skip_object(object, sizeof object, 100, &need), 1);
}

static void no_bytes_lead_the_cursor_astray(void **state)
{
    (void)state;
    unsigned char bytes[64];

    srand(1);
    for (int i = 0; i < 300000; i++) {
        size_t size = (size_t)rand() % sizeof bytes;
        for (size_t j = 0; j < size; j++) /* many headers, few long lengths */
            bytes[j] = (unsigned char)(rand() % 4 ? rand() : rand() % 8);
        struct mp whole = exactly(bytes, size), c = whole;
        struct mp_token t;
        int r = mp_skip(&c, 1000, NULL);
        assert_true(r >= -1 && r <= 1);
        assert_true(r == 1 ? c.p > whole.p && c.p <= whole.end : c.p == whole.p);
        for (c = whole; mp_next(&c, &t) == 1;)
            assert_true(c.p > whole.p && c.p <= whole.end);
        release(whole.p);
    }
}

/* ------------------------------------------------------------------ lsn, crc32, quote, json */

static void lsn_is_written_and_read_as_postgres_does(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "/",   "1",    "1/",          "/1",
                                      "1/2/3", "g/1", "1/2 ", " 1/2",        "1-2",
                                      "0x1/2", "--",  "-1/2", "123456789/1", "1/123456789"};
    lsn_t lsn;

    assert_string_equal(LSN_TEXT(0), "-");
    assert_string_equal(LSN_TEXT(UINT64_C(0x16B374D848)), "16/B374D848");
    assert_string_equal(LSN_TEXT(1), "0/1");
    assert_string_equal(LSN_TEXT(UINT64_MAX), "FFFFFFFF/FFFFFFFF");
    for (uint64_t x = 1; x; x = x * 3 + x % 7) {
        if (x > UINT64_MAX / 4)
            break;
        assert_true(lsn_parse(LSN_TEXT(x), &lsn));
        assert_true(lsn == x);
    }
    assert_true(lsn_parse("-", &lsn) && lsn == 0);
    assert_true(lsn_parse("16/b374d848", &lsn) && lsn == UINT64_C(0x16B374D848));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (lsn_parse(bad[i], &lsn))
            fail_msg("'%s' was taken for an LSN", bad[i]);
}

static void crc32_is_that_of_zlib(void **state)
{
    (void)state;
    assert_int_equal(crc32_of("", 0), 0);
    assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
}

static void names_and_texts_are_quoted(void **state)
{
    (void)state;
    struct buf b = {0};

    quote_name(&b, "a`b``c 'd' \\ \"");
    assert_string_equal(b.data, "`a``b````c 'd' \\ \"`");
    buf_clear(&b);
    quote_table(&b, "my cat", "s", "t`");
    assert_string_equal(b.data, "`my cat`.`s`.`t```");
    buf_clear(&b);
    quote_text(&b, "it's \\ ` ${x}", 13);
    assert_string_equal(b.data, "'it\\'s \\\\ ` \\u0024{x}'");
    buf_clear(&b);
    quote_path(&b, "/Volumes/a`b");
    assert_string_equal(b.data, "/Volumes/a``b");
    buf_free(&b);
}

static void names_are_equal_without_their_case_in_any_script(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"", ""},
        {"Item_1", "iTEM_1"},
        {"ÄÖÜ", "äöü"},
        {"ΣΊΣΥΦΟΣ", "σίσυφος"},
        {"Ёж", "ёЖ"},
        {"ꮳᎳᎩ", "Ꮳꮃꭹ"},
        {"\xf0\x90\x90\x80", "\xf0\x90\x90\xa8"}, /* Deseret, beyond 16 bits */
    };
    static const char *const others[][2] = {
        {"a", ""},    {"", "a"},  {"a", "b"}, {"a", "ä"},
        {"表", "裱"}, {"😀", "😁"}, {"[", "{"}, {"é", "e\xcc\x81"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(names_equal(same[i][0], same[i][1]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(names_equal(others[i][0], others[i][1]));
}

static void json_lines_are_json(void **state)
{
    (void)state;
    static const unsigned char object[] = {0x96, 0xc0, 0xc3, 0xd0, 0xfe, 0xa4, '"', '\\', '\n',
                                           1,    0x81, 0xa1, 'k',  5,    0xc7, 0,   1};
    struct buf b = {0};

    json_line(&b, (struct mp){object, object + sizeof object});
    assert_string_equal(b.data,
                        "[null,true,-2,\"\\\"\\\\\\n\\u0001\",{\"k\":5},{\"unchanged\":true}]\n");
    buf_free(&b);
}

/* ------------------------------------------------------------------ cli */

static void parse_size(const void *text)
{
    cli_size("--x", text);
}

static void parse_duration(const void *text)
{
    cli_duration("--x", text);
}

static void parse_count(const void *text)
{
    cli_count("--x", text, 2, 10);
}

static void assert_usage(void (*parse)(const void *), const char *const *texts)
{
    for (; *texts; texts++)
        if (exit_code_of(parse, *texts) != EX_USAGE)
            fail_msg("'%s' was taken for a number", *texts);
}

static void numbers_have_units(void **state)
{
    (void)state;
    static const char *const no_size[] = {
        "",  "k", "-1", "1.5M", "1 M", " 1", "1m", "1T", "1kk", "0x10", "99999999999999999999",
        NULL};
    static const char *const no_time[] = {"", "s", "-1s", "1.5s", "1m", "1d", "1 s", NULL};
    static const char *const no_count[] = {"", "1", "11", "-3", "3x", "+3", " 3", NULL};

    assert_true(cli_size("--x", "4096") == 4096);
    assert_true(cli_size("--x", "64k") == 65536);
    assert_true(cli_size("--x", "16M") == 16777216);
    assert_true(cli_size("--x", "3G") == UINT64_C(3221225472));
    assert_usage(parse_size, no_size);
    assert_true(cli_duration("--x", "500ms") == 500);
    assert_true(cli_duration("--x", "5s") == 5000);
    assert_true(cli_duration("--x", "2min") == 120000);
    assert_true(cli_duration("--x", "1h") == 3600000);
    assert_usage(parse_duration, no_time);
    assert_int_equal(cli_count("--x", "2", 2, 10), 2);
    assert_int_equal(cli_count("--x", "10", 2, 10), 10);
    assert_usage(parse_count, no_count);
}

/* ------------------------------------------------------------------ state */

static char dir[] = "/tmp/test_common.XXXXXX";
static struct buf text;

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s'", dir);
    int r = system(command);

    free(command);
    buf_free(&text);
    return r;
}

static void write_state(const char *stage, const char *value)
{
    struct buf b = {0};

    state_line(&b, "first", "a", value, "", NULL);
    state_line(&b, "second", NULL);
    state_write(dir, stage, &b);
    buf_free(&b);
}

static void a_state_file_comes_back_as_written(void **state)
{
    (void)state;
    static const char *const values[] = {"plain",     "two words", "100%",     "%20",
                                         "a\nb\tc\r", "ä€𝄞",       "\x7f\x01", "-"};

    assert_false(state_read(dir, "load", &text));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct state_line line;
        size_t at = 0;
        write_state("load", values[i]);
        assert_true(state_read(dir, "load", &text));
        assert_true(state_next(&text, &at, &line));
        assert_string_equal(line.key, "first");
        assert_int_equal(line.words, 3);
        assert_string_equal(line.word[0], "a");
        assert_string_equal(line.word[1], values[i]);
        assert_string_equal(line.word[2], "");
        assert_true(state_next(&text, &at, &line));
        assert_string_equal(line.key, "second");
        assert_int_equal(line.words, 0);
        assert_string_equal(line.word[STATE_WORDS - 1], "");
        assert_false(state_next(&text, &at, &line));
    }
}

static void too_many_words_are_cut_off(void **state)
{
    (void)state;
    struct buf b = {0};
    struct state_line line;
    size_t at = 0;

    buf_str(&b, "k 1 2 3 4 5 6 7 8 9 10\nnext 1\n");
    assert_true(state_next(&b, &at, &line));
    assert_int_equal(line.words, STATE_WORDS);
    assert_string_equal(line.word[7], "8");
    assert_true(state_next(&b, &at, &line));
    assert_string_equal(line.key, "next");
    buf_free(&b);
}

static void read_load(const void *unused)
{
    (void)unused;
    state_read(dir, "load", &text);
}

static void put(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fwrite(data, 1, len, f);
    fclose(f);
}

static void any_damage_of_a_state_file_is_refused(void **state)
{
    (void)state;
    char *path = mem_printf("%s/load", dir);
    char data[256];

    write_state("load", "value");
    FILE *f = fopen(path, "r");
    size_t len = fread(data, 1, sizeof data, f);
    fclose(f);
    assert_int_equal(exit_code_of(read_load, NULL), -1);
    for (size_t i = 0; i < len; i++) {
        put(path, data, i); /* cut */
        assert_int_equal(exit_code_of(read_load, NULL), EX_DATAERR);
        for (int bit = 0; bit < 8; bit++) {
            data[i] ^= (char)(1 << bit);
            put(path, data, len);
            assert_int_equal(exit_code_of(read_load, NULL), EX_DATAERR);
            data[i] ^= (char)(1 << bit);
        }
    }
    data[len] = '\n'; /* longer */
    put(path, data, len + 1);
    assert_int_equal(exit_code_of(read_load, NULL), EX_DATAERR);
    free(path);
}

static void a_folder_that_cannot_be_read_is_a_matter_of_configuration(void **state)
{
    (void)state;
    char *path = mem_printf("%s/load", dir);

    assert_int_equal(symlink(path, path), 0); /* not even root can open that */
    assert_int_equal(exit_code_of(read_load, NULL), EX_CONFIG);
    free(path);
}

static void lock_load(const void *name)
{
    state_lock(dir, name);
}

static void a_lock_has_one_holder(void **state)
{
    (void)state;
    char ready;
    int fd[2];

    assert_true(state_lock_is_free(dir, "load"));
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (!pid) {
        state_lock(dir, "load");
        if (write(fd[1], "", 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(fd[0], &ready, 1), 1);
    assert_false(state_lock_is_free(dir, "load"));
    assert_true(state_lock_is_free(dir, "read"));
    assert_int_equal(exit_code_of(lock_load, "load"), EX_TEMPFAIL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(state_lock_is_free(dir, "load"));
    assert_int_equal(exit_code_of(lock_load, "load"), -1);
    close(fd[0]);
    close(fd[1]);
}

static void a_watch_sees_a_replaced_file(void **state)
{
    (void)state;
    struct pollfd fd = {.fd = state_watch(dir), .events = POLLIN};

    if (fd.fd < 0)
        skip();
    assert_int_equal(poll(&fd, 1, 0), 0);
    write_state("load", "x");
    assert_int_equal(poll(&fd, 1, 0), 1);
    state_watch_drain(fd.fd);
    assert_int_equal(poll(&fd, 1, 0), 0);
    close(fd.fd);
}

static void other_files_are_replaced_too(void **state)
{
    (void)state;
    char *path = mem_printf("%s/batches/run-1", dir);
    struct stat st;

    state_replace(dir, "batches/run-1", "abc", 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(st.st_mode & 0777, 0600);
    state_replace(dir, "batches/run-1", "", 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    free(path);
}

int main(void)
{
#define STATE(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_and_drops),
        cmocka_unit_test(an_arena_keeps_what_it_gave_until_the_reset),
        cmocka_unit_test(every_token_is_read_whole_or_not_at_all),
        cmocka_unit_test(hostile_objects_are_refused),
        cmocka_unit_test(what_is_needed_is_never_more_than_the_object),
        cmocka_unit_test(no_bytes_lead_the_cursor_astray),
        cmocka_unit_test(lsn_is_written_and_read_as_postgres_does),
        cmocka_unit_test(crc32_is_that_of_zlib),
        cmocka_unit_test(names_and_texts_are_quoted),
        cmocka_unit_test(names_are_equal_without_their_case_in_any_script),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(numbers_have_units),
        STATE(a_state_file_comes_back_as_written),
        STATE(too_many_words_are_cut_off),
        STATE(any_damage_of_a_state_file_is_refused),
        STATE(a_folder_that_cannot_be_read_is_a_matter_of_configuration),
        STATE(a_lock_has_one_holder),
        STATE(a_watch_sees_a_replaced_file),
        STATE(other_files_are_replaced_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
