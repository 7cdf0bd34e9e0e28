#include "catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define COMMIT_PATIENCE 1000 /* ms for a transaction that is on disk to be seen by others */
#define COMMIT_EVERY 2       /* ms between looks at it */

/* A set of enum operation: what the publications of a table leave out, together. */
#define UNPUBLISHED                                                                       \
    " bit_and((NOT pubinsert)::int + 2 * (NOT pubupdate)::int + 4 * (NOT pubdelete)::int" \
    "  + 8 * (NOT pubtruncate)::int) AS unpublished"

/* What differs by version: whether publication w holds all of c's schema, with neither filter nor
 * list; of its entry r for c, which columns are sent, and which rows. */
static const char whole_15[] = "EXISTS (SELECT FROM pg_publication_namespace"
                               " WHERE pnpubid = w.oid AND pnnspid = c.relnamespace)";
static const char sent_14[] = "attgenerated = ''";
static const char sent_15[] =
    "attgenerated = '' AND (r.prattrs IS NULL OR attnum = ANY (r.prattrs::int2[]))";
static const char sent_18[] =
    "CASE WHEN r.prattrs IS NOT NULL THEN attnum = ANY (r.prattrs::int2[])"
    " ELSE attgenerated = '' OR attgenerated = w.pubgencols AND attgenerated = 's' END";
static const char rows_15[] = "pg_get_expr(r.prqual, r.prrelid)"; /* locks the table */

/*
 * What the publications publish, and as what: a partitioned table or its leaves. The view
 * pg_publication_tables says the same, but from 16 on it waits for whoever alters one of the
 * tables, and fails when one is dropped meanwhile. The row filters of several publications are
 * joined by OR; column lists have to be the same.
 */
#define PUBLISHED                                                                                \
    "WITH RECURSIVE w AS (SELECT * FROM pg_publication WHERE pubname = ANY ($1::text[])),"       \
    " e(pub, rel) AS (SELECT prpubid, prrelid FROM pg_publication_rel JOIN w ON w.oid = prpubid" \
    "  UNION SELECT w.oid, c.oid FROM w JOIN pg_class c ON puballtables OR %s"                   \
    "   WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND c.oid >= 16384"                 \
    "  UNION SELECT pub, inhrelid FROM e JOIN w ON w.oid = pub AND NOT pubviaroot"               \
    "   JOIN pg_class c ON c.oid = rel AND relkind = 'p' JOIN pg_inherits ON inhparent = rel),"  \
    " x AS (SELECT e.rel, w.*, %s AS filter,"                                                    \
    "  (SELECT string_agg(attnum::text, ',' ORDER BY attnum) FROM pg_attribute"                  \
    "   WHERE attrelid = e.rel AND attnum > 0 AND NOT attisdropped AND %s) AS nums"              \
    "  FROM e JOIN w ON w.oid = e.pub JOIN pg_class c ON c.oid = e.rel"                          \
    "  LEFT JOIN pg_publication_rel r ON prpubid = pub AND prrelid = rel"                        \
    "   AND NOT (puballtables OR %s)"                                                            \
    "  WHERE relkind = 'r' OR relkind = 'p' AND pubviaroot)"                                     \
    " SELECT rel, min(nums) AS nums, count(DISTINCT nums) > 1 AS lists_differ,"                  \
    " CASE WHEN bool_and(filter IS NOT NULL)"                                                    \
    "  THEN string_agg(DISTINCT '(' || filter || ')', ' OR ') END AS filter," UNPUBLISHED        \
    " FROM x GROUP BY rel"

/*
 * How and as what c is published: the OIDs of whole publications, and of its own, its ancestors'
 * and their schemas' entries in others; the operations; the files of its partitions, if it is
 * published as their root, for what is attached, detached or truncated there is not in the stream;
 * its schema, which is also the target's; and the labels of its enums, oldest first, because rows
 * show a renamed one without having been written. NULL if it is not published. Of a snapshot
 * everything here is as of the snapshot: functions of the system would look at now.
 */
