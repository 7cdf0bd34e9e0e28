/*
 * One line of COPY TO in text format, taken apart:
 * https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2
 */
#ifndef PGCDC_READ_COPYTEXT_H
#define PGCDC_READ_COPYTEXT_H

#include <stdbool.h>

#include "value.h"

/* Decodes the line in place into exactly n values, which point into it. False: it holds another
 * number of them, or a broken escape. */
bool copytext_split(char *line, size_t len, struct value *values, unsigned n);

#endif
