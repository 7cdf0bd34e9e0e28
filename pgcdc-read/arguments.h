/* The command line of pgcdc-read. */
#ifndef PGCDC_READ_ARGUMENTS_H
#define PGCDC_READ_ARGUMENTS_H

#include <stdbool.h>

#include "cli.h"
#include "lsn.h"

struct list {
    const char **items;
    unsigned n;
};

enum snapshot_mode { SNAPSHOT_INITIAL, SNAPSHOT_NEVER, SNAPSHOT_ONLY };
enum way { FETCH_AUTO, FETCH_STREAM, FETCH_SQL };
enum { SNAPSHOT_JOBS_MAX = 32 };

struct arguments {
    struct cli cli;
    const char *slot, *name; /* name defaults to slot */
    const char *conninfo;    /* NULL: libpq's own defaults */
    struct list publications, tables, excludes, refresh;
    enum snapshot_mode snapshot;
    unsigned snapshot_jobs; /* connections that read tables */
    bool create_slot, drop_slot, once;
    bool failover;     /* a slot that is created is synced to standbys */
    bool set_identity; /* of published tables that have none */
    bool resnapshot;   /* where changes are lost, all tables are read again */
    enum way fetch;    /* how a backlog is read */
    lsn_t until;       /* 0: none */
    const char *spool; /* where what does not fit into memory is put aside */
};

/* Exits with 64 if the command line cannot be meant. */
void arguments_parse(struct arguments *a, int argc, char **argv);

/* Whether GLOBs choose this table: "schema.table" in whole, case-sensitive, with * and ?. */
bool arguments_select(const struct arguments *a, const char *schema, const char *table);

/* Whether --refresh asks for the table, likewise. */
bool arguments_refresh(const struct arguments *a, const char *schema, const char *table);

#endif
