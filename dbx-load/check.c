#include "check.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cluster.h"
#include "msg.h"
#include "quote.h"
#include "spool.h"
#include "staging.h"
#include "volume.h"
#include "warehouse.h"

static unsigned failures;

static bool report(bool ok, const char *what, const char *problem)
{
    if (ok)
        msg_line("ok   %s", what);
    else
        msg_line("FAIL %s: %s", what, problem);
    failures += !ok;
    return ok;
}

/* ------------------------------------------------------------------ sign-in and compute */

static const struct right *compute_right(const struct compute *c)
{
    static struct right right;

    right = c->cluster ? *CLUSTER_RIGHT(cluster_id(c->cluster))
                       : *WAREHOUSE_RIGHT(warehouse_id(c->warehouse));
    return &right;
}

static bool check_compute(struct load *load)
{
    const struct compute *c = &load->compute;
    const char *kind = c->cluster ? "cluster" : "SQL warehouse";
    const char *id = c->cluster ? cluster_id(c->cluster) : warehouse_id(c->warehouse);
    struct http_request *r =
        http_run(load->http,
                 http_request("GET", mem_printf(c->cluster ? CLUSTER_STATE : WAREHOUSE_STATE, id)));
    json_t *root = r->status == 200 ? json_loadb(r->body.data, r->body.len, 0, NULL) : NULL;
    const char *state = json_string_value(json_object_get(root, "state"));
    const struct right *right = compute_right(c);
    char *what =
        mem_printf("sign-in, and %s %s%s%s", kind, id, state ? ": " : "", state ? state : "");
    bool asked = r->status != 403 && !http_token_refused(r);
    const char *advice = !asked             ? ""
                         : r->status == 404 ? "; look the id up in its connection details"
                                            : "; is this the host of the workspace?";
    int code;
    bool ok = r->status == 200;
    char *reason = ok ? NULL : http_problem(r, "asking for its state", right, &code);
    char *problem = ok                ? NULL
                    : r->no_signature ? mem_strdup(reason)
                                      : mem_printf("%s%s host=%s", reason, advice, load->host);

    report(ok, what, problem);

    json_decref(root);
    free(what);
    free(reason);
    free(problem);
    http_request_free(r);
    if (ok && c->cluster)
        cluster_start(c->cluster);
    return ok;
}

/* ------------------------------------------------------------------ a load in small */

/* Why a statement has not done what it should. */
static char *sql_problem(const struct statement *st, const struct right *right,
                         const char *expected)
{
    const char *cell = statement_cell(st, 0, 0);

    if (st->state == STATEMENT_SUCCEEDED)
        return mem_printf("the result is %s, not %s", cell ? cell : "NULL", expected);
    char *sentence = right && statement_forbidden(st) ? rights_sentence(right) : NULL;
    char *problem = mem_printf("%s%s%s", *st->message ? st->message : st->code,
                               sentence ? "; it takes " : "", sentence ? sentence : "");
    free(sentence);
    return problem;
}

static bool check_sql(struct load *load, const char *what, const struct right *right, char *sql,
                      const char *expected)
{
    struct statement *st = statement_run(&load->compute, sql);
    const char *cell = statement_cell(st, 0, 0);
    bool right_answer = !expected || (cell && !strcmp(cell, expected));
    bool ok = st->state == STATEMENT_SUCCEEDED && right_answer;
    char *problem = ok ? NULL : sql_problem(st, right, expected);

    report(ok, what, problem);
    free(problem);
    statement_free(st);
    return ok;
}

static bool check_file(struct load *load, struct http_request *r, const char *what)
{
    http_run(load->http, r);
    bool ok = r->status / 100 == 2;
    int code;
    char *problem = ok ? NULL : http_problem(r, "asked", VOLUME_RIGHT(load->staging), &code);

    report(ok, what, problem);
    free(problem);
    http_request_free(r);
    return ok;
}

/* The table of the test stands beside the staging volume. */
static void check_table(struct load *load, const char *permit)
{
    struct buf table = {0}, source = {0};

    char *name = mem_printf("pgcdc_check_%llx", (unsigned long long)clock_us());
    char *catalog = staging_part(load->staging, 1), *schema = staging_part(load->staging, 2);
    const struct right create = {
        .privileges = "CREATE TABLE", .on = "SCHEMA", .catalog = catalog, .schema = schema};
    const struct right change = {.privileges = "SELECT, MODIFY",
                                 .on = "TABLE",
                                 .catalog = catalog,
                                 .schema = schema,
                                 .name = name};
    staging_table(&table, load->staging, name);
    buf_str(&source, "parquet.`");
    quote_path(&source, permit);
    buf_char(&source, '`');
    if (check_sql(load, "making a table from a staged file", &create,
                  mem_printf("CREATE TABLE %s USING DELTA AS SELECT _permit AS id, 1 AS n FROM %s",
                             table.data, source.data),
                  NULL)) {
        bool merged =
            check_sql(load, "a MERGE from a staged file", &change,
                      mem_printf("MERGE INTO %s AS t USING (SELECT _permit AS id FROM %s) AS s "
                                 "ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = 2 "
                                 "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, 3)",
                                 table.data, source.data),
                      NULL);
        if (merged)
            check_sql(load, "reading it back", NULL,
                      mem_printf("SELECT CAST(sum(n) AS STRING) FROM %s", table.data), "2");
        check_sql(load, "dropping it", NULL, mem_printf("DROP TABLE %s", table.data), NULL);
    }
    free(name);
    free(catalog);
    free(schema);
    buf_free(&table);
    buf_free(&source);
}

static void check_staging(struct load *load)
{
    const char *tmp = getenv("TMPDIR");
    char *folder = mem_printf("%s/check-%llx", load->staging, (unsigned long long)clock_us());
    char *permit = mem_printf("%s/permit.parquet", folder);
    struct http_request *r = http_run(load->http, volume_make_directory(folder));
    bool missing = r->status == 404;

    http_request_free(r);
    if (missing) {
        check_sql(load, "the schema of the staging volume", STAGING_SCHEMA_RIGHT(load->staging),
                  staging_schema_sql(load->staging), NULL);
        check_sql(load, "making the staging volume", STAGING_VOLUME_RIGHT(load->staging),
                  staging_volume_sql(load->staging), NULL);
    }
    if (check_file(load, volume_make_directory(folder), "the staging volume")) {
        int fd = spool_open(tmp && *tmp ? tmp : "/tmp");
        spool_write(fd, load->permit.data, load->permit.len);
        if (check_file(load, volume_put(permit, fd, load->permit.len), "uploading a file"))
            check_table(load, permit);
        check_file(load, volume_delete(permit), "deleting it");
        http_request_free(http_run(load->http, volume_delete_directory(folder)));
    }
    free(permit);
    free(folder);
}

unsigned check_run(struct load *load)
{
    failures = 0;
    if (load->sink != SINK_WAREHOUSE || !check_compute(load))
        return failures;
    if (check_sql(load, "running a statement", compute_right(&load->compute),
                  mem_strdup("SELECT 'x'"), "x") &&
        load->staging)
        check_staging(load);
    return failures;
}
