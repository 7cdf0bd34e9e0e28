#include "filter.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "metrics.h"
#include "msg.h"
#include "state.h"

enum {
    INTERVAL = 1000,  /* ms between two writes of what is for eyes, and two looks at a lock */
    NOBODY_LOADS = 5, /* looks without dbx-load's lock, after which there is none */
};

void filter_begin(struct filter *f, const char *run)
{
    f->run = mem_strdup(run);
    if (f->dir)
        state_lock(f->dir, f->stage);
}

void filter_free(struct filter *f)
{
    free(f->run);
    f->run = NULL;
}

void filter_progress(struct filter *f, uint64_t batch, lsn_t lsn, bool now)
{
    struct buf text = {0};
    char number[21];

    if (!f->dir || !f->run || (f->written && f->batch == batch && f->lsn == lsn) ||
        (!now && f->written && clock_ms() - f->written < INTERVAL))
        return;
    snprintf(number, sizeof number, "%" PRIu64, batch);
    state_line(&text, "run", f->run, NULL);
    state_line(&text, "position", LSN_TEXT(lsn), NULL);
    state_line(&text, "batch", number, NULL);
    state_write(f->dir, f->stage, &text);
    buf_free(&text);
    f->batch = batch;
    f->lsn = lsn;
    f->written = clock_ms();
}

bool filter_loader_gone(const struct filter *f)
{
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;
    bool served = false;

    if (f->dir && f->run && state_read(f->dir, "load", &text))
        while (state_next(&text, &at, &line))
            served |= !strcmp(line.key, "run") && !strcmp(line.word[0], f->run);
    buf_free(&text);
    return served && state_lock_is_free(f->dir, "load");
}

void filter_wait_for_downstream(const struct filter *f)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};
    struct stat st;

    if (!f->dir || fstat(STDOUT_FILENO, &st) || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return;
    for (int nobody = 0; nobody < NOBODY_LOADS;) {
        metrics_tick();
        if (poll(&fd, 1, INTERVAL) > 0 || filter_loader_gone(f))
            return;
        nobody = state_lock_is_free(f->dir, "load") ? nobody + 1 : 0;
    }
}

/* ------------------------------------------------------------------ --check */

static bool usable(const char *dir)
{
    struct stat st;

    return !stat(dir, &st) && S_ISDIR(st.st_mode) && !access(dir, R_OK | W_OK | X_OK);
}

/* Whether the folder could be made: its parent is there, and may be written. */
static bool can_be_made(const char *dir)
{
    char *parent = mem_strdup(dir);
    struct stat st;
    size_t len = strlen(parent);

    while (len > 1 && parent[len - 1] == '/')
        parent[--len] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    bool can = stat(dir, &st) && errno == ENOENT && usable(slash ? parent : ".");
    free(parent);
    return can;
}

unsigned filter_check(const struct filter *f)
{
    unsigned failures = metrics_check(f->metrics);

    if (!f->dir) {
        msg_line("ok   no state folder");
    } else if (!usable(f->dir) && can_be_made(f->dir)) {
        msg_line("ok   the state folder will be made dir=%s", f->dir);
    } else if (!usable(f->dir)) {
        msg_line("FAIL the state folder cannot be used; give this user the right to read and "
                 "write it dir=%s",
                 f->dir);
        failures++;
    } else if (!state_lock_is_free(f->dir, f->stage)) {
        msg_line("FAIL another %s is at work with the state folder; stop it, or give this "
                 "pipeline a folder of its own dir=%s",
                 msg_program(), f->dir);
        failures++;
    } else {
        msg_line("ok   the state folder is usable dir=%s", f->dir);
    }
    return failures;
}

/* ------------------------------------------------------------------ upstream */

void filter_upstream_died(const struct stream_in *in)
{
    if (stop_requested())
        msg_exit(EX_TEMPFAIL);
    msg_die(EX_TEMPFAIL,
            "the stage before this one died: its stream has no end; the open batch is dropped, "
            "start the pipeline again offset=%llu",
            (unsigned long long)stream_offset(in));
}

void filter_upstream_failed(struct frame *f)
{
    uint64_t code = f->elements == 1 ? frame_uint(f) : 0;

    if (code < 1 || code > 255)
        frame_bad(f, "no exit code of a failure");
    msg_exit((int)code); /* whose hook sends `fail` on */
}
