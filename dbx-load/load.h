/* What the parts of dbx-load share: one pipeline's way into one target. */
#ifndef PGCDC_LOAD_H
#define PGCDC_LOAD_H

#include "http.h"
#include "ledger.h"
#include "statement.h"
#include "stream.h"

enum sink {
    SINK_WAREHOUSE,
    SINK_DIRECTORY, /* --to-dir */
    SINK_SHOW       /* --dry-run */
};

enum { JOBS_MAX = 100 };

struct load {
    enum sink sink;
    const char *directory; /* of --to-dir */
    unsigned jobs;         /* tables at once */
    bool adopt, keep_staged;
    unsigned nproperties;
    struct property *properties; /* of --table-properties, for tables that are made */

    struct http *http; /* NULL but for SINK_WAREHOUSE */
    struct compute compute;
    struct ledger ledger; /* ledger.dir is NULL for SINK_SHOW */

    struct start start;
    char *host; /* names the target in the state */
    char *catalog, *namespace, *staging;
    struct buf permit; /* the bytes of the file */
    char *permit_path; /* of this start's permit: where its statements read it */
};

#endif
