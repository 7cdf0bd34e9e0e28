/*
 * A batch: what the `load` frame of cdc-stream(5) says is to be done, and how far it is.
 *
 * Its manifest in the state folder (cdc-state(5), batches/RUN-BATCH) is that frame as it came.
 */
#ifndef PGCDC_BATCH_H
#define PGCDC_BATCH_H

#include "lsn.h"
#include "mem.h"
#include "stream.h"

struct table;

struct load_column {
    const char *name, *type;
    const char *comment; /* of the source's column, or NULL */
    int attnum;          /* 0: one of ours */
};

struct property {
    const char *key, *value;
};

/* What rows have in a column that is older than it: a SQL expression over the row s of the file
 * with the defaults, and the value as it stands in _cdc_row. */
struct default_value {
    int attnum;
    const char *expression, *text;
};

/* A statement with gaps for the path of the permit. */
struct fragments {
    unsigned n; /* 0: there is no such statement */
    const char **text;
};

struct step {
    struct batch *batch;
    unsigned index;
    const char *catalog, *schema, *name; /* of the target table */
    const char *source;                  /* schema.table, for messages */
    const char *comment;                 /* that table's, or NULL */
    uint32_t oid;                        /* of that table */
    struct {
        lsn_t lsn;
        uint64_t seq;
    } relation; /* the position of its shape */
    bool drops; /* columns that the source has no more are dropped, not kept */
    unsigned ncolumns, nkey, nproperties, nfiles, ndefaults;
    struct load_column *columns;
    struct default_value *defaults;
    const char *defaults_file; /* or NULL */
    const char **key;
    struct property *properties;
    const char **files;
    unsigned nfolders;
    const char **folders; /* RUN/NAME, of a snapshot's attempts: all files there */
    uint64_t rows;
    struct fragments create, apply; /* without apply: only the shape is to be applied */
    uint64_t least, most;           /* rows that apply inserts and updates, whenever it is run */

    /* Progress that is in the state. */
    bool done;
    bool begun;      /* something may have been sent for it */
    char *statement; /* the id of the last one sent, or NULL */
    bool shaping;    /* that one only brings the table to the step's shape */
    int64_t version; /* of a table without a key, before the first sending; -1: not noted */

    /* And what is not. */
    struct table *table;
    bool unsure;    /* it may have been committed already: look before it is sent */
    unsigned tries; /* failures because of a concurrent commit */
};

struct snapshot {
    uint32_t oid, relfilenode;
    uint64_t attempt;
    lsn_t lsn;
    const char *schema, *table;
    const char *mode;   /* append or merge */
    const char *target; /* the table that has it, quoted in full; NULL: not known */
};

struct batch {
    struct batch *next;
    const char *run;
    uint64_t number;
    bool acknowledged; /* what is not done of it is behind */
    lsn_t from, lsn;   /* 0 for a snapshot */
    bool is_snapshot;
    struct snapshot snapshot;
    unsigned nsteps;
    struct step *steps;
    struct arena arena; /* holds all of it but the ids */
};

/* A table property that the step wants; NULL: it says nothing of it. */
const char *step_property(const struct step *s, const char *key);

/* `append`, or merge: what the step's table holds. */
#define PROPERTY_MODE "pgcdc.mode"
#define MODE_USUAL "merge"
const char *step_mode(const struct step *s);

/* One without steps and without manifest. */
struct batch *batch_new(const char *run, uint64_t number, lsn_t lsn);

/* Opens a `load` frame. What is not as it should be exits with 65. */
struct batch *batch_unpack(struct frame *f, const char *run);
void batch_free(struct batch *b);

bool batch_is_done(const struct batch *b);

/* The manifest. batch_load exits with 65 if it is missing or damaged. */
void batch_save(const struct batch *b, const char *dir, const struct frame *f);
struct batch *batch_load(const char *dir, const char *run, uint64_t number);
void batch_forget(const struct batch *b, const char *dir);

/* Deletes the manifests that no batch of the list has. */
void batch_forget_others(const struct batch *list, const char *dir);

/* A step's statement with the permit's path in its gaps; free() it. */
char *batch_sql(const struct fragments *f, const char *permit);

/* Names that come from the stream and become part of paths: letters, digits and . _ - (not first).
 */
bool batch_name_is_safe(const char *name);

/* The same of two with a slash between them. */
bool batch_path_is_safe(const char *path);

#endif
