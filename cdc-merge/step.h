/* step: a step of a `load` frame: the definition of a table, and the statements that bring what is
 * staged into it. */
#ifndef CDC_MERGE_STEP_H
#define CDC_MERGE_STEP_H

#include "staged.h"
#include "stream.h"

/* What all steps have in common; nothing of it is owned. */
struct step_options {
    const char *catalog;
    const char *staging, *folder; /* struct sql_place's */
    const struct start *start;
    bool drop; /* columns that the source has no more go from the target, too */
};

/* The map of a step. `snapshot`: that of a snapshot, with the text that tells the table which it
 * makes from one that was there before; NULL: the changes of a batch. */
void step_pack(msgpack_packer *pk, const struct step_options *o, const struct staged *s,
               const char *snapshot);

#endif
