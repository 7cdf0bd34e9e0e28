/* Giving up: the reason on stderr, and, for people who come later, in the state. */
#ifndef PGCDC_FAIL_H
#define PGCDC_FAIL_H

/* msg_die, but what is said is handed to the recorder first. */
_Noreturn void fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The recorder; NULL for none. arg is passed on. */
void fail_record(void (*recorder)(void *arg, const char *text), void *arg);

#endif
