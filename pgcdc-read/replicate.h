/* Streams the changes over the replication protocol, through lost connections and server restarts.
 */
#ifndef PGCDC_READ_REPLICATE_H
#define PGCDC_READ_REPLICATE_H

#include "changes.h"

/* Streams until the target is reached or a signal asked to stop, and the stream is whole. Exits
 * with 75 if the server stays away, or a transaction does not end within 10 seconds after the
 * signal. */
void replicate_run(struct changes *c);

#endif
