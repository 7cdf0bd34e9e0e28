/*
 * Whether a connection is encrypted. libpq's default, sslmode=prefer, takes the word of whoever
 * answers that there is no TLS; so does allow. That will do on this machine. To any other one they
 * count as require: passwords and rows go there in the clear only where sslmode=disable says so.
 */
#ifndef PGCDC_READ_ENCRYPTION_H
#define PGCDC_READ_ENCRYPTION_H

#include "run.h"
#include "verdict.h"

/* Whether TLS has to be required of the connection, which has been begun and does not yet. */
bool encryption_is_missing(PGconn *c);

/* Says how run->loop.sql is encrypted, and whether it is known who answers. */
void encryption_report(const struct run *run, const struct verdicts *v);

#endif
