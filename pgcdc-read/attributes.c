#include "attributes.h"

#include <stdlib.h>
#include <string.h>

#include "run.h"

/* An array of one element is how the catalog keeps the value. Of type box it has another delimiter
 * than a comma, and the element is not quoted. */
#define MISSING(a)                                                                             \
    "CASE WHEN " a ".atthasmissing THEN CASE WHEN t.typdelim = ',' OR t.typcategory = 'A'"     \
    " THEN (" a ".attmissingval::text::text[])[1] ELSE btrim(" a ".attmissingval::text, '{}')" \
    " END END"

/* The end of the WAL is that of the last record, and not behind the header of the page after it.
 *
 * Columns are sent if they are in the column list or, without one, if they are not generated (or
 * were sent nevertheless when we looked last: $2). The rows of a partitioned table are in its
 * leaves, and with them the missing values. */
static const char sql[] =
    "SELECT (SELECT lsn - mod(lsn - '0/0', page) * (mod(lsn - '0/0', page) <= 40)::int FROM"
    "  (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
    "   ELSE pg_current_wal_insert_lsn() END, current_setting('wal_block_size')::int)"
    "  AS w(lsn, page)),"
    " s.nspname, c.relname, c.relreplident, c.relfilenode,"
    " (SELECT i.indexrelid || ':' || i.xmin FROM pg_index i WHERE i.indrelid = c.oid"
    "  AND i.indisprimary AND i.indimmediate),"
    " a.attnum, a.attname, a.atttypid, a.atttypmod,"
    " (a.attlen & 65535)::bigint * 65536 + ascii(a.attalign::text) * 256 + a.attbyval::int,"
    " a.attnotnull, a.attisdropped,"
    " NOT a.attisdropped AND (a.attnum = ANY ($2::int2[]) OR NOT $3::bool AND a.attgenerated = ''),"
    " obj_description(c.oid, 'pg_class'), col_description(c.oid, a.attnum),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary"
    "  AND i.indimmediate AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisreplident"
    "  AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),"
    " a.xmin, CASE WHEN c.relkind <> 'p' THEN " MISSING(
        "a") " ELSE"
             "  (SELECT CASE WHEN count(*) = count(m) AND count(DISTINCT m) = 1 THEN min(m) END "
             "FROM"
             "   (SELECT " MISSING(
                 "l") " AS m FROM pg_attribute l JOIN pg_class f ON f.oid = l.attrelid"
                      "    WHERE f.relkind = 'r' AND l.attname = a.attname AND NOT l.attisdropped "
                      "AND l.attrelid IN"
                      "    (WITH RECURSIVE tree AS (SELECT c.oid AS leaf"
                      "      UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = leaf)"
                      "     SELECT leaf FROM tree)) AS leaves) END"
                      " FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace"
                      " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
                      " LEFT JOIN pg_type t ON t.oid = a.atttypid"
                      " WHERE c.oid = $1::oid ORDER BY a.attnum";

enum {
    LSN,
    SCHEMA,
    TABLE,
    REPLIDENT,
    RELFILENODE,
    KEY,
    ATTNUM, /* NULL: the table has no columns at all */
    NAME,
    TYPE,
    TYPMOD,
    LAYOUT,
    NOTNULL,
    DROPPED,
    SENT,
    TABLE_COMMENT,
    COMMENT,
    PRIMARY,
    IDENTITY,
    XMIN,
    MISSING_VALUE
}; /* its columns */

static struct attribute take_attribute(const PGresult *r, int row, lsn_t lsn)
{
    return (struct attribute){
        .attnum = (int)field_number(r, row, ATTNUM),
        .name = field_text(r, row, NAME),
        .type = field_number(r, row, TYPE),
        .typmod = (int32_t)strtol(PQgetvalue(r, row, TYPMOD), NULL, 10),
        .layout = strtoull(PQgetvalue(r, row, LAYOUT), NULL, 10),
        .notnull = field_truth(r, row, NOTNULL),
        .dropped = field_truth(r, row, DROPPED),
        .sent = field_truth(r, row, SENT),
        .primary = field_truth(r, row, PRIMARY),
        .identity = field_truth(r, row, IDENTITY),
        .comment = field_text(r, row, COMMENT),
        .missing = field_text(r, row, MISSING_VALUE),
        .xmin = field_number(r, row, XMIN),
        .since = lsn,
    };
}

