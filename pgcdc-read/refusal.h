/*
 * What a refused connection means. libpq gives no SQLSTATE for what it finds out by itself (TLS, a
 * missing password), and Neon's proxy gives XX000 for everything: only the text tells what needs a
 * person from what will pass.
 */
#ifndef PGCDC_READ_REFUSAL_H
#define PGCDC_READ_REFUSAL_H

#include "source.h"

/* If time does not mend it: gives *t an SQLSTATE that is not temporary, and says what to do. */
void refusal_explain(struct trouble *t);

/* The direct name of the Neon endpoint that host is the pooler of, to be freed; NULL: it is none.
 * A pooler takes no replication. */
char *refusal_direct_host(const char *host);

#endif
