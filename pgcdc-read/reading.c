#include "reading.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copytext.h"
#include "failpoint.h"
#include "figures.h"
#include "frames.h"
#include "msg.h"
#include "resume.h"
#include "shape.h"
#include "state.h"

enum {
    RANGE_PAGES = 4096, /* 32 MB: what a connection reads at a time */
    TURN = 8 << 10,     /* bytes of a connection before others have their turn */
    SAY_EVERY = 10000   /* ms between lines for a terminal */
};

/* A table as it was when its snapshot began, and how far it has been given to the connections. */
struct read_table {
    const struct table *table;
    uint64_t attempt;
    unsigned ncolumns;
    char *columns, *filter;
    PGresult *parts;
    int part;      /* the next to be read of … */
    uint64_t page; /* … from here on */
    unsigned open; /* ranges that are being read */
    uint64_t rows;
    struct resume *resume; /* or NULL */
};

struct worker {
    PGconn *c;
    struct read_table *of;   /* the table of its range; NULL: it has none */
    struct load_range range; /* which that is */
    bool again;       /* it was read by an earlier attempt: a row begins with whether it is newer */
    struct tuple row; /* its values are overwritten by every row */
    msgpack_packer *frame; /* that is open, and … */
    unsigned pending;      /* … the rows in it; 0: none is */
};

struct reading {
    lsn_t lsn;
    unsigned ntables, left; /* left: not read to the end */
    struct read_table *tables;
    unsigned nworkers;
    struct worker workers[SNAPSHOT_JOBS_MAX];
    uint64_t rows, bytes; /* so far */
    uint64_t ranges, done;
    int64_t since, say_due; /* clock_ms */
};

void reading_give_up(const struct trouble *t, const struct table *table)
{
    char *what = table ? mem_printf("cannot read table %s.%s", table->schema, table->name)
                       : mem_strdup("cannot make a snapshot");

    trouble_die(t, what);
}

PGresult *reading_parts(struct run *run, const struct table *table, struct trouble *t)
{
#define PARTS                                                                                    \
    "SELECT format('%I.%I', n.nspname, c.relname), c.relfilenode = pg_relation_filenode(c.oid)," \
    " CASE WHEN m.amname = 'heap'"                                                               \
    "  THEN pg_relation_size(c.oid) / current_setting('block_size')::int ELSE 0 END,"            \
    " c.oid::text::numeric * 4294967296 + c.relfilenode::text::numeric"                          \
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = "    \
    "c.relam"
    static const char whole[] = PARTS " WHERE c.oid = $1::oid";
    static const char leaves[] = PARTS " WHERE c.relkind = 'r' AND c.oid IN ("
                                       " WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION"
                                       "  SELECT inhrelid FROM pg_inherits JOIN tree"
                                       "  ON inhparent = oid)"
                                       " SELECT oid FROM tree) ORDER BY 1";
    char oid[16];

    snprintf(oid, sizeof oid, "%u", table->oid);
    return source_query(&run->loop, run->loop.sql, t, table->partitioned ? leaves : whole, oid,
                        NULL);
}

/* ------------------------------------------------------------------ ranges */

static uint64_t pages_of(const struct read_table *of, int part)
{
    return strtoull(PQgetvalue(of->parts, part, 2), NULL, 10);
}

static uint64_t count_ranges(const struct read_table *of)
{
    uint64_t n = 0;

    for (int i = 0; i < PQntuples(of->parts); i++)
        n += pages_of(of, i) / RANGE_PAGES + 1;
    return n;
}

static bool has_range(const struct read_table *of)
{
    return of->part < PQntuples(of->parts);
}

/* Whether a row is newer than the horizon, and its columns, those outside of the key only if so. */
static void add_columns_again(struct buf *sql, PGconn *c, const struct read_table *of,
                              uint64_t horizon)
{
    const struct relation *r = of->table->shape->relation;
    char *newer =
        mem_printf("(xmin::text::bigint - %" PRIu64 " & 4294967295) < 2147483648", horizon);

    buf_str(sql, newer);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        char *name = PQescapeIdentifier(c, r->columns[i].name, strlen(r->columns[i].name));
        if (r->columns[i].key)
            buf_printf(sql, ", %s", name);
        else
            buf_printf(sql, ", CASE WHEN %s THEN %s END", newer, name);
        PQfreemem(name);
    }
    free(newer);
}

