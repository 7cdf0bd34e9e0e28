/*
 * The shape of a table: the `relation` frame of cdc-stream(5).
 */
#ifndef PGCDC_RELATION_H
#define PGCDC_RELATION_H

#include "lsn.h"
#include "stream.h"

/* The operations that a publication may leave out. */
enum operation { OP_INSERT = 1, OP_UPDATE = 2, OP_DELETE = 4, OP_TRUNCATE = 8 };

struct column {
    char *name;
    char *type;     /* as format_type() prints it */
    char *basename; /* of the base type, without its schema; NULL if it is no base type in
                       PostgreSQL's sense (an enum, a composite type, a range) */
    char *comment;  /* or NULL */
    char *missing;  /* what rows have that are older than the column: its default then; or NULL */
    int attnum;
    uint32_t oid;   /* of the type */
    uint32_t base;  /* of the base type if it is a domain, else = oid */
    uint32_t elem;  /* if it is an array: of the base type of its elements, else 0 */
    int32_t typmod; /* of the base type, or of that of the elements */
    char delimiter; /* between the elements */
    bool key, notnull;
};

struct relation {
    uint32_t oid;
    lsn_t lsn; /* position of the message that announced it */
    uint64_t seq;
    char *schema, *table;
    char *comment; /* or NULL */
    char identity; /* 'd', 'n', 'f', 'i' */
    uint32_t relfilenode;
    bool append, soft;       /* what cdc-batch chose; relation_pack leaves it out */
    unsigned unpublished;    /* a set of enum operation: the publications leave them out */
    unsigned ncolumns, nkey; /* nkey: columns with key set */
    struct column *columns;
};

/* "update, delete": what is unpublished; "" if nothing is. free() it. */
char *relation_unpublished(const struct relation *r);

void relation_pack(struct stream_out *out, const struct relation *r); /* a whole frame */
struct relation *relation_unpack(struct frame *f); /* never NULL; relation_free frees it */
void relation_free(struct relation *r);

#endif
