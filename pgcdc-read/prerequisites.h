/* What has to be so at the source before it can be read, and who the source is. */
#ifndef PGCDC_READ_PREREQUISITES_H
#define PGCDC_READ_PREREQUISITES_H

#include "run.h"

/*
 * Tests all of it; fills run's version, source, tables and slot on the way. With report, says one
 * line per prerequisite and returns the number that failed; without, exits with 78 at the first
 * that fails. Needs run->loop.sql.
 */
unsigned prerequisites_test(struct run *run, bool report);

#endif
