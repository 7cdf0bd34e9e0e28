#include "prerequisites.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"

#define LOCK_PATIENCE 3000 /* ms for a predecessor's session to end */

struct verdicts {
    bool report;
    unsigned failures;
};

__attribute__((format(printf, 2, 3))) static void pass(struct verdicts *v, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (v->report)
        msg_line("ok   %s", text);
}

__attribute__((format(printf, 2, 3))) static void fail(struct verdicts *v, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!v->report)
        msg_die(EX_CONFIG, "%s", text);
    msg_line("FAIL %s", text);
    v->failures++;
}

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
        pass(v, "server has version %s", PQgetvalue(r, 0, 0));
    else
        fail(v, "the server has version %s: PostgreSQL 14 or later is needed", PQgetvalue(r, 0, 0));
    if (!strcmp(wal_level, "logical"))
        pass(v, "wal_level is logical");
    else
        fail(v, "wal_level is %s: set wal_level = logical and restart the server", wal_level);
    if (strcmp(encoding, "SQL_ASCII"))
        pass(v, "database %s is encoded in %s", run->source.database, encoding);
    else
        fail(v,
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
        pass(v, "role %s may replicate", PQuser(run->loop.sql));
    } else if (!r && trouble_is_temporary(&t)) {
        trouble_die(&t, "cannot connect for replication");
    } else {
        fail(v,
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
                      "SELECT w.name, p.oid, p.pubinsert AND p.pubupdate AND p.pubdelete AND"
                      " p.pubtruncate FROM (SELECT DISTINCT unnest($1::text[]) AS name) AS w"
                      " LEFT JOIN pg_publication p ON p.pubname = w.name"
                      " ORDER BY w.name COLLATE \"C\"",
                      array);
    struct buf list = {0};

    buf_str(&list, "");
    for (int i = 0; i < PQntuples(r); i++) {
        const char *name = PQgetvalue(r, i, 0);
        if (PQgetisnull(r, i, 1)) {
            fail(v,
                 "publication %s does not exist in database %s: CREATE PUBLICATION %s FOR TABLE …",
                 name, run->source.database, name);
            continue;
        }
        pass(v, "publication %s exists", name);
        if (*PQgetvalue(r, i, 2) != 't')
            msg_warn("publication %s does not publish all of insert, update, delete, truncate: the "
                     "target will differ from the source",
                     name);
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

#define ANEW "remove the state folder to read all tables anew"

/* Our own state has to be of this source; another one's position means nothing here. */
static void test_state(struct run *run, struct verdicts *v)
{
    const struct source *then = &run->loop.load.source, *now = &run->source;

    if (!then->system)
        return;
    if (strcmp(then->system, now->system) || strcmp(then->database, now->database) ||
        strcmp(then->slot, now->slot)) {
        fail(v,
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
            fail(v,
                 "publication %.*s was dropped and created again, changes in between are "
                 "lost: " ANEW,
                 (int)name, p);
            return;
        }
        p += n;
    }
    pass(v, "the state is of this source");
}

/* ------------------------------------------------------------------ the tables */

static bool has_table(struct run *run, const char *name)
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

static void test_table(const struct table *table, bool snapshot, const char *role,
                       struct verdicts *v)
{
    if (snapshot && !table->readable)
        fail(v, "role %s may not read %s.%s: GRANT USAGE ON SCHEMA and GRANT SELECT ON TABLE to it",
             role, table->schema, table->name);
    else if (snapshot && table->hidden)
        fail(v, "row-level security hides rows of %s.%s from role %s: ALTER ROLE … BYPASSRLS",
             table->schema, table->name, role);
    else
        pass(v, "table %s.%s is published%s", table->schema, table->name,
             snapshot ? " and can be read" : "");
    if (table->no_identity)
        msg_info("table %s.%s has no primary key: a published UPDATE or DELETE of it fails at the "
                 "source until ALTER TABLE … REPLICA IDENTITY FULL",
                 table->schema, table->name);
}

static void test_tables(struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    struct trouble t;
    unsigned n = 0;

    if (!catalog_tables(run, &t))
        trouble_die(&t, "cannot read which tables are published");
    for (unsigned i = 0; i < a->tables.n; i++)
        if (!strpbrk(a->tables.items[i], "*?") && !has_table(run, a->tables.items[i]))
            fail(v, "table %s is not in the publication: ALTER PUBLICATION %s ADD TABLE %s",
                 a->tables.items[i], a->publications.items[0], a->tables.items[i]);
    for (struct table *table = run->tables; table; table = table->hh.next, n++)
        test_table(table, a->snapshot != SNAPSHOT_NEVER, PQuser(run->loop.sql), v);
    if (!n && !v->failures)
        fail(v,
             "no published table is chosen: ALTER PUBLICATION %s ADD TABLE …, or look at --table "
             "and --exclude",
             a->publications.items[0]);
}

/* ------------------------------------------------------------------ the slot */

static const char slot_sql[] =
    "SELECT coalesce(plugin, 'none'), coalesce(database, 'none'), temporary, two_phase,"
    " coalesce(wal_status, ''), confirmed_flush_lsn, coalesce(active_pid, 0)"
    " FROM pg_replication_slots WHERE slot_name = $1";

static void test_slot_kind(struct run *run, PGresult *r, struct verdicts *v)
{
    const char *slot = run->arguments->slot;
    unsigned before = v->failures;

    if (strcmp(PQgetvalue(r, 0, 0), "pgoutput"))
        fail(v, "slot %s has the plugin %s: use another slot, with the plugin pgoutput", slot,
             PQgetvalue(r, 0, 0));
    if (strcmp(PQgetvalue(r, 0, 1), run->source.database))
        fail(v, "slot %s belongs to database %s, this is %s: use another slot", slot,
             PQgetvalue(r, 0, 1), run->source.database);
    if (*PQgetvalue(r, 0, 3) == 't')
        fail(v,
             "slot %s was created with two_phase, which delivers prepared transactions twice: "
             "drop it and create it without",
             slot);
    if (!strcmp(PQgetvalue(r, 0, 4), "lost"))
        fail(v,
             "slot %s has lost its WAL (max_slot_wal_keep_size): changes are lost; drop it "
             "(--drop-slot), then " ANEW,
             slot);
    if (before == v->failures)
        pass(v, "slot %s can be used", slot);
}

static void test_no_slot(const struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    const struct load *load = &run->loop.load;

    if (load->prepared || load->applied || load->nsnapshots)
        fail(v,
             "slot %s does not exist any more, changes since %s are lost: " ANEW
             ", with --create-slot",
             a->slot, LSN_TEXT(load->applied));
    else if (a->create_slot || a->snapshot == SNAPSHOT_ONLY)
        pass(v, "slot %s can be created", a->slot);
    else
        fail(v, "slot %s does not exist: --create-slot creates it", a->slot);
}

static void test_slot(struct run *run, PGresult *r, struct verdicts *v)
{
    lsn_t applied = run->loop.load.applied;

    run->slot_exists = PQntuples(r) > 0;
    if (!run->slot_exists) {
        test_no_slot(run, v);
        return;
    }
    test_slot_kind(run, r, v);
    if (!lsn_parse(PQgetvalue(r, 0, 5), &run->slot_lsn))
        run->slot_lsn = 0;
    if (applied && run->slot_lsn > applied)
        fail(v,
             "slot %s was moved or created anew: it stands at %s, the target only at %s, and what "
             "is between is lost: " ANEW,
             run->arguments->slot, LSN_TEXT(run->slot_lsn), LSN_TEXT(applied));
}

/* Reading the tables takes a temporary slot of its own. */
static void test_free_slot(struct run *run, struct verdicts *v)
{
    PGresult *r = ask(run,
                      "SELECT current_setting('max_replication_slots')::int >"
                      " (SELECT count(*) FROM pg_replication_slots)",
                      NULL);

    if (*PQgetvalue(r, 0, 0) == 't')
        pass(v, "a replication slot is free");
    else
        fail(v, "all replication slots are taken and the snapshot needs one: raise "
                "max_replication_slots, or drop a slot nobody uses");
    PQclear(r);
}

bool prerequisites_slot(struct run *run, struct trouble *t)
{
    struct verdicts v = {0};
    PGresult *r = source_query(&run->loop, run->loop.sql, t, slot_sql, run->arguments->slot, NULL);

    if (r)
        test_slot(run, r, &v);
    PQclear(r);
    return r != NULL;
}

unsigned prerequisites_test(struct run *run, bool report)
{
    struct verdicts v = {.report = report};

    run->source.slot = mem_strdup(run->arguments->slot);
    test_server(run, &v);
    test_replication(run, &v);
    test_publications(run, &v);
    test_state(run, &v);
    test_tables(run, &v);
    PGresult *r = ask(run, slot_sql, run->arguments->slot);
    test_slot(run, r, &v);
    PQclear(r);
    if (run->arguments->snapshot != SNAPSHOT_NEVER && report)
        test_free_slot(run, &v);
    return v.failures;
}

/* ------------------------------------------------------------------ the lock */

/* 0: nobody is in the way; else the process id of the server's that is. */
static const char lock_sql[] =
    "WITH k AS MATERIALIZED (SELECT hashtextextended('pgcdc ' || $1, 0) AS key),"
    " l AS MATERIALIZED (SELECT pg_try_advisory_lock(key) AS got, key FROM k)"
    " SELECT CASE WHEN got THEN coalesce((SELECT active_pid FROM pg_replication_slots"
    "   WHERE slot_name = $1), 0)"
    "  ELSE coalesce((SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    "   AND classid = (key >> 32) & 4294967295 AND objid = key & 4294967295"
    "   AND objsubid = 1), -1) END, got FROM l";

bool prerequisites_lock(struct run *run, struct trouble *t)
{
    int64_t patience = clock_ms() + LOCK_PATIENCE;

    for (;;) {
        PGresult *r =
            source_query(&run->loop, run->loop.sql, t, lock_sql, run->arguments->slot, NULL);
        if (!r)
            return false;
        long pid = strtol(PQgetvalue(r, 0, 0), NULL, 10);
        bool got = *PQgetvalue(r, 0, 1) == 't';
        PQclear(r);
        if (pid == 0)
            return true;
        if (got) { /* it is counted, and we will take it again */
            r = source_query(&run->loop, run->loop.sql, t, "SELECT pg_advisory_unlock_all()", NULL);
            if (!r)
                return false;
            PQclear(r);
        }
        if (clock_ms() >= patience) {
            *t = (struct trouble){.sqlstate = "55006"};
            snprintf(t->text, sizeof t->text,
                     "slot %s is being read by another process, server process id %ld",
                     run->arguments->slot, pid);
            return false;
        }
        int64_t again = clock_ms() + 200;
        while (clock_ms() < again)
            loop_wait(&run->loop, -1, 0, again);
    }
}
