/* What one run of the reader consists of; main.c makes it, the other modules work on it. */
#ifndef PGCDC_READ_RUN_H
#define PGCDC_READ_RUN_H

#include "arguments.h"
#include "catalog.h"
#include "loop.h"
#include "progress.h"
#include "source.h"

/* A slot that is being made while the stream goes on. That takes until transactions have ended. */
struct making {
    PGconn *c;     /* NULL: none is */
    lsn_t limit;   /* its consistent point will not be below: up to here the stream may go */
    int64_t since; /* clock_ms */
    int64_t due;   /* to be looked at again */
    bool warned;   /* of what it waits for */
};

struct run {
    const struct arguments *arguments;
    const char *id;
    struct loop loop;     /* loop.sql: the connection for queries; it holds the advisory lock */
    int version;          /* of the server: 150004 */
    uint32_t timeline;    /* of its WAL */
    bool is_neon;         /* it is one of Neon's */
    struct source source; /* who it is */
    bool anew;            /* changes were lost, and all tables are read again */
    bool slot_exists;
    lsn_t slot_lsn;          /* confirmed_flush_lsn, as of the last look */
    lsn_t slot_restart;      /* restart_lsn, likewise: from there on the server reads */
    struct table *tables;    /* hash by OID */
    bool unread;             /* some of them are */
    struct making making;    /* for them, in mid-stream */
    struct reading *reading; /* of tables, under way, or NULL */
    lsn_t read_lsn;          /* the last that tables were read at; 0: none */
    lsn_t renew;     /* the session that streams must not be the same behind it; 0: no matter */
    bool unstreamed; /* a transaction is not sent before its commit: see fetch.c */
    struct progress progress; /* as the last run left it */
    struct buf others;        /* lines of `shapes` for tables that this run does not select */
};

#endif
