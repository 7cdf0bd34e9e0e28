/*
 * The messages of the pgoutput plugin, protocol version 1, text format:
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 *
 * Pure: bytes in, a structure out. The bytes come from a server and are not trusted; every length
 * is checked before it is used.
 */
#ifndef PGCDC_READ_PGOUTPUT_H
#define PGCDC_READ_PGOUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "lsn.h"
#include "mem.h"
#include "value.h"

struct tuple {
    unsigned n;
    struct value *values;
};

struct pgoutput_column {
    const char *name;
    uint32_t type;
    int32_t typmod;
    bool key; /* part of the replica identity; under FULL every column is */
};

enum pgoutput_type {
    PGOUTPUT_BEGIN,
    PGOUTPUT_COMMIT,
    PGOUTPUT_RELATION,
    PGOUTPUT_INSERT,
    PGOUTPUT_UPDATE,
    PGOUTPUT_DELETE,
    PGOUTPUT_TRUNCATE,
    PGOUTPUT_MESSAGE,
    PGOUTPUT_OTHER, /* origin, type: known, and of no use here */
};

struct pgoutput {
    enum pgoutput_type type;
    union {
        struct {
            lsn_t lsn;    /* where the commit record begins */
            int64_t time; /* of the commit, microseconds since 1970 */
            uint32_t xid;
        } begin;
        struct {
            lsn_t lsn, end; /* where the commit record begins and ends */
            int64_t time;
        } commit;
        struct {
            uint32_t oid;
            const char *schema, *table;
            char identity; /* 'd', 'n', 'f', 'i' */
            unsigned n;
            struct pgoutput_column *columns; /* in the order of their attnums */
        } relation;
        struct {
            uint32_t oid;
            bool has_old, old_is_whole; /* whole: the old row (identity FULL), else only its key */
            struct tuple old, new;      /* of a DELETE only old */
        } row;
        struct {
            unsigned n;
            uint32_t *oids;
            unsigned flags; /* 1 CASCADE, 2 RESTART IDENTITY */
        } truncate;
        struct {
            bool transactional; /* else it belongs to no transaction */
            lsn_t lsn;
            const char *prefix, *content;
            uint32_t len; /* of the content */
        } message;
    };
};

/* NULL, or what is wrong with the message. What m points to lies in data or in the arena. */
const char *pgoutput_parse(struct arena *a, const void *data, size_t len, struct pgoutput *m);

#endif
