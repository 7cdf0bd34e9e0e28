#include "recover.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fail.h"
#include "msg.h"
#include "purge.h"
#include "spool.h"
#include "staging.h"
#include "table.h"
#include "volume.h"

#define PERMIT "permit-"

/* ------------------------------------------------------------------ statements with known ids */

static void settled(struct statement *st)
{
    *(bool *)st->arg = true;
}

static void settle_statements(struct load *load)
{
    for (struct batch *b = load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++) {
            struct step *step = &b->steps[i];
            bool done = false;
            if (step->done || !step->statement)
                continue;
            struct statement *st =
                statement_settle(&load->compute, step->statement, settled, &done);
            http_wait(load->http, &done);
            step->done =
                st->state == STATEMENT_SUCCEEDED && !step->shaping &&
                table_has_rows(step, st->written); /* else it is sent again, and judged then */
            msg_info("settled a statement of an earlier start statement=%s %s", step->statement,
                     step->done       ? "it had succeeded"
                     : !step->shaping ? "it is to be sent again"
                                      : "the table is looked at again");
            ledger_set(&step->statement, NULL);
            statement_free(st);
        }
    ledger_save(&load->ledger);
}

/* ------------------------------------------------------------------ the staging folder */

/* Runs a request; an answer that is not 2xx (nor 404, if gone is fine) ends the program. */
static void must(struct load *load, struct http_request *r, bool gone_is_fine, const char *doing,
                 const char *path)
{
    http_run(load->http, r);
    if (r->status / 100 != 2 && !(gone_is_fine && r->status == 404)) {
        char *what = mem_printf("%s %s", doing, path);
        http_fail(r, what, VOLUME_RIGHT(path));
    }
    http_request_free(r);
}

static void run_sql(struct load *load, char *sql, const char *what, const struct right *right)
{
    struct statement *st = statement_run(&load->compute, sql);

    if (st->state != STATEMENT_SUCCEEDED)
        statement_fail(st, what, right);
    statement_free(st);
}

/* Deletes the permits of all earlier starts. */
static void delete_permits(struct load *load)
{
    struct volume_list files;

    volume_list(load->http, load->staging, &files);
    for (size_t i = 0; i < files.n; i++) {
        if (strncmp(files.entry[i].name, PERMIT, strlen(PERMIT)))
            continue;
        char *path = mem_printf("%s/%s", load->staging, files.entry[i].name);
        must(load, volume_delete(path), true, "deleting", path);
        free(path);
    }
    volume_list_free(&files);
}

/* The schema and the volume are only made where the folder says that they are missing: where
 * somebody made them beforehand, the right to make them need not be there. */
static void make_folder(struct load *load)
{
    char *path = mem_printf("%s/%s", load->staging, load->start.run);
    struct http_request *r = http_run(load->http, volume_make_directory(path));

    if (r->status == 404) {
        run_sql(load, staging_schema_sql(load->staging), "making the schema of the staging volume",
                STAGING_SCHEMA_RIGHT(load->staging));
        run_sql(load, staging_volume_sql(load->staging), "making the staging volume",
                STAGING_VOLUME_RIGHT(load->staging));
    }
    if (r->status / 100 != 2)
        must(load, volume_make_directory(path), false, "making the folder", path);
    http_request_free(r);
    free(path);
}

/* Every start has its own, a replay of an old run too. */
static void upload_permit(struct load *load)
{
    int fd = spool_open(load->ledger.dir);

    load->permit_path = mem_printf("%s/" PERMIT "%s-%llx.parquet", load->staging, load->start.run,
                                   (unsigned long long)clock_us());
    spool_write(fd, load->permit.data, load->permit.len);
    must(load, volume_put(load->permit_path, fd, load->permit.len), false, "uploading",
         load->permit_path);
}

/* ------------------------------------------------------------------ the tables */

/* Commits a property with a new value, if the table is ours (then something may be under way). */
static void fence_table(struct load *load, const struct step *step)
{
    struct table *t = table_new(step);
    struct statement *st = statement_run(&load->compute, table_properties_sql(t));

    if (st->state == STATEMENT_SUCCEEDED) {
        table_take_properties(t, st);
        if (table_property(t, PROPERTY_PIPELINE)) {
            char *what = mem_printf("fencing %s", t->name);
            run_sql(load, table_fence_sql(t, load->start.run), what, STEP_TABLE_RIGHT(step));
            free(what);
        }
    } else if (!statement_no_table(st)) {
        char *what = mem_printf("reading the properties of %s", t->name);
        statement_fail(st, what, STEP_TABLE_RIGHT(step));
    }
    statement_free(st);
    table_free(t);
}

static bool same_table(const struct step *a, const struct step *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->schema, b->schema) &&
           !strcmp(a->catalog, b->catalog);
}

/* Whether something may have been sent for the step, and its table is not fenced for an earlier
 * one.
 */
static bool needs_fence(const struct ledger *l, const struct step *step)
{
    if (step->done || !step->begun)
        return false;
    for (const struct batch *b = l->batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++) {
            const struct step *o = &b->steps[i];
            if (o == step)
                return true;
            if (!o->done && o->begun && same_table(o, step))
                return false;
        }
    return false;
}

static void fence_tables(struct load *load)
{
    for (struct batch *b = load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++)
            if (needs_fence(&load->ledger, &b->steps[i]))
                fence_table(load, &b->steps[i]);
}

void recover_fence(struct load *load)
{
    settle_statements(load);
    delete_permits(load);
    fence_tables(load);
    make_folder(load);
    upload_permit(load);
    purge_leftovers(load);
}

void recover_leave(struct load *load)
{
    char *folder = mem_printf("%s/%s", load->staging, load->start.run);

    http_request_free(http_run(load->http, volume_delete(load->permit_path)));
    if (!load->keep_staged) /* what is not empty, or not deleted now, goes at the next start */
        http_request_free(http_run(load->http, volume_delete_directory(folder)));
    free(folder);
}
