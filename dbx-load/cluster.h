/*
 * Statements on an all-purpose cluster: the Command Execution API (1.2), which runs commands in
 * execution contexts.
 *
 * The commands of one context run one after the other, so there are as many contexts as there are
 * statements at a time. A context that is destroyed takes what runs in it along: that is how a run
 * gets rid of what an earlier one left behind, and why a context is noted before it is used.
 * Where a warehouse has settings of its own, a context is given the same: ANSI SQL, UTC.
 *
 * A statement's id is CLUSTER/CONTEXT/COMMAND, so that it can be told from one of a warehouse.
 * Of a result the service may send a part only; that ends the program.
 */
#ifndef PGCDC_CLUSTER_H
#define PGCDC_CLUSTER_H

#include "rights.h"
#include "statement.h"

/* Which includes CAN ATTACH TO. */
#define CLUSTER_RIGHT(id) \
    (&(const struct right){.privileges = "CAN RESTART", .on = "cluster", .name = (id)})
#define CLUSTER_STATE "/api/2.1/clusters/get?cluster_id=%s" /* the path of its state, of its id */

/* id is kept. opened is called when there is a new context, before it is used. */
struct cluster *cluster_new(struct http *h, const char *id,
                            void (*opened)(void *arg, const char *cluster, const char *context),
                            void *arg);
void cluster_free(struct cluster *c);
const char *cluster_id(const struct cluster *c);

/* Starts it if it is stopped, and waits until it runs: a line every half minute says so. */
void cluster_start(struct cluster *c);

/* Destroys a context, of whatever run, and waits until it is gone. */
void cluster_destroy(struct http *h, const char *cluster, const char *context);

/* Destroys the contexts of this run. No statement may be under way. */
void cluster_close(struct cluster *c);

/* Sends a statement that is filled in, and follows it to its end. */
void cluster_send(struct cluster *c, struct statement *s);

/* Whether this is the id of a statement that was sent to a cluster. */
bool cluster_ran(const char *statement);

/* Asks what became of such a one; its context has to be destroyed before. */
void cluster_settle(struct statement *s);

/* Takes what an answer of the service says about a command; for tests. False: it is none. */
bool cluster_parse(struct statement *s, const char *body, size_t len);

#endif
