#include "slot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"

#define LOCK_PATIENCE 3000 /* ms for a predecessor's session to end */

/* Why a slot is lost is there to be read from 17 on; before 16 there is but one reason. */
static const char slot_sql[] =
    "SELECT coalesce(plugin, 'none'), coalesce(database, 'none'), two_phase,"
    " coalesce(wal_status, ''), confirmed_flush_lsn,"
    " coalesce(to_jsonb(s) ->> 'invalidation_reason', 'wal_removed'),"
    " CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END, restart_lsn"
    " FROM pg_replication_slots s WHERE slot_name = $1";

bool *slot_anew(struct run *run)
{
    return run->arguments->resnapshot ? &run->anew : NULL;
}

static void test_kind(struct run *run, PGresult *r, struct verdicts *v)
{
    const char *slot = run->arguments->slot;
    unsigned before = v->failures;

    if (strcmp(PQgetvalue(r, 0, 0), "pgoutput"))
        verdict_fail(v, "slot %s has the plugin %s: use another slot, with the plugin pgoutput",
                     slot, PQgetvalue(r, 0, 0));
    if (strcmp(PQgetvalue(r, 0, 1), run->source.database))
        verdict_fail(v, "slot %s belongs to database %s, this is %s: use another slot", slot,
                     PQgetvalue(r, 0, 1), run->source.database);
    if (*PQgetvalue(r, 0, 2) == 't')
        verdict_fail(v,
                     "slot %s was created with two_phase, which sends transactions before they "
                     "commit: drop it and create it without",
                     slot);
    if (!strcmp(PQgetvalue(r, 0, 3), "lost"))
        verdict_lost(v, slot_anew(run), "slot %s was invalidated by the server (%s)", slot,
                     PQgetvalue(r, 0, 5));
    if (before == v->failures)
        verdict_pass(v, "slot %s can be used", slot);
}

static void test_none(struct run *run, struct verdicts *v)
{
    const struct arguments *a = run->arguments;
    const struct load *load = &run->loop.load;

    if (load->prepared || load->applied || load->nsnapshots)
        verdict_lost(v, slot_anew(run), "slot %s does not exist any more (the target is at %s)",
                     a->slot, LSN_TEXT(load->applied));
    else if (a->snapshot == SNAPSHOT_ONLY && !a->create_slot)
        verdict_pass(v, "no slot %s is needed", a->slot);
    else if (a->create_slot)
        verdict_pass(v, "slot %s can be created", a->slot);
    else
        verdict_fail(v, "slot %s does not exist: --create-slot creates it", a->slot);
}

/* A server that came out of a failover, or of a backup, may lack what the old one had sent. */
static void test_end(const struct run *run, PGresult *r, struct verdicts *v)
{
    const struct load *load = &run->loop.load;
    lsn_t sent = load->prepared > load->applied ? load->prepared : load->applied, end;

    if (lsn_parse(PQgetvalue(r, 0, 6), &end) && sent > end)
        verdict_fail(v,
                     "the target has changes up to %s, and the server's WAL ends at %s: it was "
                     "promoted, or restored, without the last of them; remove the state folder to "
                     "read all tables anew",
                     LSN_TEXT(sent), LSN_TEXT(end));
}

static void test_row(struct run *run, PGresult *r, struct verdicts *v)
{
    lsn_t applied = run->loop.load.applied;

    run->slot_exists = PQntuples(r) > 0;
    if (!run->slot_exists) {
        test_none(run, v);
        return;
    }
    test_kind(run, r, v);
    test_end(run, r, v);
    if (!lsn_parse(PQgetvalue(r, 0, 4), &run->slot_lsn))
        run->slot_lsn = 0;
    if (!lsn_parse(PQgetvalue(r, 0, 7), &run->slot_restart))
        run->slot_restart = 0;
    if (applied && run->slot_lsn > applied)
        verdict_lost(v, slot_anew(run),
                     "slot %s was moved or created anew: it stands at %s, the target only at %s",
                     run->arguments->slot, LSN_TEXT(run->slot_lsn), LSN_TEXT(applied));
}

