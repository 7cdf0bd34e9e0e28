#include "finish.h"

#include "cli.h"
#include "frames.h"
#include "link.h"
#include "msg.h"
#include "slot.h"

#define CONFIRM_PATIENCE 10000 /* ms for the slot to move after everything is loaded */
#define CONFIRM_EVERY 50       /* ms between looks at it */

/* Stays until downstream has closed; false: before it took everything. */
static bool drain(struct loop *l)
{
    l->draining = true;
    l->quit_on_stop = false;
    while (!l->hung_up && (l->state || stream_pending(l->out)))
        loop_wait(l, -1, 0, -1);
    return !stream_pending(l->out);
}

static int behind(void)
{
    msg_info("downstream has closed before everything was loaded");
    return EX_TEMPFAIL;
}

/* Where it is streamed from, the server moves it when it takes our status. */
static bool slot_has_moved(struct changes *c)
{
    struct run *run = c->run;
    struct loop *l = &run->loop;
    struct trouble t;
    bool good = link_open(c, &t);

    if (good && l->stream) {
        loop_status(l);
        good = PQconsumeInput(l->stream);
    } else if (good && run->slot_lsn < c->position) {
        good = slot_advance(run, c->position, &t);
    }
    if (!good)
        link_close(l);
    return good && run->slot_lsn >= c->position;
}

/* Whether dbx-load has nothing left to do, and the snapshots of all tables that were read. */
static bool is_loaded(const struct run *run)
{
    if (run->loop.load.batches)
        return false;
    for (const struct table *table = run->tables; table; table = table->hh.next) {
        const struct load_snapshot *done = load_find(&run->loop.load, table->oid);
        if (table->attempt && (!done || done->attempt < table->attempt))
            return false;
    }
    return true;
}

int finish_changes(struct changes *c)
{
    struct loop *l = &c->run->loop;

    changes_end(c);
    bool all = drain(l);
    if (c->run->reading) {
        msg_warn("stopped while tables were being read: they will be read again");
        return EX_TEMPFAIL;
    }
    if (!all || (l->state && (l->load.applied < c->position || !is_loaded(c->run))))
        return behind();
    if (!l->state)
        return EX_OK;
    int64_t until = clock_ms() + CONFIRM_PATIENCE;
    while (!slot_has_moved(c)) {
        if (clock_ms() >= until) {
            msg_warn("everything is loaded, but the slot does not move");
            return EX_TEMPFAIL;
        }
        loop_wait(l, -1, 0, clock_ms() + CONFIRM_EVERY);
    }
    return EX_OK;
}

int finish_snapshot(struct run *run, lsn_t lsn)
{
    struct loop *l = &run->loop;

    frames_end(l->out, lsn);
    if (!drain(l) || (l->state && !is_loaded(run)))
        return behind();
    return EX_OK;
}
