/* The connections of a stream: the one for queries and locks, and one that changes come by. */
#ifndef PGCDC_READ_LINK_H
#define PGCDC_READ_LINK_H

#include "changes.h"

/* Makes the first if it is missing, and looks whether the slot still serves for going on at
 * c->position. A permanent obstacle exits with 78; false: *t says why it did not work now. */
bool link_open(struct changes *c, struct trouble *t);

/* Then makes one that streams, and starts streaming at c->position; likewise. */
bool link_stream(struct changes *c, struct trouble *t);

/* A connection for changes, to the same server as before. NULL: *t says why not. */
PGconn *link_connect(struct run *run, struct trouble *t);

/* The value of the plugin's publication_names, for a literal of SQL. */
void link_publication_names(struct buf *sql, const struct arguments *a);

/* Exits because of a change that the publications did not yet exist for. */
_Noreturn void link_die_unpublished(const struct trouble *t);

/* Closes both. */
void link_close(struct loop *l);

#endif
