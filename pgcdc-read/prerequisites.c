#include "prerequisites.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "shape.h"
#include "slot.h"
#include "verdict.h"

/* A query without which nothing can be said. */
static PGresult *ask(struct run *run, const char *sql, const char *param)
{
    struct trouble t;
    PGresult *r = source_query(&run->loop, run->loop.sql, &t, sql, param, NULL);

    if (!r)
        trouble_die(&t, "a query of the catalog failed");
    return r;
}

/* ------------------------------------------------------------------ the server */

static void test_server(struct run *run, struct verdicts *v)
{
    PGresult *r = ask(run,
                      "SELECT current_setting('server_version'), current_setting('wal_level'),"
                      " pg_encoding_to_char(encoding), datname, current_user"
                      " FROM pg_database WHERE datname = current_database()",
                      NULL);
    const char *wal_level = PQgetvalue(r, 0, 1), *encoding = PQgetvalue(r, 0, 2);

    run->version = PQserverVersion(run->loop.sql);
    run->source.database = mem_strdup(PQgetvalue(r, 0, 3));
    if (run->version >= 140000)
        verdict_pass(v, "server has version %s", PQgetvalue(r, 0, 0));
    else
        verdict_fail(v, "the server has version %s: PostgreSQL 14 or later is needed",
                     PQgetvalue(r, 0, 0));
    if (!strcmp(wal_level, "logical"))
        verdict_pass(v, "wal_level is logical");
    else
        verdict_fail(v, "wal_level is %s: set wal_level = logical and restart the server",
                     wal_level);
    if (strcmp(encoding, "SQL_ASCII"))
        verdict_pass(v, "database %s is encoded in %s", run->source.database, encoding);
    else
        verdict_fail(
            v,
            "database %s is encoded in SQL_ASCII, which says nothing of its texts: copy it into "
            "a database with an encoding (UTF8)",
            run->source.database);
    PQclear(r);
}

static void test_replication(struct run *run, struct verdicts *v)
{
    struct trouble t;
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, &t);
    PGresult *r = c ? source_query(&run->loop, c, &t, "IDENTIFY_SYSTEM", NULL) : NULL;

    if (r && PQntuples(r) == 1) {
        run->source.system = mem_strdup(PQgetvalue(r, 0, 0));
        verdict_pass(v, "role %s may replicate", PQuser(run->loop.sql));
    } else if (!r && trouble_is_temporary(&t)) {
        trouble_die(&t, "cannot connect for replication");
    } else {
        verdict_fail(
            v,
            "role %s cannot connect for replication (ALTER ROLE … REPLICATION gives it the "
            "right): %s",
            PQuser(run->loop.sql), r ? "no answer" : t.text);
        run->source.system = mem_strdup("-");
    }
    PQclear(r);
    PQfinish(c);
}

/* ------------------------------------------------------------------ the publications */

static void test_publications(struct run *run, struct verdicts *v)
{
    const struct list *names = &run->arguments->publications;
    char *array = source_array(names->items, names->n);
    PGresult *r = ask(run,
                      "SELECT w.name, p.oid FROM (SELECT DISTINCT unnest($1::text[]) AS name) AS w"
                      " LEFT JOIN pg_publication p ON p.pubname = w.name"
                      " ORDER BY w.name COLLATE \"C\"",
                      array);
    struct buf list = {0};

    buf_str(&list, "");
    for (int i = 0; i < PQntuples(r); i++) {
        const char *name = PQgetvalue(r, i, 0);
        if (PQgetisnull(r, i, 1)) {
            verdict_fail(
                v,
                "publication %s does not exist in database %s: CREATE PUBLICATION %s FOR TABLE …",
                name, run->source.database, name);
            continue;
        }
        verdict_pass(v, "publication %s exists", name);
        buf_printf(&list, "%s%s=%s", list.len ? "," : "", name, PQgetvalue(r, i, 1));
    }
    run->source.publications = list.data;
    PQclear(r);
    free(array);
}

/* The OID of a publication in a list name=oid,… as text; its length in *len. NULL: not there. */
static const char *find_publication(const char *list, const char *entry, size_t name_len,
                                    size_t *len)
{
    for (; *list; list += *list == ',') {
        size_t n = strcspn(list, ",");
        if (n > name_len && !strncmp(list, entry, name_len) && list[name_len] == '=') {
            *len = n - name_len - 1;
            return list + name_len + 1;
        }
        list += n;
    }
    return NULL;
}