/* Takes the next range off the table, for the worker, and returns the COPY of it. The last of a
 * part has no end: it may have grown. */
static char *next_range(struct worker *w)
{
    struct read_table *of = w->of;
    const char *part = PQgetvalue(of->parts, of->part, 0), *and = " WHERE ";
    uint64_t end = of->page + RANGE_PAGES, pages = pages_of(of, of->part);
    bool last = end >= pages;
    struct buf sql = {0};

    w->range = (struct load_range){.file = strtoull(PQgetvalue(of->parts, of->part, 3), NULL, 10),
                                   .from = of->page,
                                   .to = last ? pages : end};
    uint64_t horizon = resume_horizon(of->resume, w->range.file, w->range.from, w->range.to);
    w->again = horizon;
    w->row.n = of->ncolumns + w->again;
    buf_str(&sql, "COPY (SELECT ");
    horizon ? add_columns_again(&sql, w->c, of, horizon) : buf_str(&sql, of->columns);
    buf_printf(&sql, " FROM ONLY %s", part);
    if (of->filter) {
        buf_printf(&sql, "%s(%s)", and, of->filter);
        and = " AND ";
    }
    if (of->page) {
        buf_printf(&sql, "%sctid >= '(%" PRIu64 ",0)'", and, of->page);
        and = " AND ";
    }
    if (!last)
        buf_printf(&sql, "%sctid < '(%" PRIu64 ",0)'", and, end);
    buf_str(&sql, ") TO STDOUT");
    of->part += last;
    of->page = last ? 0 : end;
    return sql.data;
}

/* ------------------------------------------------------------------ the beginning and the end */

static void add_worker(struct reading *r, PGconn *c)
{
    unsigned most = 0;

    for (unsigned i = 0; i < r->ntables; i++)
        if (r->tables[i].ncolumns > most)
            most = r->tables[i].ncolumns;
    r->workers[r->nworkers++] =
        (struct worker){.c = c, .row.values = mem_alloc((most + 1) * sizeof(struct value))};
}

/* Connections with the same snapshot, as many as there is work for. */
static void add_workers(struct run *run, struct reading *r)
{
    struct loop *l = &run->loop;
    struct trouble t;
    unsigned jobs = run->arguments->snapshot_jobs;

    if (jobs > r->ranges)
        jobs = (unsigned)r->ranges;
    if (jobs < 2)
        return;
    PGresult *exported = source_query(l, r->workers[0].c, &t, "SELECT pg_export_snapshot()", NULL);
    if (!exported)
        reading_give_up(&t, NULL);
    struct buf sql = {0};
    buf_printf(&sql,
               "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
               "SET TRANSACTION SNAPSHOT '%s';SET LOCAL lock_timeout = '1s'",
               PQgetvalue(exported, 0, 0));
    /* An ALTER TABLE that waits for the first connection would be waited for by the others, for
     * ever: each has all of its locks before it reads, or does not take part. */
    for (unsigned i = 0; i < r->ntables; i++)
        for (int part = 0; part < PQntuples(r->tables[i].parts); part++)
            buf_printf(&sql, ";SELECT FROM ONLY %s LIMIT 0",
                       PQgetvalue(r->tables[i].parts, part, 0));
    while (r->nworkers < jobs) {
        PGconn *c = source_connect(l, run->arguments->conninfo, false, &t);
        PGresult *begun = c ? source_query(l, c, &t, sql.data, NULL) : NULL;
        if (!begun) {
            PQfinish(c);
            msg_warn("reading tables with %u instead of %u connections: %s", r->nworkers, jobs,
                     t.text);
            break;
        }
        PQclear(begun);
        add_worker(r, c);
    }
    free(sql.data);
    PQclear(exported);
}

static void end_table(struct run *run, struct reading *r, struct read_table *of)
{
    const struct table *table = of->table;

    frames_snapshot_end(run->loop.out, table->oid, of->attempt, r->lsn, of->rows);
    msg_info("table %s.%s read rows=%" PRIu64 " lsn=%s", table->schema, table->name, of->rows,
             LSN_TEXT(r->lsn));
    PQclear(of->parts);
    of->parts = NULL; /* it has no range any more */
    free(of->columns);
    free(of->filter);
    resume_free(of->resume);
    r->left--;
}

