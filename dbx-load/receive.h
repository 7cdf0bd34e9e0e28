/*
 * The stream comes in: files are spooled and uploaded, batches prepared.
 *
 * A batch is prepared when all its files are staged: then its manifest and the state are durable,
 * and its steps begin.
 */
#ifndef PGCDC_RECEIVE_H
#define PGCDC_RECEIVE_H

#include "load.h"
#include "steps.h"
#include "stream.h"

struct receive;

/* Waits for `start` (or `check`) and takes it into load. A stream that ends before it exits as
 * receive_over says; if may_be_empty, NULL says that there were no bytes at all. */
struct receive *receive_new(struct load *load, int fd, bool may_be_empty);
void receive_free(struct receive *r);

/* Waits for `target` and takes it into load. A check may end without one. */
void receive_target(struct receive *r);

/* Batches go there from now on. */
void receive_open(struct receive *r, struct steps *steps);

/* True while bytes are wanted: not while files wait to be uploaded. */
bool receive_wants(const struct receive *r);

/* Takes what has come; readable: poll() found something. False: the stream is over. */
bool receive_take(struct receive *r, bool readable);

/* How the stream ended: 0 with `end`, the code of `fail`, or 75 for neither. */
int receive_code(const struct receive *r);

/* Says so where nobody else has, and exits if the stream ended without `end`. */
void receive_over(const struct receive *r);

#endif
