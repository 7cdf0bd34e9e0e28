/*
 * Replica identities. PostgreSQL refuses the UPDATE and DELETE of a table whose rows it could not
 * name in the stream: one that publishes them and has neither a primary key nor REPLICA IDENTITY
 * FULL. Where a table is partitioned, every partition needs an identity of its own.
 */
#ifndef PGCDC_READ_IDENTITY_H
#define PGCDC_READ_IDENTITY_H

#include "run.h"
#include "verdict.h"

/*
 * Names the selected tables and partitions that have none, each with the ALTER TABLE that gives it
 * one. With --set-identity, and without report, runs that where the role owns the table, and
 * returns whether it did.
 */
bool identity_test(struct run *run, const struct verdicts *v);

#endif