static void free_reading(struct run *run)
{
    struct reading *r = run->reading;

    for (unsigned i = 0; i < r->nworkers; i++) {
        PQfinish(r->workers[i].c);
        free(r->workers[i].row.values);
    }
    free(r->tables);
    free(r);
    run->reading = NULL;
}

static void begin_table(struct run *run, struct read_table *of, struct table *table, lsn_t lsn,
                        uint64_t horizon)
{
    uint64_t stamp = resume_stamp(table, run->timeline);
    struct trouble t;

    *of = (struct read_table){.table = table,
                              .attempt = table->attempt,
                              .ncolumns = table->shape->relation->ncolumns,
                              .columns = mem_strdup(table->columns),
                              .filter = table->filter ? mem_strdup(table->filter) : NULL,
                              .parts = reading_parts(run, table, &t)};
    if (!of->parts)
        reading_give_up(&t, table);
    if (!arguments_refresh(run->arguments, table->schema, table->name))
        of->resume = resume_new(&run->loop.load, table, horizon, stamp);
    if (of->resume)
        msg_info("table %s.%s goes on from what was read before", table->schema, table->name);
    frames_snapshot(run->loop.out, table->oid, table->attempt, lsn, clock_us(), horizon, stamp,
                    of->resume);
    loop_push(&run->loop);
    table->from = lsn;
    table->unread = false;
}

/* The xmin of the connection's snapshot: what is older had ended by then. */
static uint64_t read_horizon(struct run *run, PGconn *c)
{
    struct trouble t;
    PGresult *r =
        source_query(&run->loop, c, &t, "SELECT pg_snapshot_xmin(pg_current_snapshot())", NULL);

    if (!r)
        reading_give_up(&t, NULL);
    uint64_t horizon = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return horizon;
}

void reading_begin(struct run *run, PGconn *c, lsn_t lsn)
{
    struct reading *r = mem_alloc(sizeof *r);
    uint64_t horizon = read_horizon(run, c);

    r->lsn = lsn;
    r->tables = mem_alloc(HASH_COUNT(run->tables) * sizeof *r->tables);
    for (struct table *table = run->tables; table; table = table->hh.next) {
        if (!table->unread)
            continue;
        begin_table(run, &r->tables[r->ntables], table, lsn, horizon);
        r->ranges += count_ranges(&r->tables[r->ntables++]);
    }
    run->unread = false;
    run->reading = r;
    run->read_lsn = lsn;
    if (!run->renew)
        run->renew = lsn;
    r->left = r->ntables;
    add_worker(r, c);
    r->since = clock_ms();
    r->say_due = r->since + SAY_EVERY;
    add_workers(run, r);
    FAILPOINT("ranges-planned");
    for (unsigned i = 0; i < r->ntables; i++)
        if (!has_range(&r->tables[i])) /* a partitioned table without partitions */
            end_table(run, r, &r->tables[i]);
    if (!r->left)
        free_reading(run);
}

/* ------------------------------------------------------------------ rows */

/* Gives the worker its next range. False: there is none. */
static bool begin_range(struct run *run, struct worker *w)
{
    const struct reading *r = run->reading;
    unsigned i = 0;
    struct trouble t;

    while (i < r->ntables && !has_range(&r->tables[i]))
        i++;
    if (i == r->ntables)
        return false;
    w->of = &r->tables[i];
    w->of->open++;
    char *sql = next_range(w);
    PGresult *begun = source_query(&run->loop, w->c, &t, sql, NULL);
    if (!begun)
        reading_give_up(&t, w->of->table);
    PQclear(begun);
    free(sql);
    return true;
}

static void end_range(struct run *run, struct worker *w, int why)
{
    struct read_table *of = w->of;
    struct trouble t;

    if (why != -1)
        trouble_of_connection(&t, w->c);
    if (why != -1 || !source_finish(&run->loop, w->c, &t))
        reading_give_up(&t, of->table);
    if (w->range.from < w->range.to)
        frames_range(run->loop.out, of->table->oid, of->attempt, &w->range);
    w->of = NULL;
    run->reading->done++;
    FAILPOINT("between-ranges");
    if (--of->open == 0 && !has_range(of))
        end_table(run, run->reading, of);
}

