/*
 * Statements on a SQL warehouse (the Statement Execution API). One that is stopped starts with the
 * first statement; while statements wait for that, a line every half minute says so.
 */
#ifndef PGCDC_WAREHOUSE_H
#define PGCDC_WAREHOUSE_H

#include "rights.h"
#include "statement.h"

#define WAREHOUSE_RIGHT(id) \
    (&(const struct right){.privileges = "CAN USE", .on = "SQL warehouse", .name = (id)})
#define WAREHOUSE_STATE "/api/2.0/sql/warehouses/%s" /* the path of its state, of its id */

struct warehouse *warehouse_new(struct http *h, const char *id); /* id is kept */
void warehouse_free(struct warehouse *w);
const char *warehouse_id(const struct warehouse *w);

/* Sends a statement that is filled in, and follows it to its end. */
void warehouse_send(struct warehouse *w, struct statement *s);

/* Follows one with a known id to its end, after asking the service to cancel it. */
void warehouse_settle(struct statement *s);

/* Takes what an answer of the service says about a statement; for tests. False: it is none. */
bool warehouse_parse(struct statement *s, const char *body, size_t len);

#endif