#define MEMBERSHIP                                                                                \
    "(WITH RECURSIVE w AS (SELECT * FROM pg_publication WHERE pubname = ANY ($1::text[])),"       \
    " f AS (SELECT c.oid UNION SELECT inhparent FROM pg_inherits JOIN f ON inhrelid = f.oid"      \
    "  WHERE c.relispartition),"                                                                  \
    " tree AS (SELECT c.oid, '' AS since WHERE c.relkind = 'p' UNION SELECT inhrelid, "           \
    "i.xmin::text"                                                                                \
    "  FROM pg_inherits i JOIN tree ON inhparent = tree.oid),"                                    \
    " m AS (SELECT oid, oid AS pub FROM w WHERE puballtables UNION ALL"                           \
    "  SELECT r.oid, prpubid FROM pg_publication_rel r JOIN w ON w.oid = prpubid"                 \
    "  WHERE prrelid IN (SELECT oid FROM f)%s)"                                                   \
    " SELECT concat_ws(' ', string_agg(m.oid::text, ',' ORDER BY m.oid),"                         \
    "  concat(bool_or(pubinsert), bool_or(pubupdate), bool_or(pubdelete), bool_or(pubtruncate))," \
    "  (SELECT md5(string_agg(concat_ws(':', l.oid, l.relfilenode, since), ',' ORDER BY l.oid))"  \
    "   FROM pg_class l JOIN tree USING (oid)),"                                                  \
    "  (SELECT format('%%I;', nspname) FROM pg_namespace"                                         \
    "   WHERE oid = c.relnamespace)) ||"                                                          \
    "  coalesce((SELECT string_agg(e.oid || '=' || md5(enumlabel) || ';', '' ORDER BY e.oid)"     \
    "   FROM pg_enum e WHERE enumtypid IN (SELECT unnest(ARRAY[t.oid, typelem, typbasetype])"     \
    "   FROM pg_attribute JOIN pg_type t ON t.oid = atttypid WHERE attrelid = c.oid)), '')"       \
    " FROM m JOIN w ON w.oid = m.pub HAVING count(*) > 0)"
static const char schemas_15[] =
    " UNION ALL SELECT s.oid, pnpubid FROM pg_publication_namespace s JOIN w ON w.oid = pnpubid"
    "  WHERE pnnspid IN (SELECT relnamespace FROM pg_class JOIN f USING (oid))";

static const char membership_sql[] = "SELECT " MEMBERSHIP " FROM pg_class c WHERE c.oid = $2::oid";

/* attributes_stamp() */
#define STAMP                                                                         \
    "(SELECT coalesce(sum(attnum::bigint * xmin::text::bigint), 0) FROM pg_attribute" \
    "  WHERE attrelid = c.oid AND attnum > 0) + c.relfilenode::bigint"                \
    " + ascii(c.relreplident::text) + coalesce((SELECT indexrelid::bigint"            \
    "  FROM pg_index WHERE indrelid = c.oid AND indisprimary AND indimmediate), 0)"

/* Whether a publication has a column list for c or what it is a partition of. */
static const char lists_15[] =
    "EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication b ON b.oid = r.prpubid"
    " WHERE b.pubname = ANY ($1::text[]) AND r.prattrs IS NOT NULL AND (r.prrelid = c.oid"
    "  OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid))))";

/* Of the columns of c, those of the key that UPDATE and DELETE are to be applied by. */
#define KEY_COLUMNS                                                                      \
    "SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) FROM pg_index i"             \
    " WHERE i.indrelid = c.oid AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident" \
    "  ELSE i.indisprimary AND i.indimmediate END"

/* A partition that one publication publishes by itself and another as its root comes as the root.
 */
