#include "receive.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "directory.h"
#include "fail.h"
#include "failpoint.h"
#include "figures.h"
#include "msg.h"
#include "purge.h"
#include "spool.h"
#include "staging.h"
#include "table.h"
#include "unfinished.h"
#include "uploads.h"
#include "volume.h"

struct receive {
    struct load *load;
    struct steps *steps;
    int fd;
    struct stream_in *in;
    char *name; /* of the file that is open, or NULL */
    int file;   /* -1: its bytes are not wanted */
    uint64_t size;
    struct uploads *uploads;
    uint64_t number; /* of the last batch */
    bool holding;    /* a `load` frame waits for its files */
    struct frame held;
    bool dirty; /* the ledger has a batch that is not saved yet */
    enum { GOING, ENDED, FAILED, CUT } outcome;
    int code;
};

/* ------------------------------------------------------------------ the beginning */

static void take_end(struct receive *r, struct frame *f)
{
    r->outcome = frame_is(f, "end") ? ENDED : FAILED;
    r->code = r->outcome == FAILED ? (int)(frame_uint(f) & 255) : 0;
}

/* Waits for a frame, nothing else being under way. False: the stream is over. */
static bool next_frame(struct receive *r, struct frame *f)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    enum stream_status status = stream_read(r->in, f, false);

    while (status == STREAM_WAIT)
        status = stream_read(r->in, f, poll(&p, 1, -1) > 0);
    if (status != STREAM_FRAME)
        r->outcome = CUT;
    else if (frame_is(f, "end") || frame_is(f, "fail"))
        take_end(r, f);
    return r->outcome == GOING;
}

struct receive *receive_new(struct load *load, int fd, bool may_be_empty)
{
    struct receive *r = mem_alloc(sizeof *r);
    struct frame f;

    r->load = load;
    r->fd = fd;
    r->file = -1;
    r->in = stream_in_new(fd);
    r->uploads = uploads_new(load);
    if (!next_frame(r, &f)) {
        if (may_be_empty && !stream_offset(r->in)) {
            receive_free(r);
            return NULL;
        }
        receive_over(r);
        frame_bad(&f, "a stream opens with start");
    }
    if (!frame_is(&f, "start") && !frame_is(&f, "check"))
        frame_bad(&f, "a stream opens with start");
    start_unpack(&f, &load->start);
    if (!batch_name_is_safe(load->start.run))
        frame_bad(&f, "the id of the run has other bytes than letters, digits, . _ and -");
    return r;
}

void receive_free(struct receive *r)
{
    if (!r)
        return;
    stream_in_free(r->in);
    if (r->file >= 0)
        close(r->file);
    free(r->name);
    uploads_free(r->uploads);
    free(r);
}

static void unpack_target(struct load *load, struct frame *f)
{
    size_t len, size;

    for (unsigned n = frame_map(f); n; n--) {
        const char *key = frame_str(f, &len);
        char **text = NULL;
        if (len == 7 && !memcmp(key, "catalog", 7))
            text = &load->catalog;
        else if (len == 9 && !memcmp(key, "namespace", 9))
            text = &load->namespace;
        else if (len == 7 && !memcmp(key, "staging", 7))
            text = &load->staging;
        if (text) {
            free(*text);
            *text = frame_strdup(f);
        } else if (len == 6 && !memcmp(key, "permit", 6)) {
            const char *bytes = frame_str(f, &size);
            buf_clear(&load->permit);
            buf_add(&load->permit, bytes, size);
        } else {
            frame_any(f);
        }
    }
    if (!load->catalog || !load->namespace || !load->staging || !load->permit.len)
        frame_bad(f, "a target lacks its catalog, namespace, staging or permit");
    if (!staging_is_valid(load->staging))
        frame_bad(f, "the staging folder is not /Volumes/catalog/schema/volume/name");
}

void receive_target(struct receive *r)
{
    bool check = r->load->start.check;
    struct frame f;

    while (next_frame(r, &f)) {
        if (frame_is(&f, "target")) {
            unpack_target(r->load, &f);
            return;
        }
        if (frame_is(&f, "load") || frame_is(&f, "file"))
            frame_bad(&f, "the target has to come before");
    }
    if (!check)
        receive_over(r);
    if (!check && r->outcome == ENDED)
        frame_bad(&f, "the target has to come before");
}

