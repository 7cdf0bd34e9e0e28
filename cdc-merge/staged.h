/* staged: what a batch holds of one table in one shape, which makes a step: the files that were
 * made for it, in the order of their parts, and what its statement has to reckon with. */
#ifndef CDC_MERGE_STAGED_H
#define CDC_MERGE_STAGED_H

#include "lsn.h"
#include "mem.h"
#include "tables.h"

enum {
    ATTNUM_MAX = 1600, /* MaxHeapAttributeNumber */
    STAGED_BOUNDS =
        4 /* key columns that have bounds, the first ones: tables are clustered by them */
};

struct staged_position {
    lsn_t lsn;
    uint64_t seq;
    int64_t time; /* of the commit */
};

struct staged_file {
    char *name;
    uint64_t rows;
    bool carries; /* a row has unchanged values that are known under another key */
    bool ended;   /* where deletes are soft: a TRUNCATE came later, and what is there ended */
    struct staged_position end;
};

/* The smallest and largest value of a key column, for engines that can skip files. */
struct staged_bounds {
    bool any, useless;
    __int128 min, max;             /* of numbers, dates and timestamps, as they are staged */
    struct buf min_text, max_text; /* of strings */
};

struct staged {
    struct staged *next;
    struct table *table;
    const struct shape *shape;
    struct staged_file *files;
    size_t nfiles;
    size_t first_file; /* the ones before came before a TRUNCATE, and hold nothing any more (unless
                          deletes are soft) */

    char *folder;   /* of a snapshot: its files are there, and count as one; else NULL */
    char **earlier; /* RUN/FOLDER of attempts at it that it goes on from, oldest first */
    size_t nearlier;
    struct staged_position as_of; /* of a snapshot */
    char *defaults;               /* the file of them, see defaults.h; NULL: there are none */
    const struct shape *before;   /* what the table had until this step, see table.stepped */

    /* Of the files that count. */
    bool cleared; /* the table was truncated, and older rows of the target are no more: */
    struct staged_position clear;
    uint8_t unchanged[ATTNUM_MAX / 8 + 1]; /* a bit per attnum: some row has it unchanged */
    bool removes;                          /* without a key: copies of rows go away */
    uint64_t added;                        /* the same: copies that come */
    bool copies;                           /* without a key: several of one row come */
    struct staged_bounds bounds[STAGED_BOUNDS];
    struct staged_chains *chains; /* NULL: no value was carried but in the first file */
};

/* The last entry of the table in a list, if it has the table's newest shape; else a new one, at the
 * end. */
struct staged *staged_of(struct staged **list, struct table *t);

/* Take `name` over for a new file. Pointers to files become void. */
void staged_add_file(struct staged *s, char *name);

/* The table was truncated: everything so far is void, or has ended. */
void staged_clear(struct staged *s, const struct staged_position *at);

static inline void staged_set_unchanged(struct staged *s, int attnum)
{
    s->unchanged[attnum / 8] |= (uint8_t)(1 << attnum % 8);
}

static inline bool staged_is_unchanged(const struct staged *s, int attnum)
{
    return s->unchanged[attnum / 8] >> attnum % 8 & 1;
}

/*
 * Note that a row of the newest file has values that are known under another key, which it had when
 * the part began: where it had them from still another one, in an earlier part, they have to be
 * looked up hop by hop. The keys come as hashes.
 */
void staged_carry(struct staged *s, uint64_t key, uint64_t carried);

/* The hops from file to file that a value may need, at most; if the keys' hashes tell (equal keys
 * have equal texts) not many more than it does. */
size_t staged_hops(const struct staged *s, bool hashes_tell);

/* Let the bounds hold a value of the key column `number`, counted from 0. */
void staged_bound(struct staged *s, unsigned number, const struct parquet_column *c,
                  const union parquet_value *v);

/* Rows in all files, those before a TRUNCATE included. */
uint64_t staged_rows(const struct staged *s);

/* Free the whole list and set it to NULL. */
void staged_free(struct staged **list);

#endif