static const char tables_sql[] =
    "WITH p AS MATERIALIZED (" PUBLISHED ")"
    " SELECT c.oid, n.nspname, c.relname, c.relkind = 'p',"
    " coalesce(a.names, ''), '{' || coalesce(p.nums, '') || '}', p.filter,"
    " coalesce(has_schema_privilege(n.oid, 'USAGE') AND"
    "  (has_table_privilege(c.oid, 'SELECT') OR a.readable), true)," /* it was just dropped */
    " row_security_active(c.oid),"
    " c.relreplident IN ('d', 'i') AND p.unpublished & 6 <> 6 AND"
    "  EXISTS (" KEY_COLUMNS " EXCEPT SELECT unnest(string_to_array(p.nums, ',')::int2[])),"
    " p.lists_differ, p.unpublished, " MEMBERSHIP ", %s, " STAMP
    " FROM p JOIN pg_class c ON c.oid = p.rel JOIN pg_namespace n ON n.oid = c.relnamespace,"
    " LATERAL (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names,"
    "  bool_and(has_column_privilege(c.oid, attnum, 'SELECT')) AS readable"
    "  FROM pg_attribute WHERE attrelid = c.oid"
    "  AND attnum = ANY (string_to_array(p.nums, ',')::int2[])) AS a"
    " WHERE NOT c.relispartition OR NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid)"
    "  JOIN p AS root ON root.rel = relid AND root.rel <> c.oid)"
    " ORDER BY 2, 3";

/* Labels that an enum got since are no news to the rows. An empty one is the start of everything.
 */
bool catalog_same_membership(const char *then, const char *now)
{
    return *then && !strncmp(then, now, strlen(then));
}

struct table *catalog_find(const struct run *run, uint32_t oid)
{
    struct table *table;

    HASH_FIND_INT(run->tables, &oid, table);
    return table;
}

struct table *catalog_ignore(struct run *run, uint32_t oid)
{
    struct table *table = catalog_find(run, oid);

    if (!table) {
        table = mem_alloc(sizeof *table);
        table->oid = oid;
        HASH_ADD_INT(run->tables, oid, table);
    }
    return table;
}

void catalog_unread(struct run *run, struct table *table)
{
    table->unread = true;
    table->attempt = 0;
    run->unread = true;
}

static void take_membership(struct run *run, struct table *table, char *now)
{
    bool same = table->membership && catalog_same_membership(table->membership, now);

    if (!same && run->arguments->snapshot != SNAPSHOT_NEVER)
        catalog_unread(run, table);
    free(table->membership);
    table->membership = now;
}

static void take_table(struct run *run, PGresult *r, int row)
{
    struct table *table = catalog_ignore(run, field_number(r, row, 0));

    free(table->schema);
    free(table->name);
    free(table->columns);
    free(table->attnums);
    free(table->filter);
    table->selected = table->listed = true;
    table->schema = field_text(r, row, 1);
    table->name = field_text(r, row, 2);
    table->partitioned = field_truth(r, row, 3);
    table->columns = field_text(r, row, 4);
    table->attnums = field_text(r, row, 5);
    table->filter = field_text(r, row, 6);
    table->readable = field_truth(r, row, 7);
    table->hidden = field_truth(r, row, 8);
    table->key_hidden = field_truth(r, row, 9);
    table->lists_differ = field_truth(r, row, 10);
    table->unpublished = field_number(r, row, 11);
    take_membership(run, table, mem_strdup(PQgetvalue(r, row, 12)));
    table->has_list = field_truth(r, row, 13);
    table->stamp = strtoull(PQgetvalue(r, row, 14), NULL, 10);
}

bool catalog_tables(struct run *run, bool filters, struct trouble *t)
{
    const struct list *names = &run->arguments->publications;
    char *publications = source_array(names->items, names->n);
    struct buf sql = {0};

    for (struct table *table = run->tables; table; table = table->hh.next)
        table->listed = false;
    bool is_15 = run->version >= 150000, is_18 = run->version >= 180000;
    const char *whole = is_15 ? whole_15 : "false";
    buf_printf(&sql, tables_sql, whole, is_15 && filters ? rows_15 : "NULL::text",
               is_18   ? sent_18
               : is_15 ? sent_15
                       : sent_14,
               whole, is_15 ? schemas_15 : "", is_15 ? lists_15 : "false");
    PGresult *r = source_query(&run->loop, run->loop.sql, t, sql.data, publications, NULL);
    for (int i = 0; r && i < PQntuples(r); i++)
        if (arguments_select(run->arguments, PQgetvalue(r, i, 1), PQgetvalue(r, i, 2)))
            take_table(run, r, i);
    PQclear(r);
    buf_free(&sql);
    free(publications);
    return r != NULL;
}

