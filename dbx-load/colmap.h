/*
 * Which column of a target table is which of the source's: the table property pgcdc.columns.
 *
 * {"oid":16385,"lsn":"0/1A2B","seq":0,"columns":{"1":"id","5":"note"},"dropped":{"old":3},"adding":[5]}
 *
 * The columns by attnum, of the source's table with this OID, as of this position of its shape. Two
 * more keys where there is something to say: columns that were kept when the source dropped them
 * (name and attnum, 0 if they were an earlier table's), and those that are just being added.
 */
#ifndef PGCDC_COLMAP_H
#define PGCDC_COLMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "lsn.h"
#include "mem.h"

#define PROPERTY_COLUMNS "pgcdc.columns"

struct colmap_entry {
    int attnum;
    const char *name;
    bool dropped, adding;
};

struct colmap {
    uint32_t oid;
    lsn_t lsn;
    uint64_t seq;
    unsigned n;
    struct colmap_entry *entries;
};

/* Both in the arena. NULL: the text is not such a property. */
struct colmap *colmap_parse(const char *text, struct arena *a);

/* The same map gives the same text, in whatever order its entries are. */
char *colmap_text(const struct colmap *m, struct arena *a);

#endif
