#include "figures.h"

#include <stdlib.h>
#include <string.h>

#define STATEMENTS "dbx_load_statements_total"
#define TIME "dbx_load_statement_seconds_total"
#define RETRIES "dbx_load_retries_total"
#define ROWS "dbx_load_rows_total"

/* A statement by its first word; of other kinds are those that only ask. */
static const char *const kinds[] = {"MERGE ", "INSERT ", "DELETE ", "CREATE ", "ALTER "};
enum { OTHER = sizeof kinds / sizeof *kinds };

_Static_assert(LOAD_STATEMENT_TIME == LOAD_STATEMENTS + OTHER + 1 &&
                   LOAD_RETRIES_BUSY == LOAD_STATEMENT_TIME + OTHER + 1,
               "one figure for each kind");

struct metric load_figures[LOAD_FIGURES + 1] = {
    [LOAD_STAGED_FILES] = {"dbx_load_staged_files_total", NULL, METRIC_COUNTER,
                           "Files that were uploaded."},
    [LOAD_STAGED_BYTES] = {"dbx_load_staged_bytes_total", NULL, METRIC_COUNTER,
                           "Bytes of these files."},
    [LOAD_UPLOADS] = {"dbx_load_uploads", NULL, METRIC_GAUGE, "Uploads under way."},
    [LOAD_STATEMENTS] = {STATEMENTS, "kind=\"merge\"", METRIC_COUNTER,
                         "Statements that have ended, well or not."},
    {STATEMENTS, "kind=\"insert\"", METRIC_COUNTER},
    {STATEMENTS, "kind=\"delete\"", METRIC_COUNTER},
    {STATEMENTS, "kind=\"create\"", METRIC_COUNTER},
    {STATEMENTS, "kind=\"alter\"", METRIC_COUNTER},
    {STATEMENTS, "kind=\"other\"", METRIC_COUNTER},
    [LOAD_STATEMENT_TIME] = {TIME, "kind=\"merge\"", METRIC_COUNTER,
                             "Time from sending statements to their end.", true},
    {TIME, "kind=\"insert\"", METRIC_COUNTER, NULL, true},
    {TIME, "kind=\"delete\"", METRIC_COUNTER, NULL, true},
    {TIME, "kind=\"create\"", METRIC_COUNTER, NULL, true},
    {TIME, "kind=\"alter\"", METRIC_COUNTER, NULL, true},
    {TIME, "kind=\"other\"", METRIC_COUNTER, NULL, true},
    [LOAD_RETRIES_BUSY] = {RETRIES, "kind=\"busy\"", METRIC_COUNTER,
                           "Requests and statements that were sent again."},
    [LOAD_RETRIES_CONNECTION] = {RETRIES, "kind=\"connection\"", METRIC_COUNTER},
    [LOAD_RETRIES_CONFLICT] = {RETRIES, "kind=\"conflict\"", METRIC_COUNTER},
    [LOAD_ROWS_INSERTED] = {ROWS, "op=\"insert\"", METRIC_COUNTER,
                            "Rows that statements changed, as the warehouse says."},
    [LOAD_ROWS_UPDATED] = {ROWS, "op=\"update\"", METRIC_COUNTER},
    [LOAD_ROWS_DELETED] = {ROWS, "op=\"delete\"", METRIC_COUNTER},
    [LOAD_BATCHES] = {"dbx_load_batches_total", NULL, METRIC_COUNTER,
                      "Batches that were acknowledged."},
    [LOAD_BATCHES_LEFT] = {"dbx_load_batches_left", NULL, METRIC_GAUGE,
                           "Batches that are prepared and have steps left."},
    [LOAD_PREPARED] = {"dbx_load_prepared_bytes", NULL, METRIC_GAUGE,
                       "The LSN up to which batches are prepared."},
    [LOAD_APPLIED] = {"dbx_load_applied_bytes", NULL, METRIC_GAUGE,
                      "The LSN up to which batches are acknowledged."},
    [LOAD_ACKNOWLEDGED] = {"dbx_load_acknowledged_timestamp_seconds", NULL, METRIC_GAUGE,
                           "When the last batch was acknowledged.", true},
};

void figures_staged(uint64_t bytes)
{
    load_figures[LOAD_STAGED_FILES].value++;
    load_figures[LOAD_STAGED_BYTES].value += bytes;
}

void figures_statement(const char *sql, int64_t ms)
{
    unsigned kind = 0;

    while (kind < OTHER && strncmp(sql, kinds[kind], strlen(kinds[kind])))
        kind++;
    load_figures[LOAD_STATEMENTS + kind].value++;
    load_figures[LOAD_STATEMENT_TIME + kind].value += (uint64_t)ms * 1000;
}

int64_t figures_changed_rows(const json_t *columns, const json_t *row)
{
    static const struct {
        const char *column;
        unsigned figure;
    } counts[] = {{"num_inserted_rows", LOAD_ROWS_INSERTED},
                  {"num_updated_rows", LOAD_ROWS_UPDATED},
                  {"num_deleted_rows", LOAD_ROWS_DELETED}};
    int64_t written = -1;

    for (size_t i = 0; i < json_array_size(columns); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(columns, i), "name"));
        const char *text = json_string_value(json_array_get(row, i));
        for (size_t k = 0; name && text && k < sizeof counts / sizeof *counts; k++) {
            if (strcmp(name, counts[k].column))
                continue;
            int64_t rows = strtoll(text, NULL, 10);
            load_figures[counts[k].figure].value += (uint64_t)rows;
            if (counts[k].figure != LOAD_ROWS_DELETED)
                written = rows + (written < 0 ? 0 : written);
        }
    }
    return written;
}
