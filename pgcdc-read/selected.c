#include "selected.h"

#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "msg.h"
#include "shape.h"

/* An array of the OIDs of selected tables, or of those that are published as their root. */
static char *oid_array(const struct run *run, bool partitioned)
{
    struct buf oids = {0};

    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->selected && table->listed && (table->partitioned || !partitioned))
            buf_printf(&oids, "%s%u", oids.len ? "," : "{", table->oid);
    buf_str(&oids, oids.len ? "}" : "{}");
    return oids.data;
}

static PGresult *ask(struct run *run, const char *sql, const char *a, const char *b)
{
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, sql, a, b, NULL);

    if (!r)
        trouble_die(&t, "a query of the catalog failed");
    return r;
}

/* ------------------------------------------------------------------ what is not published */

static bool is_named(const struct list *globs, const char *name)
{
    for (unsigned i = 0; i < globs->n; i++)
        if (!strcmp(globs->items[i], name))
            return true;
    return false;
}

/* Tables of which the publications hold neither themselves nor a part, with the statement that adds
 * them. A partition is only meant if it is named. */
static const char unpublished_sql[] =
    "WITH RECURSIVE p AS (SELECT unnest($1::oid[]) AS oid"
    "  UNION SELECT inhparent FROM pg_inherits JOIN p ON inhrelid = p.oid)"
    " SELECT n.nspname, c.relname, n.nspname || '.' || c.relname, c.relispartition,"
    " format('ALTER PUBLICATION %I ADD TABLE %I.%I', $2::text, n.nspname, c.relname)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384"
    " AND c.oid NOT IN (SELECT oid FROM p) ORDER BY 1, 2";

/* Tables that are chosen by their whole names have to be there; for those that a pattern matches it
 * is a note. */
static void test_unpublished(struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    char *oids = oid_array(run, false);
    PGresult *r = ask(run, unpublished_sql, oids, a->publications.items[0]);

    for (int i = 0; i < PQntuples(r); i++) {
        const char *name = PQgetvalue(r, i, 2), *add = PQgetvalue(r, i, 4);
        if (is_named(&a->tables, name) || is_named(&a->refresh, name))
            verdict_fail(v, "table %s is not in the publication: %s", name, add);
        else if (!field_truth(r, i, 3) &&
                 arguments_select(a, PQgetvalue(r, i, 0), PQgetvalue(r, i, 1)))
            verdict_note(v, "table %s matches --table, but is not in the publication: %s", name,
                         add);
    }
    PQclear(r);
    free(oids);
}

/* What of the named tables does not exist at all. */
static void test_names(struct run *run, const struct list *globs, struct verdicts *v)
{
    static const char sql[] =
        "SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname || '.' || c.relname = name AND c.relkind IN ('r', 'p'))"
        " AND name !~ '[*?]'";
    char *names = source_array(globs->items, globs->n);
    PGresult *r = ask(run, sql, names, NULL);

    for (int i = 0; i < PQntuples(r); i++)
        verdict_fail(v, "table %s does not exist in database %s", PQgetvalue(r, i, 0),
                     run->source.database);
    PQclear(r);
    free(names);
}

/* ------------------------------------------------------------------ what can be read */

static void fail_unreadable(struct run *run, const char *schema, const char *name,
                            struct verdicts *v)
{
    static const char sql[] = "SELECT format('GRANT USAGE ON SCHEMA %1$I TO %3$I; GRANT SELECT ON"
                              " %1$I.%2$I TO %3$I', $1::text, $2::text, current_user)";
    PGresult *r = ask(run, sql, schema, name);

    verdict_fail(v, "role %s may not read %s.%s: %s", PQuser(run->loop.sql), schema, name,
                 PQgetvalue(r, 0, 0));
    PQclear(r);
}

static void fail_hidden(struct run *run, const char *schema, const char *name, struct verdicts *v)
{
    PGresult *r = ask(run, "SELECT quote_ident(current_user)", NULL, NULL);

    verdict_fail(v, "row-level security hides rows of %s.%s from role %s: ALTER ROLE %s BYPASSRLS",
                 schema, name, PQuser(run->loop.sql), PQgetvalue(r, 0, 0));
    PQclear(r);
}

/* The rows of a partitioned table are read from its partitions, and with rights on these. */
static void test_partitions(struct run *run, struct verdicts *v)
{
    static const char sql[] =
        "WITH RECURSIVE tree AS (SELECT unnest($1::oid[]) AS oid UNION"
        "  SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid)"
        " SELECT n.nspname, c.relname,"
        " has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
        " FROM tree JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND (NOT has_schema_privilege(n.oid, 'USAGE')"
        "  OR NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid))"
        " ORDER BY 1, 2";
    char *oids = oid_array(run, true);
    PGresult *r = strcmp(oids, "{}") ? ask(run, sql, oids, NULL) : NULL;

    for (int i = 0; i < PQntuples(r); i++)
        (field_truth(r, i, 2) ? fail_hidden : fail_unreadable)(run, PQgetvalue(r, i, 0),
                                                               PQgetvalue(r, i, 1), v);
    PQclear(r);
    free(oids);
}

/* ------------------------------------------------------------------ each table */

static void warn_of_unpublished(const struct table *table, const struct verdicts *v)
{
    struct relation r = {.unpublished = table->unpublished};
    char *operations = relation_unpublished(&r);
    char *text =
        mem_printf("table %s.%s is published without %s: only a target in append mode can be "
                   "right (cdc-batch --mode)",
                   table->schema, table->name, operations);

    verdict_note(v, "%s", text);
    if (!v->report)
        msg_warn("%s", text);
    free(text);
    free(operations);
}

static void test_table(struct run *run, const struct table *table, struct verdicts *v)
{
    enum snapshot_mode mode = run->arguments->snapshot;
    bool snapshot = mode != SNAPSHOT_NEVER;

    if (snapshot && !table->readable)
        fail_unreadable(run, table->schema, table->name, v);
    else if (snapshot && table->hidden)
        fail_hidden(run, table->schema, table->name, v);
    else
        verdict_pass(v, "table %s.%s is published%s", table->schema, table->name,
                     snapshot ? " and can be read" : "");
    if (table->key_hidden)
        verdict_fail(v, SHAPE_KEY_HIDDEN, table->schema, table->name);
    if (table->lists_differ)
        verdict_fail(v,
                     "the publications have different column lists for %s.%s, which PostgreSQL "
                     "refuses to send: ALTER PUBLICATION … SET TABLE … gives it the same in all",
                     table->schema, table->name);
    if (table->unpublished && mode != SNAPSHOT_ONLY)
        warn_of_unpublished(table, v);
}

static void find_tables(struct run *run)
{
    struct trouble t;

    if (!catalog_tables(run, false, &t))
        trouble_die(&t, "cannot read which tables are published");
}

void selected_test(struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    unsigned n = 0;

    find_tables(run);
    if (a->tables.n || a->refresh.n) {
        test_names(run, &a->tables, v);
        test_names(run, &a->refresh, v);
        test_unpublished(run, v);
    }
    for (struct table *table = run->tables; table; table = table->hh.next, n++)
        test_table(run, table, v);
    if (a->snapshot != SNAPSHOT_NEVER)
        test_partitions(run, v);
    if (!n && !v->failures)
        verdict_fail(
            v,
            "no published table is chosen: ALTER PUBLICATION %s ADD TABLE …, or look at --table "
            "and --exclude",
            a->publications.items[0]);
    if (a->snapshot != SNAPSHOT_ONLY && identity_test(run, v))
        find_tables(run); /* as they are now */
}
