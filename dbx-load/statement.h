/*
 * SQL statements, from sending them to their end, on whatever runs them: a SQL warehouse
 * (warehouse.h) or an all-purpose cluster (cluster.h).
 */
#ifndef PGCDC_STATEMENT_H
#define PGCDC_STATEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"

struct warehouse;
struct cluster;

/* One of both is there. */
struct compute {
    struct http *http;
    struct warehouse *warehouse;
    struct cluster *cluster;
};

enum statement_state {
    STATEMENT_WAITING, /* sent, pending or running */
    STATEMENT_SUCCEEDED,
    STATEMENT_FAILED,
    STATEMENT_CANCELED,
    STATEMENT_UNKNOWN, /* the service knows no statement of this id */
};

struct statement {
    enum statement_state state;
    char *id;          /* NULL until the service has told it */
    char *code;        /* of the error, "" for none: PERMISSION_DENIED, … */
    char *message;     /* of the error, in one line, shortened */
    char sql_state[6]; /* "" for none */
    json_t *rows;      /* the whole result: an array of arrays of strings or null */
    int64_t written;   /* rows that it inserted and updated, as the service says; -1: it does not */

    struct http *http;
    char *sql;
    bool once;
    int64_t delay_ms, started;
    void (*known)(struct statement *s);
    void (*done)(struct statement *s);
    void *arg;

    /* Of what runs it. */
    struct warehouse *warehouse;
    uint64_t chunks, chunk;
    unsigned closed; /* how often its result was gone */
    struct cluster *cluster;
    struct context *context;
};

/*
 * Sends a statement; sql is taken over. once: it must not run twice. If the answer to it is lost,
 * the program ends with 75, for recovery has to find out what became of it; others are sent again.
 * known (or NULL) is called as soon as the service has told the id of one that is `once`; done,
 * when it has ended; done owns the statement. Neither is called from here, but from http_turn.
 */
struct statement *statement_send(struct compute *c, char *sql, bool once, int64_t delay_ms,
                                 void (*known)(struct statement *s),
                                 void (*done)(struct statement *s), void *arg);

/* Follows a statement that was sent before, by whatever compute, to its end, after asking the
 * service to cancel it. */
struct statement *statement_settle(struct compute *c, const char *id,
                                   void (*done)(struct statement *s), void *arg);

/* Sends one and turns the loop until it has ended. One that only met a concurrent change is sent
 * again. The caller frees it. */
struct statement *statement_run(struct compute *c, char *sql);

void statement_free(struct statement *s);

/* A cell of the result; NULL for NULL and for what is not there. */
size_t statement_rows(const struct statement *s);
const char *statement_cell(const struct statement *s, size_t row, size_t column);

/* How it failed. */
bool statement_conflict(const struct statement *s); /* another commit came in between: send again */
bool statement_no_table(const struct statement *s); /* the table does not exist */
bool statement_no_schema(const struct statement *s); /* nor does its schema */
bool statement_no_catalog(const struct statement *s);
bool statement_exists(const struct statement *s);    /* what was to be created exists already */
bool statement_no_column(const struct statement *s); /* a column that it names does not exist */
bool statement_forbidden(const struct statement *s);

/* Gives up because it failed; what: what was tried, on what. right: the right it takes, or NULL. */
_Noreturn void statement_fail(const struct statement *s, const char *what,
                              const struct right *right);

/*
 * For those that run statements.
 * statement_known: the service has told the id, which is taken over.
 * statement_error: notes how it failed; the texts may be the service's own, of many lines.
 * statement_ended: it has ended; done owns it from now on.
 * statement_lost: ends the program if the answer to a statement that is `once` is lost.
 * statement_pause: how long to wait before asking for its state again, ms.
 */
void statement_known(struct statement *s, char *id);
void statement_error(struct statement *s, const char *code, const char *message,
                     const char *sql_state);
void statement_ended(struct statement *s);
void statement_lost(struct http_request *r);
int64_t statement_pause(const struct statement *s);

#endif
