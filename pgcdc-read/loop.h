/*
 * The one place where the reader waits. Whatever it waits for, meanwhile stdout is written as it
 * takes bytes, the server gets its status updates on time, dbx-load's state is followed, and
 * signals and a downstream that has gone are noticed. Nothing else blocks.
 */
#ifndef PGCDC_READ_LOOP_H
#define PGCDC_READ_LOOP_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "load.h"
#include "lsn.h"
#include "stream.h"

struct loop {
    struct stream_out *out;
    const char *state; /* the state folder, or NULL */
    const char *run;   /* our run's id */
    bool draining;     /* everything is sent: a hang-up is expected */
    bool hung_up;      /* only if draining; else a hang-up exits with 75, quietly */
    bool quit_on_stop; /* a signal exits with 75, quietly: nothing is under way that could be
                          brought to a good end */
    struct load load;  /* dbx-load's file as last read */

    /* the connection that streams, or NULL: status updates go there */
    PGconn *stream;
    lsn_t received;       /* told to the server as written */
    int64_t status_every; /* milliseconds */
    bool ask;             /* with every status, ask the server where its WAL ends */

    PGconn *sql; /* watched: if the server ends it, it shows as CONNECTION_BAD */
    /* the rest is the loop's own */
    lsn_t confirmed; /* told to the server as flushed; never goes down */
    int64_t status_due, look_due;
    unsigned pushes;
    int watch;
    bool can_hang_up; /* stdout is a pipe or a socket */
};

/* Makes stdout non-blocking and begins to follow the state. run and state stay the caller's. */
void loop_init(struct loop *l, struct stream_out *out, const char *state, const char *run);

/* Waits until fd (-1: none) has one of the events (true), or the time (clock_ms; -1: never) has
 * come, or something else has changed (false): stdout took bytes, the state was replaced, a signal
 * came. */
bool loop_wait(struct loop *l, int fd, short events, int64_t until);

/* The same for input from any of n descriptors, LOOP_FDS_MAX at most; those of -1 don't count. */
enum { LOOP_FDS_MAX = 64 };
bool loop_wait_any(struct loop *l, const int *fds, unsigned n, int64_t until);

/* Sends what stdout takes, and waits while more is pending than a slow downstream may make us keep.
 * To be called after every row, or some of them. */
void loop_push(struct loop *l);

/* Whether so much is pending: loop_push would wait. */
bool loop_is_full(const struct loop *l);

/* Tells the server now how far we are: written is received, flushed is dbx-load's applied. */
void loop_status(struct loop *l);

#endif
