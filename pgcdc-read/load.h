/* What dbx-load says in its state file, cdc-state(5), as far as the reader acts on it. */
#ifndef PGCDC_READ_LOAD_H
#define PGCDC_READ_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "lsn.h"
#include "stream.h"

struct load_snapshot {
    uint32_t oid;
    uint64_t attempt;
    lsn_t lsn;
};

/* Pages of a file (OID of the table << 32 | relfilenode), `to` not included. */
struct load_range {
    uint64_t file, from, to;
};

/* An attempt at a snapshot that is not whole, of which some is staged. */
struct load_unfinished {
    uint32_t oid;
    uint64_t attempt;
    char *run;
    uint64_t horizon, stamp; /* pgcdc-read's own: see resume.h */
    uint64_t layout;         /* cdc-merge's */
    unsigned nranges;
    struct load_range *ranges;
};

struct load {
    bool exists;
    struct source source; /* NULL members: it does not say */
    char *run;            /* the run it serves, or NULL */
    bool open;
    lsn_t open_lsn; /* 0: from the beginning */
    lsn_t prepared, applied;
    unsigned batches; /* prepared and not done */
    struct load_snapshot *snapshots;
    unsigned nsnapshots;
    struct load_unfinished *unfinished; /* of a table: oldest first */
    unsigned nunfinished;
};

/* Reads it anew; what it held before is freed. Exits with 65 if it is damaged. */
void load_read(struct load *l, const char *dir);

/* The table's line, or NULL. */
const struct load_snapshot *load_find(const struct load *l, uint32_t oid);

#endif
