#include "prerequisites.h"

#include <stdlib.h>
#include <string.h>

#include "encryption.h"
#include "selected.h"
#include "slot.h"
#include "timeline.h"
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
                      " pg_encoding_to_char(encoding), datname,"
                      " coalesce(current_setting('neon.timeline_id', true), '') <> ''"
                      " FROM pg_database WHERE datname = current_database()",
                      NULL);
    const char *wal_level = PQgetvalue(r, 0, 1), *encoding = PQgetvalue(r, 0, 2);

    run->version = PQserverVersion(run->loop.sql);
    run->source.database = mem_strdup(PQgetvalue(r, 0, 3));
    run->is_neon = field_truth(r, 0, 4);
    if (run->version >= 140000)
        verdict_pass(v, "server has version %s", PQgetvalue(r, 0, 0));
    else
        verdict_fail(v, "the server has version %s: PostgreSQL 14 or later is needed",
                     PQgetvalue(r, 0, 0));
    if (run->arguments->failover && run->version < 170000)
        verdict_fail(v, "--failover needs PostgreSQL 17");
    if (!strcmp(wal_level, "logical"))
        verdict_pass(v, "wal_level is logical");
    else
        verdict_fail(v, "wal_level is %s: %s", wal_level,
                     run->is_neon
                         ? "enable logical replication in Neon's console, Settings, Logical "
                           "Replication (it restarts the computes, and stays on)"
                         : "ALTER SYSTEM SET wal_level = logical, and restart the server");
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

static void fail_right(struct run *run, const char *role, struct verdicts *v)
{
    PGresult *r = ask(run, "SELECT quote_ident(current_user)", NULL);
    const char *name = PQgetvalue(r, 0, 0);

    if (run->is_neon)
        verdict_fail(
            v,
            "role %s has no REPLICATION, which at Neon only a role has that was made in the "
            "console, by the CLI or the API, not by SQL: make one there, and GRANT it SELECT",
            role);
    else
        verdict_fail(v,
                     "role %s has no REPLICATION: ALTER ROLE %s REPLICATION (on Amazon RDS: GRANT "
                     "rds_replication TO %s)",
                     role, name, name);
    PQclear(r);
}

/* Why the role cannot have a walsender, as far as it is known. */
static void fail_replication(struct run *run, const struct trouble *t, struct verdicts *v)
{
    const char *role = PQuser(run->loop.sql);

    if (!strcmp(t->sqlstate, "42501"))
        fail_right(run, role, v);
    else if (!strcmp(t->sqlstate, "53300"))
        verdict_fail(v,
                     "no walsender is free: raise max_wal_senders, or end somebody's replication");
    else
        verdict_fail(v, "role %s cannot connect for replication: %s", role, t->text);
}

/* Trying is the only test: some services give the right by membership. */
static void test_replication(struct run *run, struct verdicts *v)
{
    struct trouble t = {.text = "the server does not say who it is"};
    PGconn *c = source_connect(&run->loop, run->arguments->conninfo, true, &t);
    PGresult *r = c ? source_query(&run->loop, c, &t, "IDENTIFY_SYSTEM", NULL) : NULL;

    if (r && PQntuples(r) == 1) {
        run->source.system = mem_strdup(PQgetvalue(r, 0, 0));
        run->timeline = field_number(r, 0, 1);
        verdict_pass(v, "role %s may replicate", PQuser(run->loop.sql));
        timeline_test(run, c, v);
    } else if (!r && trouble_is_temporary(&t) && !v->report) {
        trouble_die(&t, "cannot connect for replication");
    } else {
        fail_replication(run, &t, v);
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
                      "SELECT w.name, p.oid, concat_ws(', ',"
                      "  CASE WHEN pubinsert THEN 'insert' END,"
                      "  CASE WHEN pubupdate THEN 'update' END,"
                      "  CASE WHEN pubdelete THEN 'delete' END,"
                      "  CASE WHEN pubtruncate THEN 'truncate' END) FROM (SELECT DISTINCT "
                      "unnest($1::text[]) AS name) AS w"
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
        const char *operations = PQgetvalue(r, i, 2);
        verdict_pass(v, "publication %s exists, for %s", name,
                     *operations ? operations : "nothing");
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

/* ------------------------------------------------------------------ what is left of what there is
 */

/* The stream and the main slot, and to read tables beside it another connection and slot. */
static void test_free(struct run *run, struct verdicts *v)
{
    static const char sql[] =
        "SELECT current_setting('max_replication_slots')::int -"
        " (SELECT count(*) FROM pg_replication_slots),"
        " current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication)";
    static const char *const what[] = {"replication slots", "walsenders"};
    static const char *const setting[] = {"max_replication_slots", "max_wal_senders"};
    bool reads = run->arguments->snapshot != SNAPSHOT_NEVER;
    bool streams = run->arguments->snapshot != SNAPSHOT_ONLY;
    int wanted[] = {reads + (streams && !run->slot_exists), reads + streams};
    PGresult *r = ask(run, sql, NULL);

    for (int i = 0; i < 2; i++) {
        int left = atoi(PQgetvalue(r, 0, i));
        if (left >= wanted[i])
            verdict_pass(v, "%d %s are free, of which %d will be used", left, what[i], wanted[i]);
        else
            verdict_fail(v,
                         "%d %s are free, of which %d will be used: raise %s, or see who has them",
                         left, what[i], wanted[i], setting[i]);
    }
    PQclear(r);
}

/* Its documentation, "Logical replication in Neon". */
static void note_neon(const struct run *run, const struct verdicts *v)
{
    if (run->is_neon)
        verdict_note(v, "Neon drops a slot that was not confirmed for about 40 hours while others "
                        "are active, and all slots when a branch is restored: run at least daily");
}

unsigned prerequisites_test(struct run *run, bool report)
{
    struct verdicts v = {.report = report};
    struct trouble t;

    run->source.slot = mem_strdup(run->arguments->slot);
    encryption_report(run, &v);
    test_server(run, &v);
    test_replication(run, &v);
    test_publications(run, &v);
    test_state(run, &v);
    selected_test(run, &v);
    if (!slot_test(run, &v, &t))
        trouble_die(&t, "cannot look at the slot");
    if (report) {
        slot_report(run, &v);
        test_free(run, &v);
        note_neon(run, &v);
    }
    return v.failures;
}
