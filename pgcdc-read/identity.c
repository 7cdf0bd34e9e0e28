#include "identity.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"

/* Nobody waits for us longer, and we for nobody: a waiting ALTER TABLE holds up all that comes
 * behind it. */
#define LOCK_TIMEOUT "2s"

/* Of tables and their partitions: name, statement, owner, whether we are the owner. */
static const char lacking_sql[] =
    "WITH RECURSIVE tree AS (SELECT unnest($1::oid[]) AS oid UNION"
    "  SELECT inhrelid FROM tree JOIN pg_class p USING (oid) JOIN pg_inherits ON inhparent = oid"
    "  WHERE p.relkind = 'p'),"
    " key AS (SELECT indrelid, bool_or(indisprimary AND indimmediate) AS is_primary,"
    "  bool_or(indisreplident) AS is_identity FROM pg_index GROUP BY indrelid)"
    " SELECT format('%I.%I', n.nspname, c.relname),"
    " format('ALTER TABLE %I.%I REPLICA IDENTITY %s', n.nspname, c.relname,"
    "  CASE WHEN is_primary THEN 'DEFAULT' ELSE 'FULL' END),"
    " pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE')"
    " FROM tree JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN key ON key.indrelid = c.oid"
    " WHERE CASE c.relreplident WHEN 'n' THEN true WHEN 'f' THEN false"
    "  WHEN 'i' THEN is_identity IS NOT TRUE ELSE is_primary IS NOT TRUE END"
    " ORDER BY 1";

/* The OIDs of selected tables of which UPDATE or DELETE are published. */
static char *identified_tables(const struct run *run)
{
    const unsigned both = OP_UPDATE | OP_DELETE;
    struct buf oids = {0};

    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->selected && table->listed && (table->unpublished & both) != both)
            buf_printf(&oids, "%s%u", oids.len ? "," : "{", table->oid);
    buf_str(&oids, oids.len ? "}" : "{}");
    return oids.data;
}

static void set(struct run *run, const char *name, const char *statement, bool *any)
{
    char *sql = mem_printf("SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'; %s", statement);
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, sql, NULL);

    if (r)
        msg_warn("table %s had no replica identity: %s", name, statement);
    else
        msg_warn("table %s has no replica identity, and could not be given one (%s): %s", name,
                 t.text, statement);
    *any |= r != NULL;
    PQclear(r);
    free(sql);
}

static void say(const struct run *run, const struct verdicts *v, PGresult *lacking, int row)
{
    const char *name = PQgetvalue(lacking, row, 0), *statement = PQgetvalue(lacking, row, 1);
    bool ours = field_truth(lacking, row, 3);
    char *who = ours ? mem_strdup("--set-identity does that")
                     : mem_printf("its owner %s has to", PQgetvalue(lacking, row, 2));
    char *text =
        mem_printf("table %s has no replica identity, so that a published UPDATE or DELETE of "
                   "it fails at the source: %s (%s)",
                   name, statement, who);

    verdict_note(v, "%s", text);
    if (!v->report && run->arguments->set_identity)
        msg_warn("%s", text);
    else if (!v->report)
        msg_info("%s", text);
    free(text);
    free(who);
}

bool identity_test(struct run *run, const struct verdicts *v)
{
    char *oids = identified_tables(run);
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, lacking_sql, oids, NULL);
    bool any = false;

    if (!r)
        trouble_die(&t, "cannot read the replica identities");
    for (int i = 0; i < PQntuples(r); i++) {
        bool ours = field_truth(r, i, 3);
        if (ours && run->arguments->set_identity && !v->report)
            set(run, PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), &any);
        else
            say(run, v, r, i);
    }
    if (!PQntuples(r) && strcmp(oids, "{}"))
        verdict_pass(v, "every table has a replica identity");
    PQclear(r);
    free(oids);
    return any;
}
