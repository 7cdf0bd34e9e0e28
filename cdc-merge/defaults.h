/* defaults: what rows have in the columns that were added after them with a constant default.
 * PostgreSQL wrote it into no row and shows it in all of them; so dbx-load writes it into those
 * that are in the target.
 *
 * Which columns a target lacks is not known here: those that the table had in the step before this
 * one are there by then; all others may be new. Nothing is new in a log, whose older events did not
 * have them.
 *
 * The values are staged in a file with one row, which has the columns of other staged files
 * (rows.h) for those that may be new, and _cdc_unrepresentable. A value that cannot be held does
 * not end the program, unless it is one of a key: the target's rows may have had it for long. */
#ifndef CDC_MERGE_DEFAULTS_H
#define CDC_MERGE_DEFAULTS_H

#include "file.h"
#include "staged.h"

/* Whether a step has any. */
bool defaults_exist(const struct staged *s);

/* Write the file, whose name is taken over, for such a step. */
void defaults_stage(struct file *file, struct staged *s, char *name);

/* The entry `defaults` of a step's map. */
void defaults_pack(msgpack_packer *pk, const struct staged *s);

#endif
