/* The two connections of a stream: the one for queries and locks, and the one that streams. */
#ifndef PGCDC_READ_LINK_H
#define PGCDC_READ_LINK_H

#include "changes.h"

/* Makes what is missing of the two and starts streaming at c->position. A permanent obstacle exits
 * with 78; false: *t says why it did not work now. */
bool link_open(struct changes *c, struct trouble *t);

/* Exits because of a change that the publications did not yet exist for. */
_Noreturn void link_die_unpublished(const struct trouble *t);

/* Closes both. */
void link_close(struct loop *l);

#endif
