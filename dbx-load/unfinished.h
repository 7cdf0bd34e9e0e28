/*
 * Snapshots that are not whole yet: what of them is staged, so that a later run can go on from it.
 * In the state that is a line `unfinished` per attempt, of a table in their order, and behind it a
 * line `range` for the pages that are staged: cdc-state(5).
 *
 * An attempt is one folder, RUN/OID-ATTEMPT, in the staging folder. It may have files that no range
 * speaks of: those rows come again. One without ranges is nothing to go on from.
 */
#ifndef PGCDC_UNFINISHED_H
#define PGCDC_UNFINISHED_H

#include "ledger.h"
#include "state.h"

struct range {
    uint64_t file, from, to; /* pages of a file, `to` not included */
};

struct unfinished {
    uint32_t oid;
    uint64_t attempt;
    char *run;
    uint64_t horizon, stamp; /* pgcdc-read's */
    uint64_t layout;         /* cdc-merge's */
    bool has_files;          /* the folder is there */
    unsigned nranges;
    struct range *ranges;
};

/* Takes a `snapshot` frame: of the table's attempts only those that it goes on from stay. */
void unfinished_begin(struct ledger *l, struct frame *f);

/* Notes that a file was begun in a folder. */
void unfinished_file(struct ledger *l, const char *path);

/* Notes that what a range has is staged, unless the snapshot is not unfinished any more, or has no
 * file yet. */
void unfinished_add(struct ledger *l, uint32_t oid, uint64_t attempt, const struct range *range);

/* The table's snapshot is whole, or all are given up (oid 0). */
void unfinished_forget(struct ledger *l, uint32_t oid);

/* Forgets the attempts of tables that this run, which comes to its end, did not begin to read: they
 * are not published any more, or were left out. True: there were some. */
bool unfinished_forget_others(struct ledger *l);

/* Whether a folder of a run, or any if it is NULL, is that of an attempt. */
bool unfinished_needs(const struct ledger *l, const char *run, const char *folder);

/* The lines of the state. False: a line of another kind. */
void unfinished_lines(const struct ledger *l, struct buf *text);
bool unfinished_read(struct ledger *l, const struct state_line *line);

#endif
