#include "catalog.h"

#include <stdlib.h>
#include <string.h>

#include "run.h"

/* The row filters of several publications are joined by OR; column lists have to be the same. */
static const char published_15[] =
    "SELECT schemaname, tablename, min(attnames::text[]) AS attnames,"
    " CASE WHEN bool_and(rowfilter IS NOT NULL)"
    " THEN string_agg(DISTINCT '(' || rowfilter || ')', ' OR ') END AS filter"
    " FROM pg_publication_tables WHERE pubname = ANY ($1::text[]) GROUP BY 1, 2";
static const char published_14[] =
    "SELECT DISTINCT schemaname, tablename, NULL::text[] AS attnames, NULL::text AS filter"
    " FROM pg_publication_tables WHERE pubname = ANY ($1::text[])";

/* What makes c a published table: the OIDs of whole publications, and of its own, its ancestors'
 * and their schemas' entries in others; and its name, which is also the target's. NULL if nothing
 * does. */
#define MEMBERSHIP                                                                \
    "(WITH w AS (SELECT * FROM pg_publication WHERE pubname = ANY ($1::text[]))," \
    " f AS (SELECT c.oid UNION SELECT relid FROM pg_partition_ancestors(c.oid))"  \
    " SELECT string_agg(oid::text, ',' ORDER BY oid) || ' ' || c.oid::regclass"   \
    " FROM (SELECT oid FROM w WHERE puballtables UNION ALL"                       \
    " SELECT r.oid FROM pg_publication_rel r JOIN w ON w.oid = prpubid"           \
    "  WHERE prrelid IN (SELECT oid FROM f)%s) AS m)"
static const char schemas_15[] =
    " UNION ALL SELECT s.oid FROM pg_publication_namespace s JOIN w ON w.oid = pnpubid"
    "  WHERE pnnspid IN (SELECT relnamespace FROM pg_class JOIN f USING (oid))";

static const char membership_sql[] = "SELECT " MEMBERSHIP " FROM pg_class c WHERE c.oid = $2::oid";

static const char tables_sql[] =
    "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p',"
    " coalesce(a.names, ''), '{' || coalesce(a.nums, '') || '}', p.filter,"
    " has_schema_privilege(n.oid, 'USAGE') AND"
    "  (has_table_privilege(c.oid, 'SELECT') OR a.readable),"
    " row_security_active(c.oid),"
    " c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS"
    "  (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), " MEMBERSHIP
    " FROM (%s) AS p"
    " JOIN pg_namespace n ON n.nspname = p.schemaname"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename,"
    " LATERAL (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names,"
    "  string_agg(attnum::text, ',' ORDER BY attnum) AS nums,"
    "  bool_and(has_column_privilege(c.oid, attnum, 'SELECT')) AS readable"
    "  FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped"
    "  AND (attgenerated = '' OR %s)"
    "  AND (p.attnames IS NULL OR attname::text = ANY (p.attnames))) AS a"
    " ORDER BY 2, 3";

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

static void take_table(struct run *run, PGresult *r, int row)
{
    struct table *table = catalog_ignore(run, field_number(r, row, 0));

    free(table->schema);
    free(table->name);
    free(table->columns);
    free(table->attnums);
    free(table->filter);
    table->selected = true;
    table->schema = field_text(r, row, 1);
    table->name = field_text(r, row, 2);
    table->partitioned = field_truth(r, row, 3);
    table->columns = field_text(r, row, 4);
    table->attnums = field_text(r, row, 5);
    table->filter = field_text(r, row, 6);
    table->readable = field_truth(r, row, 7);
    table->hidden = field_truth(r, row, 8);
    table->no_identity = field_truth(r, row, 9);
    if (!table->membership)
        table->membership = field_text(r, row, 10);
}

bool catalog_tables(struct run *run, struct trouble *t)
{
    const struct list *names = &run->arguments->publications;
    char *publications = source_array(names->items, names->n);
    struct buf sql = {0};

    buf_printf(&sql, tables_sql, run->version >= 150000 ? schemas_15 : "",
               run->version >= 150000 ? published_15 : published_14,
               run->version >= 180000 ? "true" : "false"); /* before 18 none is sent */
    PGresult *r = source_query(&run->loop, run->loop.sql, t, sql.data, publications, NULL);
    for (int i = 0; r && i < PQntuples(r); i++)
        if (arguments_select(run->arguments, PQgetvalue(r, i, 1), PQgetvalue(r, i, 2)))
            take_table(run, r, i);
    PQclear(r);
    buf_free(&sql);
    free(publications);
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

    *stayed = !*now || !strcmp(now, table->membership);
    PQclear(r);
    free(oid);
    free(sql);
    free(publications);
    return r != NULL;
}
