/* --check: does what a load does, in small, and says of each part whether it works. */
#ifndef PGCDC_CHECK_H
#define PGCDC_CHECK_H

#include "load.h"

/* Tests sign-in and warehouse and, where the stream named a target, staging and tables. Prints a
 * line for each on stderr. Returns how many failed. */
unsigned check_run(struct load *load);

#endif
