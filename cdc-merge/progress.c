#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "state.h"

enum { INTERVAL_MS = 1000 };

void progress_begin(struct progress *p, const char *dir, const char *run)
{
    *p = (struct progress){.dir = dir, .run = run};
    if (dir)
        state_lock(dir, "merge");
}

void progress_write(struct progress *p, uint64_t batch, lsn_t lsn, bool now)
{
    struct buf text = {0};
    char number[24];
    if (!p->dir || (p->written && p->batch == batch) ||
        (!now && clock_ms() - p->written < INTERVAL_MS))
        return;
    snprintf(number, sizeof number, "%" PRIu64, batch);
    state_line(&text, "run", p->run, NULL);
    state_line(&text, "position", LSN_TEXT(lsn), NULL);
    state_line(&text, "batch", number, NULL);
    state_write(p->dir, "merge", &text);
    buf_free(&text);
    p->batch = batch;
    p->written = clock_ms();
}

bool progress_loader_gone(const struct progress *p)
{
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;
    bool served = false;
    if (p->dir && state_read(p->dir, "load", &text))
        while (state_next(&text, &at, &line))
            served |= strcmp(line.key, "run") == 0 && strcmp(line.word[0], p->run) == 0;
    buf_free(&text);
    return served && state_lock_is_free(p->dir, "load");
}
