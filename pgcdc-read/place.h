/*
 * Which attribute of the catalog each column of a relation message is.
 *
 * pgoutput sends a table's columns in the order of their attnums, but not the attnums, and the
 * catalog may be ahead of the message by any number of ALTER TABLEs. What is sure nevertheless:
 * attnums only grow, a dropped one is never used again, and what the catalog still has has been
 * there ever since it came. Where exactly one way is left to place the columns, it is proven.
 */
#ifndef PGCDC_READ_PLACE_H
#define PGCDC_READ_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* A column of the message. layout tells what values of its type look like on disk; 0: unknown. */
struct place_column {
    const char *name;
    uint32_t type;
    int32_t typmod;
    uint64_t layout;
};

/* What an attribute can have been at the time of the message. */
enum place_kind {
    PLACE_MUST, /* it was sent */
    PLACE_MAY,  /* it may have been there, or not */
    PLACE_NEW,  /* it is there now, and may not have been yet: then none after it was */
};

struct place_attribute {
    int attnum;
    enum place_kind kind;
    const char *name; /* and type and typmod: what they were then; NULL: not known */
    uint32_t type;
    int32_t typmod;
    uint64_t layout; /* what it is all the while; 0: it may have changed */
};

/* Fills attnums, one per column, from attributes in the order of their attnums. False: there is no
 * way, or more than one. */
bool place_columns(const struct place_column *columns, unsigned ncolumns,
                   const struct place_attribute *attributes, unsigned nattributes, int *attnums);

#endif
