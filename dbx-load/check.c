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
    char *what =
        mem_printf("sign-in, and %s %s%s%s", kind, id, state ? ": " : "", state ? state : "");
    char *advice =
        http_token_refused(r) ? mem_strdup(r->advice)
        : r->status == 403 ? mem_printf("it takes %s", c->cluster ? CLUSTER_RIGHT : WAREHOUSE_RIGHT)
        : r->status == 404 ? mem_printf("look the id up in the connection details of the %s", kind)
                           : mem_strdup("is this the host of the workspace?");
    char *problem =
        mem_printf("%s; %s host=%s", r->status == 200 ? "" : http_reason(r), advice, load->host);
    bool ok = report(r->status == 200, what, problem);

    json_decref(root);
    free(what);
    free(advice);
    free(problem);
    http_request_free(r);
    if (ok && c->cluster)
        cluster_start(c->cluster);
    return ok;
}

/* ------------------------------------------------------------------ a load in small */

static bool check_sql(struct load *load, const char *what, const char *right, char *sql,
                      const char *expected)
{
    struct statement *st = statement_run(&load->compute, sql);
    const char *cell = statement_cell(st, 0, 0);
    bool right_answer = !expected || (cell && !strcmp(cell, expected));
    bool ok = st->state == STATEMENT_SUCCEEDED && right_answer;
    char *problem = st->state != STATEMENT_SUCCEEDED
                        ? mem_printf("%s%s%s", *st->message ? st->message : st->code,
                                     right ? "; it takes " : "", right ? right : "")
                        : mem_printf("the result is %s, not %s", cell ? cell : "NULL",
                                     expected ? expected : "-");

    report(ok, what, problem);
    free(problem);
    statement_free(st);
    return ok;
}

static bool check_file(struct load *load, struct http_request *r, const char *what)
{
    http_run(load->http, r);
    bool ok = r->status / 100 == 2;
    char *problem = mem_printf("%s; it takes %s", ok ? "" : http_reason(r), VOLUME_RIGHTS);

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
    staging_table(&table, load->staging, name);
    buf_str(&source, "parquet.`");
    quote_path(&source, permit);
    buf_char(&source, '`');
    if (check_sql(load, "making a table from a staged file", "CREATE TABLE on the schema",
                  mem_printf("CREATE TABLE %s USING DELTA AS SELECT _permit AS id, 1 AS n FROM %s",
                             table.data, source.data),
                  NULL)) {
        bool merged =
            check_sql(load, "a MERGE from a staged file", "SELECT and MODIFY on the table",
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
        check_sql(load, "the schema of the staging volume",
                  "CREATE SCHEMA on the catalog, or the schema made beforehand",
                  staging_schema_sql(load->staging), NULL);
        check_sql(load, "making the staging volume",
                  "CREATE VOLUME on its schema, or the volume made beforehand",
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
    if (check_sql(load, "running a statement",
                  load->compute.cluster ? CLUSTER_RIGHT : WAREHOUSE_RIGHT, mem_strdup("SELECT 'x'"),
                  "x") &&
        load->staging)
        check_staging(load);
    return failures;
}
