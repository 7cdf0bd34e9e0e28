/*
 * Staged files on their way into the volume, a few at once; and ranges of snapshots, which are
 * staged when all files that came before them are there (unfinished.h).
 */
#ifndef PGCDC_UPLOADS_H
#define PGCDC_UPLOADS_H

#include "load.h"
#include "unfinished.h"

struct uploads;

struct uploads *uploads_new(struct load *load);
void uploads_free(struct uploads *u);

/* Sends a file, of which it takes the descriptor; name: in the run's folder, or in a folder there,
 * which is made where it is missing. A failure exits. */
void uploads_send(struct uploads *u, const char *name, int file, uint64_t size);

/* Files under way. */
unsigned uploads_open(const struct uploads *u);

/* Whether there is room for one more: the others leave connections to the statements. */
bool uploads_want(const struct uploads *u);

/* A range is staged when what was sent so far is; then it is made durable in the ledger. */
void uploads_add_range(struct uploads *u, uint32_t oid, uint64_t attempt,
                       const struct range *range);

#endif
