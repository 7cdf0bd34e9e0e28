/*
 * Messages put aside, and taken again in the order in which they came: in memory up to a limit, and
 * what does not fit there in a file without a name, which is gone with the process.
 */
#ifndef PGCDC_READ_BACKLOG_H
#define PGCDC_READ_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>

/* The file, where one is needed, is made in dir, which stays the caller's. Bytes of memory are kept
 * at most, beside two blocks of a file. */
struct backlog *backlog_new(const char *dir, size_t memory);
void backlog_free(struct backlog *b); /* NULL: nothing */

/* A full disk exits with 75. Not once messages are being taken. */
void backlog_put(struct backlog *b, const void *data, size_t len);

/* The next message, which may be changed in place and stays until the one after it is taken. False:
 * all are taken, and messages can be put again. */
bool backlog_take(struct backlog *b, char **data, size_t *len);

#endif
