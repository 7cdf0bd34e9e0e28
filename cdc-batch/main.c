/*
 * cdc-batch: folds change events to one net change per row, and cuts batches.
 *
 * One poll loop: frames come from stdin, dbx-load's progress from the state folder, and the batch
 * that is open closes at a commit when that progress and the clock allow it.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "batch.h"
#include "cli.h"
#include "figures.h"
#include "flow.h"
#include "msg.h"
#include "out.h"
#include "state.h"
#include "stream.h"

static const char help[] =
    "usage: cdc-batch [OPTION]... < stream > stream\n"
    "Folds change events to one net change per row, and cuts them into batches.\n"
    "\n"
    "  --part-rows N      rows of a part at most (200000)\n"
    "  --part-bytes SIZE  memory that a part may take here (32M)\n"
    "  --min-interval T   between two batches (0s; without --state 1s)\n"
    "  --in-flight N      batches that may be ahead of what is loaded (2)\n"
    "  --mode [GLOB=]M    merge: the target is kept equal to the source (the default);\n"
    "                     append: every event becomes a row. GLOB is schema.table with * and ?;\n"
    "                     may be repeated, the last one that matches a table counts\n"
    "  --delete [GLOB=]D  hard: rows that are gone are deleted (the default);\n"
    "                     soft: they stay, and _cdc_deleted_at says since when\n"
    "  --json             JSON Lines on stdout, for eyes\n" CLI_HELP;

enum { PART_ROWS = CLI_OWN, PART_BYTES, MIN_INTERVAL, IN_FLIGHT, MODE, DELETE };

static const struct option options[] = {{"part-rows", required_argument, NULL, PART_ROWS},
                                        {"part-bytes", required_argument, NULL, PART_BYTES},
                                        {"min-interval", required_argument, NULL, MIN_INTERVAL},
                                        {"in-flight", required_argument, NULL, IN_FLIGHT},
                                        {"mode", required_argument, NULL, MODE},
                                        {"delete", required_argument, NULL, DELETE},
                                        CLI_LONG,
                                        CLI_LONG_JSON,
                                        {0}};

struct settings {
    struct cli cli;
    struct batch_limits limits;
    struct modes modes;
    unsigned in_flight;
    int64_t min_interval; /* -1: not given */
};

static void parse(struct settings *s, int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, CLI_SHORT, options, NULL)) != -1) {
        if (c == PART_ROWS)
            s->limits.rows = cli_count("--part-rows", optarg, 1, UINT32_MAX);
        else if (c == PART_BYTES)
            s->limits.bytes = cli_size("--part-bytes", optarg);
        else if (c == MIN_INTERVAL)
            s->min_interval = cli_duration("--min-interval", optarg);
        else if (c == IN_FLIGHT)
            s->in_flight = (unsigned)cli_count("--in-flight", optarg, 1, 1000);
        else if (c == MODE)
            modes_add_mode(&s->modes, optarg);
        else if (c == DELETE)
            modes_add_delete(&s->modes, optarg);
        else
            cli_option(&s->cli, c, help);
    }
    cli_no_operands(argc, argv);
}

static struct stream_out *out;

static void on_die(int code)
{
    stream_fail(out, code);
}

enum { STDIN, STDOUT, STATE, FDS };

/* At least once a second something is to be looked at: the state where inotify does not work, the
 * lock of dbx-load, the progress to write. */
#define TICK 1000

/* Sleeps until stdin is readable (true), the state changed, or the time is over. */
static bool wait_for_input(struct flow *flow, int64_t timeout)
{
    short writable = stream_pending(out) ? POLLOUT : 0;
    struct pollfd fds[FDS] = {[STDIN] = {.fd = STDIN_FILENO, .events = POLLIN},
                              [STDOUT] = {.fd = STDOUT_FILENO, .events = writable},
                              [STATE] = {.fd = flow_fd(flow), .events = POLLIN}};
    int n = poll(fds, FDS, timeout < 0 || timeout > TICK ? TICK : (int)timeout);

    if (fds[STDOUT].revents & (POLLERR | POLLNVAL) || (n == 0 && filter_loader_gone(&flow->filter)))
        out_gone();
    if (fds[STATE].revents || n == 0)
        flow_refresh(flow);
    return fds[STDIN].revents != 0;
}

static int run(struct batcher *batcher, struct flow *flow, struct stream_in *in)
{
    bool readable = false;

    for (;;) {
        struct frame frame;
        switch (stream_read(in, &frame, readable)) {
        case STREAM_FRAME:
            readable = false;
            if (batcher_take(batcher, &frame))
                continue;
            if (batcher_kind(batcher) == STREAM_CHANGES) {
                filter_wait_for_downstream(&flow->filter);
                flow_refresh(flow); /* for the last figures */
            }
            return batcher_failures(batcher) ? EX_CONFIG : EX_OK;
        case STREAM_WAIT: {
            int64_t delay = batcher_close_if_due(batcher);
            out_write(out);
            flow_progress(flow, false);
            metrics_tick();
            readable = wait_for_input(flow, delay);
            continue;
        }
        case STREAM_EOF:
        case STREAM_TRUNCATED:
            filter_upstream_died(in);
        }
    }
}

int main(int argc, char **argv)
{
    struct settings s = {
        .limits = {200000, (uint64_t)32 << 20}, .in_flight = 2, .min_interval = -1};

    cli_init(&s.cli, "cdc-batch");
    parse(&s, argc, argv);
    struct flow flow = {.filter = {.dir = s.cli.state, .stage = "batch", .metrics = s.cli.metrics},
                        .in_flight = s.in_flight,
                        .watch = -1};
    if (s.cli.check)
        return filter_check(&flow.filter) ? EX_CONFIG : EX_OK;
    metrics_open(s.cli.metrics, batch_figures, NULL, NULL);
    stop_install();
    out = stream_out_new(STDOUT_FILENO, s.cli.json);
    stream_unblock(out);
    msg_on_die(on_die);

    flow.min_interval = s.min_interval >= 0 ? s.min_interval : s.cli.state ? 0 : 1000;
    struct batcher *batcher = batcher_new(s.limits, &s.modes, &flow, out);
    struct stream_in *in = stream_in_new(STDIN_FILENO);

    int code = run(batcher, &flow, in);
    stream_in_free(in);
    batcher_free(batcher);
    flow_free(&flow);
    modes_free(&s.modes);
    stream_out_free(out);
    return code;
}
