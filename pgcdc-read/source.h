/*
 * Connections to PostgreSQL and queries on them, all of which wait in the loop.
 *
 * What fails here fails for a reason that is kept, and told apart: a server that restarts or cannot
 * be reached will be back; a wrong password or a dropped slot needs a person.
 */
#ifndef PGCDC_READ_SOURCE_H
#define PGCDC_READ_SOURCE_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "loop.h"

struct trouble {
    char sqlstate[6]; /* "" if the server did not say one: the network, mostly */
    char text[1024];  /* one line */
};

bool trouble_is_temporary(const struct trouble *t);

/* Whether a change is being decoded that the publications did not yet exist for: now they do. */
bool trouble_is_unpublished(const struct trouble *t);

/* Says what was attempted and what came of it, and exits with 75 or 78. */
_Noreturn void trouble_die(const struct trouble *t, const char *attempted);

/* What the connection says went wrong last. */
void trouble_of_connection(struct trouble *t, PGconn *c);
void trouble_of_result(struct trouble *t, const PGresult *r);

/*
 * A connection with the session settings that the stream promises (cdc-stream(5), "values"), and
 * without time-outs, by TLS if it leaves this machine. replication: one for the replication
 * protocol that takes SQL as well. NULL: *t says why not; a pooler of Neon exits with 78.
 */
PGconn *source_connect(struct loop *l, const char *conninfo, bool replication, struct trouble *t);

/*
 * Runs one command, with text parameters up to NULL; without any, by the simple protocol, as
 * replication connections want it. Returns its last result (PQclear it), in COPY state too. NULL:
 * *t says why.
 */
PGresult *source_query(struct loop *l, PGconn *c, struct trouble *t, const char *sql, ...)
    __attribute__((sentinel));

/* Takes the last result of a command that was sent before, as source_query does. */
PGresult *source_result(struct loop *l, PGconn *c, struct trouble *t);

/* Whether it is a Unix socket of this machine. */
bool source_is_socket(const PGconn *c);

/* The next message of a COPY, PQfreemem it: its length; 0: poll the socket for more; -1: there are
 * no more, call source_finish; -2: the connection is lost. */
int source_copy_data(PGconn *c, char **data);

/* Takes what ends a COPY. False: it failed, and *t says why. */
bool source_finish(struct loop *l, PGconn *c, struct trouble *t);

/* A field of a result: a copy of its text (NULL for NULL; free() it), a boolean, an unsigned
 * number. */
char *field_text(const PGresult *r, int row, int column);
bool field_truth(const PGresult *r, int row, int column);
uint32_t field_number(const PGresult *r, int row, int column);

/* A text array for a parameter: {"a","b"}; free() it. */
char *source_array(const char *const *items, unsigned n);

#endif