bool slot_test(struct run *run, struct verdicts *v, struct trouble *t)
{
    PGresult *r = source_query(&run->loop, run->loop.sql, t, slot_sql, run->arguments->slot, NULL);

    if (r)
        test_row(run, r, v);
    PQclear(r);
    return r != NULL;
}

bool slot_look(struct run *run, struct trouble *t)
{
    struct verdicts v = {0};

    return slot_test(run, &v, t);
}

char *slot_temporary_name(void)
{
    return mem_printf("pgcdc_%d_%llx", (int)getpid(), (long long)clock_us());
}

bool slot_advance(struct run *run, lsn_t applied, struct trouble *t)
{
    const char *slot = run->arguments->slot;
    PGresult *r = source_query(&run->loop, run->loop.sql, t,
                               "SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn)"
                               " FROM pg_replication_slots"
                               " WHERE slot_name = $1 AND confirmed_flush_lsn = $3::pg_lsn",
                               slot, LSN_TEXT(applied), LSN_TEXT(run->slot_lsn), NULL);

    if (!r)
        return false;
    if (!PQntuples(r))
        msg_die(EX_CONFIG,
                "slot %s was moved by somebody else, from %s: one reader at a time; remove the "
                "state folder to read all tables anew",
                slot, LSN_TEXT(run->slot_lsn));
    PQclear(r);
    run->slot_lsn = applied;
    return true;
}

/* ------------------------------------------------------------------ --check */

/* Columns of later versions are read as those of a row that may lack them. */
static const char report_sql[] =
    "SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
    "  ELSE pg_current_wal_lsn() END, restart_lsn), wal_status, safe_wal_size,"
    " current_setting('idle_replication_slot_timeout', true),"
    " to_jsonb(s) ->> 'failover', active_pid,"
    " (SELECT concat_ws(' ', nullif(application_name, ''), 'from ' || client_addr)"
    "  FROM pg_stat_activity WHERE pid = active_pid)"
    " FROM pg_replication_slots s WHERE slot_name = $1";

static void report(struct run *run, PGresult *r, struct verdicts *v)
{
    const char *slot = run->arguments->slot, *status = PQgetvalue(r, 0, 1);
    const char *idle = PQgetvalue(r, 0, 3), *pid = PQgetvalue(r, 0, 5);

    if (strcmp(status, "lost"))
        verdict_pass(v, "slot %s holds back %s bytes of WAL (wal_status %s)%s", slot,
                     PQgetvalue(r, 0, 0), status,
                     *PQgetvalue(r, 0, 4) == 't' ? ", and is synced to standbys" : "");
    if (!strcmp(status, "unreserved"))
        verdict_note(v,
                     "slot %s is lost at the next checkpoint: run now, and raise "
                     "max_slot_wal_keep_size",
                     slot);
    else if (!PQgetisnull(r, 0, 2))
        verdict_note(v, "slot %s is lost when it holds back %s bytes more (max_slot_wal_keep_size)",
                     slot, PQgetvalue(r, 0, 2));
    if (*idle && strcmp(idle, "0"))
        verdict_note(v,
                     "slot %s is lost when nobody reads it for %s (idle_replication_slot_timeout)",
                     slot, idle);
    if (run->arguments->failover && *PQgetvalue(r, 0, 4) == 'f')
        verdict_note(
            v,
            "slot %s is not synced to standbys: --failover is for a slot that is created; on "
            "a replication connection, ALTER_REPLICATION_SLOT %s (FAILOVER) changes it",
            slot, slot);
    if (*pid)
        verdict_fail(v,
                     "slot %s is being read, by server process %s (%s): one reader at a time; end "
                     "that one first",
                     slot, pid, PQgetvalue(r, 0, 6));
}

void slot_report(struct run *run, struct verdicts *v)
{
    struct trouble t;
    PGresult *r =
        source_query(&run->loop, run->loop.sql, &t, report_sql, run->arguments->slot, NULL);

    if (!r)
        trouble_die(&t, "cannot look at the slot");
    if (PQntuples(r))
        report(run, r, v);
    PQclear(r);
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

bool slot_lock(struct run *run, struct trouble *t)
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