/* Our own state has to be of this source; another one's position means nothing here. */
static void test_state(struct run *run, struct verdicts *v)
{
    const struct source *then = &run->loop.load.source, *now = &run->source;

    if (!then->system)
        return;
    if (strcmp(then->system, now->system) || strcmp(then->database, now->database) ||
        strcmp(then->slot, now->slot)) {
        verdict_fail(
            v,
            "the state folder belongs to another source (cluster %s, database %s, slot %s), this "
            "is cluster %s, database %s, slot %s: give this pipeline a folder of its own",
            then->system, then->database, then->slot, now->system, now->database, now->slot);
        return;
    }
    for (const char *p = then->publications; *p; p += *p == ',') {
        size_t n = strcspn(p, ","), name = n, len;
        while (name && p[name] != '=')
            name--;
        const char *oid = find_publication(now->publications, p, name, &len);
        if (oid && (len != n - name - 1 || strncmp(oid, p + name + 1, len))) {
            verdict_lost(v, slot_anew(run), "publication %.*s was dropped and created again",
                         (int)name, p);
            return;
        }
        p += n;
    }
    verdict_pass(v, "the state is of this source");
}

/* ------------------------------------------------------------------ the tables */

static bool has_table(const struct run *run, const char *name)
{
    for (struct table *table = run->tables; table; table = table->hh.next) {
        char *full = table->selected ? mem_printf("%s.%s", table->schema, table->name) : NULL;
        bool same = full && !strcmp(full, name);
        free(full);
        if (same)
            return true;
    }
    return false;
}

static void warn_of_unpublished(const struct table *table)
{
    struct relation r = {.unpublished = table->unpublished};
    char *operations = relation_unpublished(&r);

    msg_warn("table %s.%s is published without %s: only a target in append mode can be right "
             "(cdc-batch --mode)",
             table->schema, table->name, operations);
    free(operations);
}

static void test_table(const struct table *table, enum snapshot_mode mode, const char *role,
                       struct verdicts *v)
{
    bool snapshot = mode != SNAPSHOT_NEVER, only = mode == SNAPSHOT_ONLY;

    if (snapshot && !table->readable)
        verdict_fail(
            v, "role %s may not read %s.%s: GRANT USAGE ON SCHEMA and GRANT SELECT ON TABLE to it",
            role, table->schema, table->name);
    else if (snapshot && table->hidden)
        verdict_fail(v,
                     "row-level security hides rows of %s.%s from role %s: ALTER ROLE … BYPASSRLS",
                     table->schema, table->name, role);
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
    if (table->unpublished && !only)
        warn_of_unpublished(table);
    if (table->no_identity)
        msg_info("table %s.%s has no primary key: a published UPDATE or DELETE of it fails at the "
                 "source until ALTER TABLE … REPLICA IDENTITY FULL",
                 table->schema, table->name);
}

/* Tables that are chosen by their whole names have to be there. */
static void test_names(const struct run *run, const struct list *globs, struct verdicts *v)
{
    for (unsigned i = 0; i < globs->n; i++)
        if (!strpbrk(globs->items[i], "*?") && !has_table(run, globs->items[i]))
            verdict_fail(v, "table %s is not in the publication: ALTER PUBLICATION %s ADD TABLE %s",
                         globs->items[i], run->arguments->publications.items[0], globs->items[i]);
}

static void test_tables(struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    struct trouble t;
    unsigned n = 0;

    if (!catalog_tables(run, false, &t))
        trouble_die(&t, "cannot read which tables are published");
    test_names(run, &a->tables, v);
    test_names(run, &a->refresh, v);
    for (struct table *table = run->tables; table; table = table->hh.next, n++)
        test_table(table, a->snapshot, PQuser(run->loop.sql), v);
    if (!n && !v->failures)
        verdict_fail(
            v,
            "no published table is chosen: ALTER PUBLICATION %s ADD TABLE …, or look at --table "
            "and --exclude",
            a->publications.items[0]);
}

/* Reading the tables takes a temporary slot of its own. */
static void test_free_slot(struct run *run, struct verdicts *v)
{
    PGresult *r = ask(run,
                      "SELECT current_setting('max_replication_slots')::int >"
                      " (SELECT count(*) FROM pg_replication_slots)",
                      NULL);

    if (*PQgetvalue(r, 0, 0) == 't')
        verdict_pass(v, "a replication slot is free");
    else
        verdict_fail(v, "all replication slots are taken and the snapshot needs one: raise "
                        "max_replication_slots, or drop a slot nobody uses");
    PQclear(r);
}

unsigned prerequisites_test(struct run *run, bool report)
{
    struct verdicts v = {.report = report};
    struct trouble t;

    run->source.slot = mem_strdup(run->arguments->slot);
    test_server(run, &v);
    test_replication(run, &v);
    test_publications(run, &v);
    test_state(run, &v);
    test_tables(run, &v);
    if (!slot_test(run, &v, &t))
        trouble_die(&t, "cannot look at the slot");
    if (run->arguments->snapshot != SNAPSHOT_NEVER && report)
        test_free_slot(run, &v);
    return v.failures;
}