void receive_open(struct receive *r, struct steps *steps)
{
    r->steps = steps;
}

/* ------------------------------------------------------------------ files */

static void open_file(struct receive *r, struct frame *f)
{
    if (r->name)
        frame_bad(f, "the file before is not closed");
    r->name = frame_strdup(f);
    if (!batch_name_is_safe(r->name) && !batch_path_is_safe(r->name))
        frame_bad(f, "the name of a file has other bytes than letters, digits, . _ and -");
    r->size = 0;
    if (r->load->sink != SINK_SHOW)
        unfinished_file(&r->load->ledger, r->name);
    if (r->load->sink == SINK_WAREHOUSE)
        r->file = spool_open(r->load->ledger.dir);
    else if (r->load->sink == SINK_DIRECTORY)
        r->file = directory_file(r->load, r->name);
}

static void add_data(struct receive *r, struct frame *f)
{
    size_t len;
    const char *data = frame_str(f, &len);

    if (!r->name)
        frame_bad(f, "no file is open");
    r->size += len;
    if (r->file >= 0)
        spool_write(r->file, data, len);
}

static void close_file(struct receive *r, struct frame *f)
{
    frame_any(f);
    if (!r->name || frame_uint(f) != r->size)
        frame_bad(f, "a file is not as long as it says");
    if (r->load->sink == SINK_DIRECTORY) {
        directory_close(r->file);
        figures_staged(r->size);
    } else if (r->load->sink == SINK_WAREHOUSE) {
        uploads_send(r->uploads, r->name, r->file, r->size);
    }
    r->file = -1;
    free(r->name);
    r->name = NULL;
}

/* ------------------------------------------------------------------ batches */

/* True if the ledger says that this has been loaded, or will be. A gap is never skipped. */
static bool is_covered(const struct ledger *l, const struct batch *b, const struct frame *f)
{
    if (b->is_snapshot) {
        const struct snapshot *known = ledger_snapshot(l, b->snapshot.oid);
        return known && known->attempt >= b->snapshot.attempt;
    }
    if (!l->prepared)
        return false;
    /* where nothing has happened since, a batch brings shapes alone; those can be had twice */
    bool shapes = b->nsteps && b->from == b->lsn && b->lsn == l->prepared;
    if (b->lsn <= l->prepared)
        return !shapes;
    if (b->from < l->prepared)
        frame_bad(f, "the batch begins before, and ends after, what has been loaded");
    if (b->from > l->prepared)
        frame_bad(f, "changes are missing between what has been loaded and this batch");
    return false;
}

/* Asked before the batch is durable, so that a --mode that was changed by mistake can be changed
 * back. */
static void require_modes(const struct ledger *l, const struct batch *b)
{
    for (unsigned i = 0; i < b->nsteps; i++) {
        const struct step *step = &b->steps[i];
        const struct snapshot *s = ledger_snapshot(l, step->oid);
        if (!s)
            s = ledger_snapshot_of(l, step->source);
        if (s && strcmp(s->mode, step_mode(step)))
            fail(EX_CONFIG,
                 "%s was loaded with --mode %s, and cannot go on with %s: go back to that; or move "
                 "the state folder away to read the tables again, and drop or rename %s.%s, or "
                 "give the pipeline another --prefix",
                 step->source, s->mode, step_mode(step), step->schema, step->name);
    }
}

/* A table that is known keeps its place until a step has brought it elsewhere. */
static void note_snapshot(struct ledger *l, struct batch *b)
{
    struct table *t = b->nsteps ? table_new(b->steps) : NULL;

    b->snapshot.target = t ? t->name : NULL;
    ledger_note_snapshot(l, &b->snapshot);
    unfinished_forget(l, b->snapshot.oid);
    b->snapshot.target = NULL;
    if (t)
        table_free(t);
}