static struct attributes *take_all(const PGresult *r, lsn_t lsn)
{
    struct attributes *a = mem_alloc(sizeof *a);

    a->lsn = lsn;
    a->exists = PQntuples(r) > 0;
    if (!a->exists)
        return a;
    if (!lsn)
        lsn_parse(PQgetvalue(r, 0, LSN), &a->lsn);
    a->schema = field_text(r, 0, SCHEMA);
    a->name = field_text(r, 0, TABLE);
    a->comment = field_text(r, 0, TABLE_COMMENT);
    a->identity = *PQgetvalue(r, 0, REPLIDENT);
    a->relfilenode = field_number(r, 0, RELFILENODE);
    a->primary = field_text(r, 0, KEY);
    a->primary_since = a->lsn;
    a->list = mem_alloc((size_t)PQntuples(r) * sizeof *a->list);
    for (int i = 0; i < PQntuples(r); i++)
        if (!PQgetisnull(r, i, ATTNUM))
            a->list[a->n++] = take_attribute(r, i, a->lsn);
    return a;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* What was so at the earlier look has been so ever since. */
static void compare(struct attributes *now, const struct attributes *then)
{
    bool altered = false;

    for (unsigned i = 0; i < now->n; i++) {
        struct attribute *a = &now->list[i];
        const struct attribute *old = attributes_find(then, a->attnum);
        if (old && old->xmin == a->xmin)
            a->since = old->since;
        else
            altered |= !a->dropped;
    }
    if (same(now->primary, then->primary))
        now->primary_since = then->primary_since;
    now->changed = attributes_stamp(now) != attributes_stamp(then);
    /* ALTER TABLE that writes all rows anew changes an attribute, VACUUM FULL and TRUNCATE don't */
    now->rewritten = then->rewritten || (altered && now->relfilenode != then->relfilenode);
}

bool attributes_read(struct run *run, struct table *table, lsn_t lsn, struct trouble *t)
{
    char *oid = mem_printf("%u", table->oid);
    PGresult *r = source_query(&run->loop, run->loop.sql, t, sql, oid, table->attnums,
                               table->has_list ? "t" : "f", NULL);

    free(oid);
    if (!r)
        return false;
    struct attributes *now = take_all(r, lsn);
    if (table->attributes && now->exists)
        compare(now, table->attributes);
    attributes_free(table->attributes);
    table->attributes = now;
    PQclear(r);
    return true;
}

uint64_t attributes_stamp(const struct attributes *a)
{
    uint64_t stamp = a->relfilenode + (unsigned char)a->identity +
                     (a->primary ? strtoull(a->primary, NULL, 10) : 0);

    for (unsigned i = 0; i < a->n; i++)
        stamp += (uint64_t)a->list[i].attnum * a->list[i].xmin;
    return stamp;
}

lsn_t attributes_next(const struct attributes *a, lsn_t lsn)
{
    lsn_t next = a->primary_since > lsn ? a->primary_since : UINT64_MAX;

    for (unsigned i = 0; i < a->n; i++)
        if (a->list[i].since > lsn && a->list[i].since < next)
            next = a->list[i].since;
    return next;
}

const struct attribute *attributes_find(const struct attributes *a, int attnum)
{
    unsigned low = 0, high = a->n;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (a->list[middle].attnum < attnum)
            low = middle + 1;
        else
            high = middle;
    }
    return low < a->n && a->list[low].attnum == attnum ? &a->list[low] : NULL;
}

void attributes_free(struct attributes *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->n; i++) {
        free(a->list[i].name);
        free(a->list[i].missing);
        free(a->list[i].comment);
    }
    free(a->list);
    free(a->schema);
    free(a->name);
    free(a->comment);
    free(a->primary);
    free(a);
}
