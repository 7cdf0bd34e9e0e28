/* names: which names Databricks takes for one. It keeps a name's case, and compares without it. */
#ifndef PGCDC_NAMES_H
#define PGCDC_NAMES_H

#include <stdbool.h>

/* Whether two names, UTF-8, are equal but for their case, in any script: as Java's
 * equalsIgnoreCase() has it, character by character. Ends the program (78) if the C library has no
 * locale C.UTF-8, which knows the cases of what is not ASCII. */
bool names_equal(const char *a, const char *b);

#endif
