/*
 * Figures for operators, cdc-metrics(5): a file in the text format 0.0.4 of Prometheus,
 * https://prometheus.io/docs/instrumenting/exposition_formats/, made for the textfile collector of
 * node_exporter.
 *
 * A program declares its metrics in a table, and adds to their values where things happen; that is
 * all that a row costs. The file is written where the program wakes anyway, once a second at most,
 * and by exit(). Who reads it sees all of it or the one before, for it is replaced by rename. It is
 * not synced: no pipeline should wait for a disk for the sake of figures, and what a power failure
 * leaves of them is replaced when the next run begins.
 */
#ifndef PGCDC_METRICS_H
#define PGCDC_METRICS_H

#include <stdbool.h>
#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
    const char *name;  /* those that have one name stand one after another */
    const char *label; /* in which they differ, as op="insert"; or NULL */
    enum metric_type type;
    const char *help; /* the first one's is that of the name */
    bool micro;       /* the value is in microseconds, and shown in seconds */
    uint64_t value;
};

/*
 * Makes file (kept, not copied; NULL: none is wanted, and nothing below does anything) the place of
 * these metrics, which a NULL name ends. Exits with 78 if it cannot be written there. measure (or
 * NULL) is called with arg before each writing, at exit too: to set what is not kept up to date.
 */
void metrics_open(const char *file, struct metric *all, void (*measure)(void *arg), void *arg);

/* The pipeline's name is known: it becomes a label of all. Writes the file for the first time. */
void metrics_begin(const char *pipeline);

/* Writes the file if it is time. That it cannot be written is a warning, once. */
void metrics_tick(void);

/* For poll(): milliseconds until metrics_tick has something to do, timeout at most; -1: for ever.
 */
int metrics_timeout(int timeout);

/* Whether somebody wants to see figures that cost something. */
bool metrics_wanted(void);

/* --check: says on stderr whether the file could be written; returns the number of failures. */
unsigned metrics_check(const char *file);

#endif
