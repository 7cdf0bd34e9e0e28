/*
 * The state file `shapes` of cdc-state(5): what the last run knew of the tables' shapes, so that
 * the next one can tell what has become of their columns.
 */
#ifndef PGCDC_READ_SHAPES_H
#define PGCDC_READ_SHAPES_H

#include "run.h"

/* Gives the tables the shapes and attributes that the file has. Exits with 65 if it is damaged. */
void shapes_read(struct run *run);

/* Replaces the file, durably; does nothing without a state folder. Of each table it has the newest
 * shape that a next run, which begins at dbx-load's `prepared`, cannot come before. */
void shapes_write(struct run *run);

/* The same, if there is one that the file does not have yet. */
void shapes_note(struct run *run);

#endif
