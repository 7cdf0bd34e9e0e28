/*
 * How tables are made: CREATE TABLE, with what Delta Lake is to do for a table that changes all the
 * time, and with --table-properties.
 */
#ifndef PGCDC_CREATE_H
#define PGCDC_CREATE_H

#include "load.h"

/* The argument of --table-properties: KEY=VALUE. One that is wrong exits with 64. */
void create_option(struct load *load, char *argument);

/* The statement that makes the step's table; if the step can make one that has its rows at once,
 * that one. free() it. */
char *create_sql(const struct load *load, const struct step *s);

#endif
