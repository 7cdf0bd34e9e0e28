/* Staged files that nobody needs any more. */
#ifndef PGCDC_PURGE_H
#define PGCDC_PURGE_H

#include "load.h"

/* Deletes the files of the steps that are done in the background, once, unless they are to be kept.
 */
void purge_done(struct load *load, struct batch *b);

/* Deletes what earlier runs left in the staging folder, and no unfinished batch needs. */
void purge_leftovers(struct load *load);

/* The volume's path of a staged file; free() it. */
char *purge_path(const struct load *load, const char *run, const char *name);

#endif
