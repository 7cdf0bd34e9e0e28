#include "loop.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "metrics.h"
#include "msg.h"
#include "state.h"

#define PENDING_MAX ((size_t)1 << 20) /* bytes above which we read no more */
#define LOOK_ROUND 256                /* pushes after which all else is seen to, however busy */
#define LOOK_EVERY 500                /* ms between looks at dbx-load's lock and file */

void loop_init(struct loop *l, struct stream_out *out, const char *state, const char *run)
{
    *l = (struct loop){.out = out, .state = state, .run = run, .watch = -1, .quit_on_stop = true};
    l->can_hang_up = stream_unblock(out);
    if (state) {
        l->watch = state_watch(state);
        load_read(&l->load, state);
    }
}

static void hang_up(struct loop *l)
{
    l->hung_up = true;
    if (l->state)
        load_read(&l->load, l->state); /* its last words came before it went */
    if (l->draining)
        return;
    msg_info("downstream has closed");
    msg_exit(EX_TEMPFAIL);
}

static void put64(char *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (char)v;
}

void loop_status(struct loop *l)
{
    char message[34] = {'r'};

    if (!l->stream)
        return;
    if (l->load.applied > l->confirmed)
        l->confirmed = l->load.applied;
    put64(message + 1, l->received);
    put64(message + 9, l->confirmed);
    put64(message + 17, l->confirmed);
    put64(message + 25, (uint64_t)(clock_us() - LSN_EPOCH_US));
    message[33] = l->ask;
    /* a failure shows when the connection is read next */
    if (PQputCopyData(l->stream, message, sizeof message) == 1)
        PQflush(l->stream);
    l->status_due = clock_ms() + l->status_every;
}

static void follow_state(struct loop *l)
{
    lsn_t before = l->load.applied;

    load_read(&l->load, l->state);
    if (l->load.applied != before)
        loop_status(l);
}

/* Where `tee` or ssh hides that downstream has gone, dbx-load's lock says it: it was held when our
 * run was taken up. */
static void look(struct loop *l)
{
    l->look_due = clock_ms() + LOOK_EVERY;
    if (l->watch < 0)
        follow_state(l);
    bool served = l->load.run && !strcmp(l->load.run, l->run);
    if (served && !l->hung_up && state_lock_is_free(l->state, "load"))
        hang_up(l);
}

static void write_some(struct loop *l)
{
    if (!l->hung_up && !stream_flush_some(l->out))
        hang_up(l);
}

/* Does what is due and returns when the next is: clock_ms, or -1. */
static int64_t tick(struct loop *l, int64_t until)
{
    int64_t now = clock_ms();

    if (l->stream && now >= l->status_due)
        loop_status(l);
    if (l->state && now >= l->look_due)
        look(l);
    metrics_tick();
    if (l->stream && (until < 0 || l->status_due < until))
        until = l->status_due;
    if (l->state && (until < 0 || l->look_due < until))
        until = l->look_due;
    return until;
}

enum { OUT, STATE, STOP, SQL, OWN };

/* Fills in the loop's own descriptors, and waits for those and the n after them. */
static bool wait_for(struct loop *l, struct pollfd *p, nfds_t n, int64_t until)
{
    /* while it answers, who asked takes the answer, at the pace of downstream */
    bool idle = l->sql && PQstatus(l->sql) == CONNECTION_OK &&
                PQtransactionStatus(l->sql) != PQTRANS_ACTIVE;

    if (l->quit_on_stop && stop_requested())
        msg_exit(EX_TEMPFAIL);
    bool had_pending = stream_pending(l->out) > 0;
    write_some(l);
    until = tick(l, until);
    bool pending = stream_pending(l->out) > 0;
    p[OUT] = (struct pollfd){.fd = !l->hung_up && (l->can_hang_up || pending) ? STDOUT_FILENO : -1,
                             .events = pending ? POLLOUT : 0};
    p[STATE] = (struct pollfd){.fd = l->watch, .events = POLLIN};
    p[STOP] = (struct pollfd){.fd = stop_requested() ? -1 : stop_fd(), .events = POLLIN};
    p[SQL] = (struct pollfd){.fd = idle ? PQsocket(l->sql) : -1, .events = POLLIN};
    int64_t left = until < 0 ? -1 : until - clock_ms();
    if ((until >= 0 && left < 0) || (had_pending && !pending))
        left = 0; /* stdout took all: that may be what the caller waits for */
    if (poll(p, OWN + n, metrics_timeout(left > 60000 ? 60000 : (int)left)) <= 0)
        return false;
    if (p[STATE].revents) {
        state_watch_drain(l->watch);
        follow_state(l);
    }
    if (p[OUT].revents & (POLLERR | POLLHUP | POLLNVAL))
        hang_up(l);
    else if (p[OUT].revents)
        write_some(l);
    if (p[SQL].revents)
        PQconsumeInput(l->sql);
    for (nfds_t i = 0; i < n; i++)
        if (p[OWN + i].revents)
            return true;
    return false;
}

bool loop_wait(struct loop *l, int fd, short events, int64_t until)
{
    struct pollfd p[OWN + 1] = {[OWN] = {.fd = fd, .events = events}};

    return wait_for(l, p, 1, until);
}

bool loop_wait_any(struct loop *l, const int *fds, unsigned n, int64_t until)
{
    struct pollfd p[OWN + LOOP_FDS_MAX];

    for (unsigned i = 0; i < n; i++)
        p[OWN + i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    return wait_for(l, p, n, until);
}

bool loop_is_full(const struct loop *l)
{
    return stream_pending(l->out) > PENDING_MAX && !l->hung_up;
}

void loop_push(struct loop *l)
{
    if (!l->hung_up && !stream_push(l->out))
        hang_up(l);
    while (loop_is_full(l))
        loop_wait(l, -1, 0, -1);
    if (++l->pushes % LOOK_ROUND == 0)
        loop_wait(l, -1, 0, 0);
}
