/*
 * The state folder, cdc-state(5): one file per stage, replaced atomically, and a lock per stage.
 */
#ifndef PGCDC_STATE_H
#define PGCDC_STATE_H

#include <stdbool.h>

#include "mem.h"

/*
 * Opens (creates, mode 0700, if missing) the folder and takes the lock of this stage for the life
 * of the process. Exits with 75 if another process holds it, with 78 if the folder cannot be used.
 */
void state_lock(const char *dir, const char *stage);

/* True if no process holds the stage's lock. */
bool state_lock_is_free(const char *dir, const char *stage);

/* Appends a line: key and values, the list ended by NULL. */
void state_line(struct buf *text, const char *key, ...) __attribute__((sentinel));

/* Replaces the stage's file by these lines; durable when it returns. Exits with 75 if it cannot. */
void state_write(const char *dir, const char *stage, const struct buf *text);

/*
 * Reads the stage's file. False: there is none. A damaged one: exits with 65.
 * Then call state_next until it returns false; words point into text and are decoded in place.
 */
bool state_read(const char *dir, const char *stage, struct buf *text);

#define STATE_WORDS 8
struct state_line {
    char *key;
    unsigned words;          /* values after the key */
    char *word[STATE_WORDS]; /* "" beyond words */
};
bool state_next(struct buf *text, size_t *at, struct state_line *line); /* *at starts at 0 */

/* An inotify descriptor that becomes readable when a file of the folder is replaced; -1 if inotify
 * is not to be had (then poll with a time-out). state_watch_drain empties it. */
int state_watch(const char *dir);
void state_watch_drain(int fd);

/* The same durable replacement for other files of the folder, e.g. "batches/x" (folders are made).
 */
void state_replace(const char *dir, const char *name, const void *data, size_t len);

#endif
