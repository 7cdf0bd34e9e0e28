/*
 * Large transactions that the server sends while they are in progress (pgoutput's protocol version
 * 2, `streaming`): in pieces, between which there are other transactions, with a transaction's id
 * in each message, and with rows that are rolled back later:
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 *
 * They are put aside until they commit, and then given out as protocol version 1 would have sent
 * them: begin, what survived, commit.
 */
#ifndef PGCDC_READ_INPROGRESS_H
#define PGCDC_READ_INPROGRESS_H

#include <stdbool.h>
#include <stddef.h>

/* What is put aside is in files in spool, which stays the caller's, but for some 100 kB of each
 * transaction. */
struct inprogress *inprogress_new(const char *spool);
void inprogress_free(struct inprogress *p);

/* Takes a message of the server. False: it is of no transaction in progress, and for the caller. A
 * message that cannot be understood exits with 65. Not while one is being given out. */
bool inprogress_take(struct inprogress *p, const char *data, size_t len);

/* The next message of a transaction that has committed, which stays until this is called again.
 * False: none is being given out. */
bool inprogress_next(struct inprogress *p, char **data, size_t *len);

/* Whether what was taken last is a piece of a transaction, and more of it follows at once. */
bool inprogress_inside(const struct inprogress *p);

/*
 * A logical message does not say which subtransaction it belongs to. Whether one of them was rolled
 * back with it cannot be told any more: all has to be sent again, without `streaming`.
 */
bool inprogress_unclear(const struct inprogress *p);

/* Forgets everything: the connection is gone, and the server will send it again. */
void inprogress_reset(struct inprogress *p);

#endif
