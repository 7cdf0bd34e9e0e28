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

/* What there is to do where changes are lost: the end of a sentence. */
#define VERDICT_ANEW "remove the state folder to read all tables anew"

#endif