/* Rows go out several to a frame. */
static void end_frame(struct run *run, struct worker *w)
{
    if (w->pending)
        frames_rows_end(run->loop.out, w->pending);
    w->pending = 0;
}

static void add_row(struct run *run, struct worker *w, const struct tuple *row)
{
    if (!w->pending++)
        w->frame = frames_rows(run->loop.out, w->of->table->oid, run->reading->lsn);
    frames_rows_add(w->frame, row);
}

static void take_row(struct run *run, struct worker *w, char *line, size_t len)
{
    const struct table *table = w->of->table;

    bool good = copytext_split(line, len, w->row.values, w->row.n);
    if (!good || (w->again && w->row.values[0].kind != VALUE_TEXT))
        msg_die(EX_DATAERR, "a row of COPY cannot be taken apart table=%s.%s row=%" PRIu64,
                table->schema, table->name, w->of->rows + 1);
    struct tuple row = {w->row.n - w->again, w->row.values + w->again};
    if (w->again && *w->row.values[0].data == 'f') {
        end_frame(run, w);
        frames_keep(run->loop.out, table->oid, run->reading->lsn, &row);
    } else {
        add_row(run, w, &row);
    }
    w->of->rows++;
    run->reading->rows++;
    run->reading->bytes += len;
    read_figures[READ_SNAPSHOT_ROWS].value++;
    read_figures[READ_SNAPSHOT_BYTES].value += len;
    FAILPOINT("mid-range");
}

/* One connection's turn. False: it has nothing at the moment. */
static bool take_rows(struct run *run, struct worker *w)
{
    size_t bytes = 0;
    char *line;
    int n = 0;

    if (!w->of && !begin_range(run, w))
        return false;
    while (bytes < TURN && (n = source_copy_data(w->c, &line)) > 0) {
        take_row(run, w, line, (size_t)n);
        PQfreemem(line);
        bytes += (size_t)n;
    }
    end_frame(run, w);
    loop_push(&run->loop);
    if (n < 0)
        end_range(run, w, n);
    return bytes || n < 0;
}

/* How far it is, and when it will be done if it goes on as it did. */
static void say(struct reading *r)
{
    int64_t now = clock_ms(), ms = now - r->since;

    if (now < r->say_due)
        return;
    r->say_due = now + SAY_EVERY;
    if (!isatty(STDERR_FILENO))
        return;
    double rate = (double)r->bytes / 1000 / (double)ms;
    if (r->done)
        msg_line("reading tables: %" PRIu64 " rows, %.1f MB/s, %" PRIu64 " %% of the pages, about "
                 "%" PRIu64 " s left",
                 r->rows, rate, 100 * r->done / r->ranges,
                 (uint64_t)ms * (r->ranges - r->done) / r->done / 1000);
    else
        msg_line("reading tables: %" PRIu64 " rows, %.1f MB/s", r->rows, rate);
}

struct reading_progress reading_progress(const struct run *run)
{
    const struct reading *r = run->reading;

    return r ? (struct reading_progress){r->ntables, r->left, r->rows, r->bytes, r->ranges, r->done}
             : (struct reading_progress){0};
}

void reading_state(const struct run *run, struct buf *text)
{
    const struct reading *r = run->reading;
    char words[128];

    if (!r)
        return;
    snprintf(words, sizeof words, "reading %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
             r->left, r->rows, r->bytes, r->done, r->ranges);
    state_line(text, words, NULL);
}

bool reading_some(struct run *run)
{
    struct reading *r = run->reading;
    bool some = false;

    for (unsigned i = 0; r && i < r->nworkers; i++)
        some |= take_rows(run, &r->workers[i]);
    if (r)
        say(r);
    if (r && !r->left) {
        FAILPOINT("tables-read");
        free_reading(run);
    }
    return some;
}

unsigned reading_sockets(const struct run *run, int sockets[SNAPSHOT_JOBS_MAX])
{
    const struct reading *r = run->reading;
    unsigned n = 0;

    for (unsigned i = 0; r && i < r->nworkers; i++)
        if (r->workers[i].of)
            sockets[n++] = PQsocket(r->workers[i].c);
    return n;
}
