/* What dbx-load sends and understands, without a service: addresses, pauses, answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../dbx-load/config.h"
#include "../../dbx-load/http.h"
#include "../../dbx-load/profile.h"
#include "../../dbx-load/signin.h"
#include "../../dbx-load/staging.h"
#include "../../dbx-load/statement.h"
#include "../../dbx-load/volume.h"
#include "../../dbx-load/warehouse.h"
#include "../../dbx-load/cluster.h"

static void is_text(char *text, const char *expected)
{
    assert_string_equal(text, expected);
    free(text);
}

static void host_becomes_an_https_address(void **state)
{
    static const char *const pairs[][2] = {
        {"dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com"},
        {"https://adb-1.2.azuredatabricks.net/?o=1", "https://adb-1.2.azuredatabricks.net"},
        {"HTTPS://Host:8443/sql/x", "https://Host:8443"},
        {"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
        {"http://localhost:1/", "http://localhost:1"},
        {"http://[::1]:9", "http://[::1]:9"},
        {"https://h.databricks.com:443/", "https://h.databricks.com"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *base = NULL;
        assert_null(config_base(pairs[i][0], &base));
        is_text(base, pairs[i][1]);
    }
}

static void token_is_not_sent_in_clear_text(void **state)
{
    static const char *const hosts[] = {
        "http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com",
        "http://127.x:1",     "http://user@127.0.0.1",        ""};
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char *base = NULL;
        assert_non_null(config_base(hosts[i], &base));
        assert_null(base);
    }
}

static void http_path_says_what_runs_statements(void **state)
{
    static const char *const wrong[] = {"/sql/1.0/warehouses/",
                                        "/sql/1.0/warehouses/a/b",
                                        "sql/protocolv1/o/1",
                                        "sql/protocolv1/o/1/",
                                        "sql/protocolv1/o/1/a/b",
                                        "/jobs/1",
                                        ""};
    char *warehouse = NULL, *cluster = NULL;

    (void)state;
    assert_null(config_http_path("/sql/1.0/warehouses/abc123", &warehouse, &cluster));
    is_text(warehouse, "abc123");
    assert_null(config_http_path("sql/1.0/endpoints/x-1", &warehouse, &cluster));
    is_text(warehouse, "x-1");
    assert_null(cluster);
    warehouse = NULL;
    assert_null(config_http_path("sql/protocolv1/o/123/0123-456789-abc", &warehouse, &cluster));
    is_text(cluster, "0123-456789-abc");
    assert_null(warehouse);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_non_null(config_http_path(wrong[i], &warehouse, &cluster));
}

static void collect(void *arg, const char *key, const char *value)
{
    buf_printf(arg, "%s=%s;", key, value);
}

static void profiles_are_sections(void **state)
{
    static const char text[] = "lost = 1\n[DEFAULT]\r\nhost = https://h/?o=1\r\n; no = 1\n\n"
                               "[other]  \n  token=a=b:c \n# x=1\nempty =\nbare\nkey: v\n[last]";
    struct buf found = {0};

    (void)state;
    assert_true(profile_read(text, "DEFAULT", collect, &found));
    assert_true(profile_read(text, "other", collect, &found));
    assert_true(profile_read(text, "last", collect, &found));
    assert_false(profile_read(text, "las", collect, &found));
    is_text(found.data, "host=https://h/?o=1;token=a=b:c;empty=;bare=;key=v;");
}

static void tokens_are_taken_from_answers(void **state)
{
    static const char *const none[] = {
        "",
        "[]",
        "{}",
        "{\"access_token\":\"a\",\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"Bearer\",\"expires_in\":9}",
        "{\"access_token\":\"a\",\"token_type\":\"mac\",\"expires_in\":9}"};
    static const char *const good[] = {
        "{\"access_token\":\"a\",\"token_type\":\"Bearer\",\"expires_in\":3600}",
        "{\"access_token\":\"a\",\"token_type\":\"bearer\",\"expires_in\":\"3600\"}"};
    int64_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_null(signin_parse(none[i], strlen(none[i]), &seconds));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        is_text(signin_parse(good[i], strlen(good[i]), &seconds), "a");
        assert_int_equal(seconds, 3600);
    }
    static const char forever[] = "{\"access_token\":\"a\",\"token_type\":\"Bearer\","
                                  "\"expires_in\":9223372036854775807}";
    is_text(signin_parse(forever, strlen(forever), &seconds), "a");
    assert_int_equal(seconds, 24 * 60 * 60);
}

static void pauses_grow_and_the_server_has_its_say(void **state)
{
    (void)state;
    assert_int_equal(http_pause(1, 0, 0), 250);
    assert_int_equal(http_pause(2, 0, 0), 500);
    assert_in_range(http_pause(3, 0, 0.999), 1000, 2000);
    assert_int_equal(http_pause(7, 0, 0), 15000);
    assert_int_equal(http_pause(60, 0, 0), 15000);
    assert_in_range(http_pause(60, 0, 0.999), 29000, 30000);
    assert_int_equal(http_pause(60, 7, 0.5), 7000);
}

static void paths_are_encoded_by_segment(void **state)
{
    (void)state;
    is_text(volume_url("/f", "/Volumes/c/s p/100%/ä?#", "?q=1"),
            "/f/Volumes/c/s%20p/100%25/%C3%A4%3F%23?q=1");
}

static void staging_stays_inside_its_volume(void **state)
{
    struct buf name = {0};

    (void)state;
    assert_true(staging_is_valid("/Volumes/c/s/v/name"));
    assert_true(staging_is_valid("/Volumes/c/s/v/name/deeper"));
    assert_false(staging_is_valid("/Volumes/c/s/v"));
    assert_false(staging_is_valid("/Volumes/c/s/v/"));
    assert_false(staging_is_valid("/Volumes/c/s/../name"));
    assert_false(staging_is_valid("/Volumes/c/s/v/."));
    assert_false(staging_is_valid("/etc/c/s/v/name"));
    is_text(staging_schema_sql("/Volumes/c/s`x/v/n"), "CREATE SCHEMA IF NOT EXISTS `c`.`s``x`");
    is_text(staging_volume_sql("/Volumes/c/s/v/n"), "CREATE VOLUME IF NOT EXISTS `c`.`s`.`v`");
    staging_table(&name, "/Volumes/c/s/v/n", "t");
    is_text(name.data, "`c`.`s`.`t`");
}

static struct statement *answer(const char *body)
{
    struct statement *s = mem_alloc(sizeof *s);

    assert_true(warehouse_parse(s, body, strlen(body)));
    return s;
}

static void rows_are_read_with_nulls(void **state)
{
    struct statement *s = answer("{\"statement_id\":\"i\",\"status\":{\"state\":\"SUCCEEDED\"},"
                                 "\"manifest\":{\"total_chunk_count\":2},"
                                 "\"result\":{\"data_array\":[[\"1\",null],[\"2\",\"b\"]]}}");
    (void)state;
    assert_int_equal(s->state, STATEMENT_SUCCEEDED);
    assert_int_equal(s->chunks, 2);
    assert_int_equal(statement_rows(s), 2);
    assert_string_equal(statement_cell(s, 0, 0), "1");
    assert_null(statement_cell(s, 0, 1));
    assert_string_equal(statement_cell(s, 1, 1), "b");
    assert_null(statement_cell(s, 2, 0));
    assert_null(statement_cell(s, 0, 2));
    statement_free(s);
}

static void states_of_a_statement(void **state)
{
    static const struct {
        const char *name;
        enum statement_state state;
    } states[] = {
        {"PENDING", STATEMENT_WAITING},  {"RUNNING", STATEMENT_WAITING},
        {"CLOSED", STATEMENT_SUCCEEDED}, {"CANCELED", STATEMENT_CANCELED},
        {"FAILED", STATEMENT_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        char *body =
            mem_printf("{\"statement_id\":\"i\",\"status\":{\"state\":\"%s\"}}", states[i].name);
        struct statement *s = answer(body);
        assert_int_equal(s->state, states[i].state);
        assert_string_equal(s->message, "");
        statement_free(s);
        free(body);
    }
}

static struct statement *failure(const char *sql_state, const char *message)
{
    char *body = mem_printf("{\"statement_id\":\"i\",\"status\":{\"state\":\"FAILED\","
                            "\"sql_state\":\"%s\",\"error\":{\"error_code\":\"BAD_REQUEST\","
                            "\"message\":\"%s\"}}}",
                            sql_state, message);
    struct statement *s = answer(body);

    free(body);
    return s;
}

static void failures_are_told_apart(void **state)
{
    static const struct {
        const char *sql_state, *message;
        bool (*is)(const struct statement *s);
    } cases[] = {
        {"2D521", "x", statement_conflict},
        {"", "[DELTA_CONCURRENT_APPEND] x", statement_conflict},
        {"42P01", "x", statement_no_table},
        {"42704", "[SCHEMA_NOT_FOUND] x", statement_no_table},
        {"42704", "[SCHEMA_NOT_FOUND] x", statement_no_schema},
        {"42704", "[NO_SUCH_CATALOG_EXCEPTION] x", statement_no_catalog},
        {"42P07", "x", statement_exists},
        {"42501", "x", statement_forbidden},
    };
    struct statement *other = failure("XX000", "something else");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct statement *s = failure(cases[i].sql_state, cases[i].message);
        assert_true(cases[i].is(s));
        assert_false(cases[i].is(other));
        statement_free(s);
    }
    statement_free(other);
}

static void message_is_its_first_line(void **state)
{
    struct statement *s = failure("42000", "first\\nsecond");

    (void)state;
    assert_string_equal(s->message, "first");
    statement_free(s);
}

static void commands_of_a_cluster(void **state)
{
    static const struct {
        const char *body;
        enum statement_state state;
    } cases[] = {
        {"{\"id\":\"c\",\"status\":\"Queued\",\"results\":null}", STATEMENT_WAITING},
        {"{\"id\":\"c\",\"status\":\"Cancelling\"}", STATEMENT_WAITING},
        {"{\"id\":\"c\",\"status\":\"Cancelled\"}", STATEMENT_CANCELED},
        {"{\"status\":\"Error\",\"results\":{\"resultType\":\"error\",\"summary\":\"x\"}}",
         STATEMENT_FAILED},
        {"{\"status\":\"Finished\",\"results\":{\"resultType\":\"error\",\"cause\":\"x\"}}",
         STATEMENT_FAILED},
        {"{\"status\":\"Finished\",\"results\":{\"resultType\":\"text\",\"data\":\"\"}}",
         STATEMENT_SUCCEEDED},
    };
    static const char table[] = "{\"status\":\"Finished\",\"results\":{\"resultType\":\"table\","
                                "\"data\":[[1,\"a\",null,true,-9007199254740993]]}}";
    static const char failed[] =
        "{\"status\":\"Finished\",\"results\":{\"resultType\":\"error\",\"cause\":\"o.a.s."
        "AnalysisException: [TABLE_OR_VIEW_NOT_FOUND] no t. SQLSTATE: 42P01; line 1\\n\\tat x\"}}";
    struct statement *s;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s = mem_alloc(sizeof *s);
        assert_true(cluster_parse(s, cases[i].body, strlen(cases[i].body)));
        assert_int_equal(s->state, cases[i].state);
        statement_free(s);
    }
    s = mem_alloc(sizeof *s);
    assert_true(cluster_parse(s, table, strlen(table)));
    assert_int_equal(statement_rows(s), 1);
    assert_string_equal(statement_cell(s, 0, 0), "1");
    assert_string_equal(statement_cell(s, 0, 1), "a");
    assert_null(statement_cell(s, 0, 2));
    assert_string_equal(statement_cell(s, 0, 3), "true");
    assert_string_equal(statement_cell(s, 0, 4), "-9007199254740993");
    assert_true(cluster_parse(s, failed, strlen(failed)));
    assert_true(statement_no_table(s));
    assert_string_equal(s->sql_state, "42P01");
    assert_null(strchr(s->message, '\n'));
    assert_false(cluster_parse(s, "{\"status\":\"Dancing\"}", 20));
    assert_false(cluster_parse(s, "<html>", 6));
    statement_free(s);
    assert_true(cluster_ran("1/2/3"));
    assert_false(cluster_ran("01ef-uuid"));
}

static void what_is_no_answer(void **state)
{
    static const char *const bodies[] = {
        "",
        "{}",
        "<html>",
        "[]",
        "{\"statement_id\":\"i\",\"status\":{\"state\":\"DANCING\"}}",
        "{\"statement_id\":\"\",\"status\":{\"state\":\"PENDING\"}}"};
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct statement s = {0};
        assert_false(warehouse_parse(&s, bodies[i], strlen(bodies[i])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_becomes_an_https_address),
        cmocka_unit_test(token_is_not_sent_in_clear_text),
        cmocka_unit_test(http_path_says_what_runs_statements),
        cmocka_unit_test(profiles_are_sections),
        cmocka_unit_test(tokens_are_taken_from_answers),
        cmocka_unit_test(pauses_grow_and_the_server_has_its_say),
        cmocka_unit_test(paths_are_encoded_by_segment),
        cmocka_unit_test(staging_stays_inside_its_volume),
        cmocka_unit_test(rows_are_read_with_nulls),
        cmocka_unit_test(states_of_a_statement),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(message_is_its_first_line),
        cmocka_unit_test(commands_of_a_cluster),
        cmocka_unit_test(what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
