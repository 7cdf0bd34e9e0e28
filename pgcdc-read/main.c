/*
 * pgcdc-read: a snapshot of PostgreSQL tables, then their changes, as a stream of change events.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "changes.h"
#include "figures.h"
#include "finish.h"
#include "frames.h"
#include "msg.h"
#include "settle.h"
#include "shape.h"
#include "shapes.h"
#include "prerequisites.h"
#include "replicate.h"
#include "run.h"
#include "slot.h"
#include "snapshot.h"
#include "state.h"

#define OPEN_PATIENCE 10000 /* ms after which we say whom we are waiting for */

static struct stream_out *out;

static void close_stream(int code)
{
    stream_fail(out, code);
}

/* Never the same twice, sorts by time, and can be part of a file's name. */
static char *new_run_id(void)
{
    time_t now = time(NULL);
    struct tm tm;
    char text[32];
    unsigned random = 0;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (unsigned)clock_us();
    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y%m%dt%H%M%S", &tm);
    return mem_printf("%s-%08x", text, random);
}

static void connect_sql(struct run *run)
{
    struct trouble t;

    run->loop.sql = source_connect(&run->loop, run->arguments->conninfo, false, &t);
    if (!run->loop.sql)
        trouble_die(&t, "cannot connect to PostgreSQL");
}

static void send_start(struct run *run, unsigned failures)
{
    const struct arguments *a = run->arguments;
    struct start s = {.check = a->cli.check,
                      .failures = failures,
                      .anew = run->anew,
                      .run = mem_strdup(run->id),
                      .pipeline = mem_strdup(a->name),
                      .source = {.system = mem_strdup(run->source.system),
                                 .database = mem_strdup(run->source.database),
                                 .slot = mem_strdup(run->source.slot),
                                 .publications = mem_strdup(run->source.publications)}};

    start_pack(out, &s);
    start_free(&s);
}

/* --check: the source's prerequisites here, then the stream so that every stage tests its own. */
static int check(struct run *run)
{
    struct trouble t;
    unsigned failures = prerequisites_test(run, true) + metrics_check(run->arguments->cli.metrics);

    send_start(run, failures);
    for (struct table *table = run->tables; table; table = table->hh.next) {
        const char *why;
        struct shape *s =
            attributes_read(run, table, 0, &t) ? shape_of_catalog(run, table, &t, &why) : NULL;
        if (!s)
            trouble_die(&t, "cannot read the shape of a table");
        relation_pack(out, s->relation);
        shape_free(s);
    }
    frames_end(out, 0);
    stream_flush(out);
    return failures ? EX_CONFIG : EX_OK;
}

static int drop_slot(struct run *run)
{
    const char *slot = run->arguments->slot;
    struct trouble t;

    PGresult *r = source_query(&run->loop, run->loop.sql, &t,
                               "SELECT pg_drop_replication_slot(slot_name)"
                               " FROM pg_replication_slots WHERE slot_name = $1",
                               slot, NULL);
    if (!r)
        trouble_die(&t, "cannot drop the slot");
    if (!PQntuples(r))
        msg_warn("slot %s does not exist", slot);
    PQclear(r);
    return EX_OK;
}

/* Until dbx-load has settled what earlier runs left unfinished, nobody knows where to begin. */
static void wait_for_load(struct run *run)
{
    struct loop *l = &run->loop;
    int64_t until = clock_ms() + OPEN_PATIENCE;

    while (!l->load.run || strcmp(l->load.run, run->id) || !l->load.open) {
        loop_wait(l, -1, 0, until);
        if (until >= 0 && clock_ms() >= until) {
            if (state_lock_is_free(l->state, "load"))
                msg_warn(
                    "waiting for dbx-load: is it at the end of the pipe, with the same --state?");
            until = -1;
        }
    }
}

/* Where the stream of changes begins: where dbx-load stands, else at the oldest snapshot, else
 * where the slot stands. */
static lsn_t stream_start(const struct run *run)
{
    lsn_t lsn = run->loop.state ? run->loop.load.open_lsn : 0;

    if (lsn)
        return lsn;
    for (const struct table *table = run->tables; table; table = table->hh.next)
        if (table->from && (!lsn || table->from < lsn))
            lsn = table->from;
    return lsn ? lsn : run->slot_lsn;
}

static int replicate(struct run *run, lsn_t target)
{
    struct changes changes;

    snapshot_take(run);
    lsn_t start = stream_start(run);
    if (run->arguments->until && run->arguments->until < start)
        msg_die(EX_USAGE, "--until %s lies before %s, where the pipeline is already",
                LSN_TEXT(run->arguments->until), LSN_TEXT(start));
    changes_begin(&changes, run, start, target);
    replicate_run(&changes);
    return finish_changes(&changes);
}

static int read_only(struct run *run)
{
    lsn_t lsn = snapshot_take(run);

    snapshot_finish(run);
    return finish_snapshot(run, lsn);
}

int main(int argc, char **argv)
{
    struct arguments a;

    arguments_parse(&a, argc, argv);
    stop_install();
    const char *state = a.drop_slot ? NULL : a.cli.state;
    static struct run run; /* measured at exit, when main has returned */
    run = (struct run){.arguments = &a, .id = new_run_id()};
    out = stream_out_new(STDOUT_FILENO, a.cli.json);
    if (!a.drop_slot)
        msg_on_die(close_stream);
    if (state && !a.cli.check)
        state_lock(state, "read");
    if (!a.drop_slot && !a.cli.check) {
        metrics_open(a.cli.metrics, read_figures, figures_measure, &run);
        metrics_begin(a.name);
    }
    loop_init(&run.loop, out, state, run.id);
    connect_sql(&run);
    if (a.drop_slot)
        return drop_slot(&run);
    if (a.cli.check)
        return check(&run);
    prerequisites_test(&run, false);
    struct trouble t;
    /* one that a killed predecessor was creating may be gone by now */
    if (!slot_lock(&run, &t) || !slot_look(&run, &t))
        trouble_die(&t, "cannot read the slot");
    shapes_read(&run);
    if (!settle_look(&run, &t))
        trouble_die(&t, "cannot look at the tables");
    lsn_t target = a.once ? settle_wal_end(&run) : a.until;
    send_start(&run, 0);
    if (state)
        wait_for_load(&run);
    int code = a.snapshot == SNAPSHOT_ONLY ? read_only(&run) : replicate(&run, target);
    PQfinish(run.loop.stream);
    PQfinish(run.loop.sql);
    return code;
}