bool catalog_stamp(struct run *run, PGconn *c, const struct table *table, uint64_t *stamp,
                   struct trouble *t)
{
    char *schema = PQescapeLiteral(c, table->schema, strlen(table->schema));
    char *name = PQescapeLiteral(c, table->name, strlen(table->name));
    char *sql = mem_printf("SELECT " STAMP " FROM pg_class c JOIN pg_namespace n ON n.oid = "
                           "c.relnamespace WHERE c.oid = %u AND n.nspname = %s AND c.relname = %s",
                           table->oid, schema, name);
    PGresult *r = source_query(&run->loop, c, t, sql, NULL);

    *stamp = r && PQntuples(r) ? strtoull(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    PQclear(r);
    PQfreemem(schema);
    PQfreemem(name);
    free(sql);
    return r != NULL;
}

/* Its lock on its own id is what a transaction lets go of last. */
static bool is_open(struct run *run, const char *xid, bool *open, struct trouble *t)
{
    PGresult *r = source_query(&run->loop, run->loop.sql, t,
                               "SELECT EXISTS (SELECT FROM pg_locks WHERE transactionid = $1::xid"
                               " AND locktype = 'transactionid' AND mode = 'ExclusiveLock')",
                               xid, NULL);

    *open = r && field_truth(r, 0, 0);
    PQclear(r);
    return r != NULL;
}

bool catalog_wait(struct run *run, uint32_t xid, struct trouble *t)
{
    int64_t until = clock_ms() + COMMIT_PATIENCE;
    char text[16];
    bool open = true, asked = true;

    snprintf(text, sizeof text, "%u", xid);
    while (open && asked && clock_ms() < until) {
        asked = is_open(run, text, &open, t);
        for (int64_t next = clock_ms() + COMMIT_EVERY; open && clock_ms() < next;)
            loop_wait(&run->loop, -1, 0, next);
    }
    return asked;
}

bool catalog_horizon(struct run *run, uint32_t *xid, struct trouble *t)
{
    PGresult *r = source_query(&run->loop, run->loop.sql, t,
                               "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid", NULL);

    *xid = r ? field_number(r, 0, 0) : 0;
    PQclear(r);
    return r != NULL;
}

bool catalog_stayed(struct run *run, const struct table *table, bool *stayed, struct trouble *t)
{
    const struct list *names = &run->arguments->publications;
    char *publications = source_array(names->items, names->n);
    char *sql = mem_printf(membership_sql, run->version >= 150000 ? schemas_15 : "");
    char *oid = mem_printf("%u", table->oid);
    PGresult *r = source_query(&run->loop, run->loop.sql, t, sql, publications, oid, NULL);
    const char *now = r && PQntuples(r) ? PQgetvalue(r, 0, 0) : "";

    *stayed = !*now || catalog_same_membership(table->membership, now);
    PQclear(r);
    free(oid);
    free(sql);
    free(publications);
    return r != NULL;
}

bool catalog_is_partition(struct run *run, uint32_t oid, const struct table *table, bool *is,
                          struct trouble *t)
{
    char *leaf = mem_printf("%u", oid), *root = mem_printf("%u", table->oid);
    PGresult *r = source_query(&run->loop, run->loop.sql, t,
                               "SELECT EXISTS (SELECT FROM pg_partition_ancestors($1::oid)"
                               " WHERE relid = $2::oid)",
                               leaf, root, NULL);

    *is = r && field_truth(r, 0, 0);
    PQclear(r);
    free(leaf);
    free(root);
    return r != NULL;
}
