/*
 * --to-dir and --dry-run: what would be done, in files or on the screen.
 *
 *     DIR/permit-RUN.parquet
 *     DIR/RUN/NAME                        the staged files
 *     DIR/RUN/000001-000-apply.sql        batch and step; -create.sql where there is one
 *     DIR/RUN/000001-manifest.json        last, when the rest is complete: the load frame
 *
 * Copied to the staging folder as it is, the statements can be run by hand.
 */
#ifndef PGCDC_DIRECTORY_H
#define PGCDC_DIRECTORY_H

#include "load.h"

/* Makes the folders and the permit. What the run before wrote and did not acknowledge goes: it
 * comes again. Call it before the ledger's run changes. */
void directory_open(struct load *load);

/* A staged file to write to; directory_close makes it durable. */
int directory_file(const struct load *load, const char *name);
void directory_close(int fd);

/* Makes the folder of a snapshot's files durable, if there is one. */
void directory_sync(const struct load *load, uint32_t oid, uint64_t attempt);

/* Writes a batch's statements and manifest; marks its steps as done. */
void directory_batch(const struct load *load, struct batch *b, struct frame *f);

/* Prints a batch's statements on stdout. */
void directory_show(const struct load *load, const struct batch *b);

#endif