static void prepare(struct receive *r, struct frame *f)
{
    struct load *load = r->load;
    struct ledger *l = &load->ledger;
    struct batch *b = batch_unpack(f, load->start.run);

    if (b->number <= r->number)
        frame_bad(f, "the numbers of the batches do not grow");
    r->number = b->number;
    if (load->sink == SINK_SHOW) {
        directory_show(load, b);
        batch_free(b);
        return;
    }
    if (is_covered(l, b, f)) {
        msg_info("loaded before, skipped batch=%llu", (unsigned long long)b->number);
        for (unsigned i = 0; i < b->nsteps; i++)
            b->steps[i].done = true;
        purge_done(load, b);
        ledger_add(l, batch_new(b->run, b->number, 0)); /* it counts, in its turn */
        batch_free(b);
        r->dirty = true;
        return;
    }
    if (b->is_snapshot)
        FAILPOINT("all-parts-up");
    require_modes(l, b);
    if (b->nsteps && load->sink == SINK_DIRECTORY)
        directory_batch(load, b, f);
    else if (b->nsteps)
        batch_save(b, l->dir, f);
    /* Only now: who fails saves the ledger, and it must not say more than there is. */
    if (b->lsn)
        l->prepared = b->lsn;
    if (b->is_snapshot)
        note_snapshot(l, b);
    ledger_add(l, b);
    if (!b->nsteps) {
        r->dirty = true;
        return;
    }
    r->dirty = false;
    if (!steps_acknowledge(r->steps))
        ledger_save(l);
    steps_start(r->steps);
}

static void take_range(struct receive *r, struct frame *f)
{
    uint32_t oid = (uint32_t)frame_uint(f);
    uint64_t attempt = frame_uint(f);
    struct range range = {.file = frame_uint(f)};

    range.from = frame_uint(f);
    range.to = frame_uint(f);
    if (r->load->sink == SINK_DIRECTORY)
        directory_sync(r->load, oid, attempt);
    uploads_add_range(r->uploads, oid, attempt, &range);
}

/* It is for filters; nothing here waits for one. */
static void take_message(struct frame *f)
{
    lsn_t lsn = frame_uint(f);
    size_t len, size;

    frame_bool(f);
    const char *prefix = frame_str(f, &len);
    frame_str(f, &size);
    msg_info("a message passed by prefix=%.*s bytes=%zu lsn=%s", len > 80 ? 80 : (int)len, prefix,
             size, LSN_TEXT(lsn));
}

static void take(struct receive *r, struct frame *f)
{
    if (frame_is(f, "file"))
        open_file(r, f);
    else if (frame_is(f, "data"))
        add_data(r, f);
    else if (frame_is(f, "file-end"))
        close_file(r, f);
    else if (frame_is(f, "load")) {
        r->holding = true;
        r->held = *f;
        r->held.type = r->held.type_buf;
    } else if (frame_is(f, "message")) {
        take_message(f);
    } else if (frame_is(f, "end") || frame_is(f, "fail")) {
        take_end(r, f);
        if (r->outcome == ENDED && r->number && unfinished_forget_others(&r->load->ledger))
            r->dirty = true;
    } else if (r->load->sink != SINK_SHOW && frame_is(f, "snapshot")) {
        unfinished_begin(&r->load->ledger, f);
    } else if (r->load->sink != SINK_SHOW && frame_is(f, "range")) {
        take_range(r, f);
    }
}

bool receive_wants(const struct receive *r)
{
    return !r->holding && uploads_want(r->uploads);
}

bool receive_take(struct receive *r, bool readable)
{
    struct frame f;

    while (r->outcome == GOING) {
        if (r->holding && !uploads_open(r->uploads)) {
            prepare(r, &r->held);
            r->holding = false;
        }
        if (!receive_wants(r))
            break;
        enum stream_status status = stream_read(r->in, &f, readable);
        readable = false;
        if (status == STREAM_WAIT)
            break;
        if (status == STREAM_FRAME)
            take(r, &f);
        else
            r->outcome = CUT;
    }
    if (r->dirty) {
        if (!steps_acknowledge(r->steps))
            ledger_save(&r->load->ledger);
        steps_start(r->steps);
    }
    r->dirty = false;
    return r->outcome == GOING;
}

int receive_code(const struct receive *r)
{
    return r->outcome == CUT ? EX_TEMPFAIL : r->code;
}

void receive_over(const struct receive *r)
{
    if (r->outcome == CUT && !stop_requested())
        msg_die(EX_TEMPFAIL, "the stream broke off: the stage before has died");
    if (r->outcome == CUT || r->outcome == FAILED)
        msg_exit(receive_code(r));
}
