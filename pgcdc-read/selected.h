/* The tables that a run selects: whether they are published, and can be read. */
#ifndef PGCDC_READ_SELECTED_H
#define PGCDC_READ_SELECTED_H

#include "run.h"
#include "verdict.h"

/* Finds them, run->tables, and tests each; with --set-identity gives them replica identities. */
void selected_test(struct run *run, struct verdicts *v);

#endif
