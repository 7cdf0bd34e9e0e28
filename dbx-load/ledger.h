/*
 * The truth about a pipeline: the file `load` of cdc-state(5), in memory.
 *
 * Callers change the fields and call ledger_save before they act on what they changed.
 */
#ifndef PGCDC_LEDGER_H
#define PGCDC_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "lsn.h"
#include "stream.h"

/* An execution context of a cluster. */
struct ledger_context {
    char *cluster, *id;
};

struct ledger {
    const char *dir;
    bool exists; /* there was a file when it was read */
    struct source source;
    char *host, *catalog, *namespace, *staging; /* the target */
    char *run;
    bool open;
    lsn_t prepared, applied; /* 0: none */
    char *loaded_run;
    uint64_t loaded;
    struct batch *batches; /* prepared and not done, in order */
    unsigned nsnapshots;
    struct snapshot *snapshots; /* their texts are owned */
    unsigned nunfinished;
    struct unfinished *unfinished; /* see unfinished.h */
    unsigned ncontexts;
    struct ledger_context *contexts; /* where statements of this start or earlier ones may run */
    int64_t error_time;
    char *error; /* or NULL */
};

/* Reads the state and the manifests of its batches; an empty ledger if there is none. Damage exits
 * with 65. dir is kept. */
void ledger_read(struct ledger *l, const char *dir);

/* Makes it durable. */
void ledger_save(const struct ledger *l);

void ledger_free(struct ledger *l);

void ledger_set(char **field, const char *value); /* replaces an owned text */

/* Appends a batch to the unfinished ones; the ledger owns it. */
void ledger_add(struct ledger *l, struct batch *b);

/* Notes that a batch is acknowledged: it is loaded, and its changes are applied. */
void ledger_acknowledge(struct ledger *l, struct batch *b);

/* The snapshot of this table that is prepared, or NULL. */
struct snapshot *ledger_snapshot(const struct ledger *l, uint32_t oid);

/* The same by the name of the table, schema.table. */
const struct snapshot *ledger_snapshot_of(const struct ledger *l, const char *source);

/* Notes a snapshot; texts are copied. Which table of which name has it stays as it was known. */
void ledger_note_snapshot(struct ledger *l, const struct snapshot *s);

/* Notes that this table (quoted in full) has the rows of that of the source, schema.table, and no
 * other's. */
void ledger_note_place(struct ledger *l, struct snapshot *s, const char *source,
                       const char *target);

/* The snapshot of another table than this one's that is in the target, or NULL. */
struct snapshot *ledger_snapshot_in(const struct ledger *l, const char *target, uint32_t oid);

/* Notes a context, or forgets all. */
void ledger_note_context(struct ledger *l, const char *cluster, const char *id);
void ledger_forget_contexts(struct ledger *l);

/* For fail_record: notes the error and saves. */
void ledger_record_error(void *ledger, const char *text);

#endif
