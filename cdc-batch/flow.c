#include "flow.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "figures.h"
#include "state.h"

/* Batches without content only move the LSN; a few a second are enough. */
#define EMPTY_INTERVAL 250

/* Batches do not wait for tables that are behind: those get no more steps than they can do. */
#define BEHIND_INTERVAL 2000

void flow_start(struct flow *f, const char *run)
{
    filter_begin(&f->filter, run);
    /* the first batch need not wait for an interval */
    f->closed_at = f->content_closed_at = INT64_MIN / 2;
    if (f->filter.dir)
        f->watch = state_watch(f->filter.dir);
}

int flow_fd(const struct flow *f)
{
    return f->watch;
}

void flow_refresh(struct flow *f)
{
    struct state_line line;
    size_t at = 0, keep = 0;

    state_watch_drain(f->watch);
    if (!f->filter.dir || !state_read(f->filter.dir, "load", &f->text))
        return;
    f->behind = false;
    while (state_next(&f->text, &at, &line)) {
        f->behind |= !strcmp(line.key, "behind");
        if (!strcmp(line.key, "loaded") && !strcmp(line.word[0], f->filter.run))
            f->loaded = strtoull(line.word[1], NULL, 10);
    }
    for (size_t i = 0; i < f->nahead; i++)
        if (f->ahead[i] > f->loaded)
            f->ahead[keep++] = f->ahead[i];
    f->nahead = keep;
    batch_figures[BATCH_IN_FLIGHT].value = keep;
}

/* Where changes come at this rate, a backlog is being read, and small batches only make that take
 * longer. A few say nothing of the rate: the clock is coarser than what they take. */
#define BUSY_CHANGES 200
#define BUSY_RATE 20 /* a millisecond */
#define BUSY_INTERVAL 200

int64_t flow_delay(const struct flow *f, bool content, uint64_t changes)
{
    int64_t interval = f->min_interval, now = clock_ms();

    if (interval < BUSY_INTERVAL && changes > BUSY_CHANGES &&
        (double)changes > BUSY_RATE * (double)(now - f->content_closed_at))
        interval = BUSY_INTERVAL;
    if (f->behind && interval < BEHIND_INTERVAL)
        interval = BEHIND_INTERVAL;
    int64_t due = content ? f->content_closed_at + interval : f->closed_at + EMPTY_INTERVAL;

    if (f->filter.dir && f->nahead >= f->in_flight)
        return -1;
    return due > now ? due - now : 0;
}

void flow_snapshot_closed(struct flow *f, uint64_t batch)
{
    f->batch = batch;
}

void flow_closed(struct flow *f, uint64_t batch, lsn_t lsn, bool content)
{
    f->closed_at = clock_ms();
    if (content)
        f->content_closed_at = f->closed_at;
    f->position = lsn;
    f->batch = batch;
    if (!f->filter.dir)
        return;
    if (f->nahead == f->room) {
        f->room = f->room ? 2 * f->room : 8;
        f->ahead = mem_realloc(f->ahead, f->room * sizeof *f->ahead);
    }
    f->ahead[f->nahead++] = batch;
    batch_figures[BATCH_IN_FLIGHT].value = f->nahead;
}

void flow_progress(struct flow *f, bool now)
{
    filter_progress(&f->filter, f->batch, f->position, now);
}

void flow_free(struct flow *f)
{
    if (f->watch >= 0)
        close(f->watch);
    filter_free(&f->filter);
    free(f->ahead);
    buf_free(&f->text);
}
