/*
 * Messages for people, one line each, on stderr:
 *
 *     pgcdc-read: error: replication slot does not exist slot=airbyte_slot
 *
 * lower case, no full stop, what happened and what to do about it. A message never contains a
 * secret.
 */
#ifndef PGCDC_MSG_H
#define PGCDC_MSG_H

#include <sysexits.h>

/* Sets the program's name, which is kept, not copied. Call first. */
void msg_init(const char *program);

/* The name given to msg_init. */
const char *msg_program(void);

/* Verbosity: 0 errors and warnings; below, errors only; 1 info; 2 debug. */
void msg_verbosity(int change);

void msg_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void msg_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void msg_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line without a level, whatever the verbosity: the findings of --check, progress. */
void msg_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Says why as an error, then exit(code), a value of sysexits.h. If msg_on_die was called, its hook
 * runs in between: the stage closes its stream with a `fail` frame there.
 */
_Noreturn void msg_die(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void msg_exit(int code); /* the same, silently: somebody else has said why */
void msg_on_die(void (*hook)(int code));

#endif
