/*
 * What becomes of a table's changes, as --mode and --delete have it: the target is kept equal to
 * the source (merge), rows that are gone being deleted (hard) or marked (soft); or every event
 * becomes a row (append).
 */
#ifndef CDC_BATCH_MODES_H
#define CDC_BATCH_MODES_H

#include <stddef.h>

#include "relation.h"
#include "stream.h"

/* Zero-initialize it; modes_free frees it. */
struct modes {
    struct mode_rule *rules; /* as they were given: the last one that matches a table counts */
    size_t n;
};

/* The value of an option, [GLOB=]WORD. What is wrong with it exits with 64. */
void modes_add_mode(struct modes *m, const char *text);
void modes_add_delete(struct modes *m, const char *text);
void modes_free(struct modes *m);

/* Sets r->append and r->soft: as the options say, or as they are in `before`, the shape that the
 * table had so far in this run (or NULL), for that does not change with its name. A table for which
 * this cannot be right exits with 78. */
void modes_choose(const struct modes *m, struct relation *r, const struct relation *before);

/* Hands a relation frame on, with what was chosen for r in its definition. */
void modes_forward(struct stream_out *out, struct frame *f, const struct relation *r);

#endif
