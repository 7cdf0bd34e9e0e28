#include "figures.h"

#include "cli.h"
#include "reading.h"

#define CHANGES "pgcdc_read_changes_total"

struct metric read_figures[READ_FIGURES + 1] = {
    [READ_TRANSACTIONS] = {"pgcdc_read_transactions_total", NULL, METRIC_COUNTER,
                           "Transactions of which something was passed on."},
    [READ_INSERTS] = {CHANGES, "op=\"insert\"", METRIC_COUNTER, "Changes that were passed on."},
    [READ_UPDATES] = {CHANGES, "op=\"update\"", METRIC_COUNTER},
    [READ_DELETES] = {CHANGES, "op=\"delete\"", METRIC_COUNTER},
    [READ_TRUNCATES] = {CHANGES, "op=\"truncate\"", METRIC_COUNTER},
    [READ_SNAPSHOT_ROWS] = {"pgcdc_read_snapshot_rows_total", NULL, METRIC_COUNTER,
                            "Rows of snapshots that were passed on."},
    [READ_SNAPSHOT_BYTES] = {"pgcdc_read_snapshot_bytes_total", NULL, METRIC_COUNTER,
                             "Bytes of rows of snapshots, as COPY has them."},
    [READ_RECEIVED_BYTES] = {"pgcdc_read_received_bytes_total", NULL, METRIC_COUNTER,
                             "Bytes of changes, as the server sends them."},
    [READ_RECONNECTS] = {"pgcdc_read_reconnects_total", NULL, METRIC_COUNTER,
                         "Times that the connection to the server was lost."},
    [READ_IN_PROGRESS] = {"pgcdc_read_transactions_in_progress", NULL, METRIC_GAUGE,
                          "Large transactions that wait for their commit."},
    [READ_ASIDE_BYTES] = {"pgcdc_read_in_progress_bytes", NULL, METRIC_GAUGE,
                          "Bytes of them that are put aside."},
    [READ_POSITION] = {"pgcdc_read_position_bytes", NULL, METRIC_GAUGE,
                       "The LSN up to which all was passed on."},
    [READ_POSITION_TIME] = {"pgcdc_read_position_timestamp_seconds", NULL, METRIC_GAUGE,
                            "When the source was at the position.", true},
    [READ_WAL_END] = {"pgcdc_read_wal_end_bytes", NULL, METRIC_GAUGE,
                      "The LSN at which the server's WAL ends."},
    [READ_LAG_BYTES] = {"pgcdc_read_lag_bytes", NULL, METRIC_GAUGE,
                        "WAL between the position and its end."},
    [READ_LAG_SECONDS] = {"pgcdc_read_lag_seconds", NULL, METRIC_GAUGE,
                          "Time since all that the source had was passed on.", true},
    [READ_TABLES] = {"pgcdc_read_reading_tables", NULL, METRIC_GAUGE,
                     "Tables of the snapshot under way."},
    [READ_TABLES_LEFT] = {"pgcdc_read_reading_tables_left", NULL, METRIC_GAUGE,
                          "Those of them that are not read to the end."},
    [READ_RANGES] = {"pgcdc_read_reading_ranges", NULL, METRIC_GAUGE,
                     "Ranges of pages of the snapshot under way."},
    [READ_RANGES_DONE] = {"pgcdc_read_reading_ranges_done", NULL, METRIC_GAUGE,
                          "Those of them that are read."},
    [READ_ROWS] = {"pgcdc_read_reading_rows", NULL, METRIC_GAUGE,
                   "Rows of the snapshot under way, so far."},
    [READ_BYTES] = {"pgcdc_read_reading_bytes", NULL, METRIC_GAUGE, "Bytes of these rows."},
};

static uint64_t wal_end_time; /* when it was there: microseconds since 1970 */

static void set(unsigned figure, uint64_t value)
{
    read_figures[figure].value = value;
}

static uint64_t value(unsigned figure)
{
    return read_figures[figure].value;
}

void figures_wal_end(lsn_t lsn)
{
    set(READ_WAL_END, lsn);
    wal_end_time = (uint64_t)clock_us();
}

/* In microseconds. What we know of the server may be old: it is away, or we wait for downstream. */
static uint64_t lag(bool behind)
{
    uint64_t now = (uint64_t)clock_us(), since = value(READ_POSITION_TIME);

    if (!behind && wal_end_time > since)
        since = wal_end_time;
    return value(READ_POSITION) && since < now ? now - since : 0; /* the server has another clock */
}

void figures_measure(void *arg)
{
    const struct run *run = arg;
    struct reading_progress p = reading_progress(run);
    bool behind = value(READ_POSITION) && value(READ_POSITION) < value(READ_WAL_END);

    set(READ_LAG_BYTES, behind ? value(READ_WAL_END) - value(READ_POSITION) : 0);
    set(READ_LAG_SECONDS, lag(behind));
    set(READ_TABLES, p.tables);
    set(READ_TABLES_LEFT, p.left);
    set(READ_RANGES, p.ranges);
    set(READ_RANGES_DONE, p.done);
    set(READ_ROWS, p.rows);
    set(READ_BYTES, p.bytes);
}
