/*
 * Findings about prerequisites: with report, one line each, and the failures are counted; without,
 * the first failure exits with 78.
 */
#ifndef PGCDC_READ_VERDICT_H
#define PGCDC_READ_VERDICT_H

#include <stdbool.h>

struct verdicts {
    bool report;
    unsigned failures;
};

/* What is so, or what is not and what to do about it. */
void verdict_pass(const struct verdicts *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void verdict_fail(struct verdicts *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What works, and somebody may not want it so. */
void verdict_note(const struct verdicts *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Changes are lost. It is a failure, unless all tables may be read again because of that: then anew
 * is set, which is NULL otherwise. */
void verdict_lost(struct verdicts *v, bool *anew, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
