/*
 * What runs a start's statements, from the configuration to the end of the start.
 */
#ifndef PGCDC_COMPUTE_H
#define PGCDC_COMPUTE_H

#include "config.h"
#include "load.h"

/* Sets load->compute, for the requests of load->http; nothing is sent yet. */
void compute_new(struct load *load, const struct config *config);
void compute_free(struct load *load);

/* Ends what earlier starts left running on a cluster; then a cluster is started and waited for. */
void compute_open(struct load *load);

/* Leaves nothing behind on a cluster. No statement may be under way. */
void compute_close(struct load *load);

#endif
