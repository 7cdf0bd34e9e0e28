#include "settle.h"

#include <string.h>

#include "figures.h"
#include "frames.h"
#include "msg.h"
#include "shape.h"

bool settle_look(struct run *run, struct trouble *t)
{
    for (struct table *table = run->tables; table; table = table->hh.next) {
        if (!table->listed || !table->shape ||
            (!table->attributes->unsettled && attributes_stamp(table->attributes) == table->stamp &&
             !strcmp(table->shape->relation->table, table->name)))
            continue;
        if (!attributes_read(run, table, 0, t))
            return false;
        table->settle = table->attributes->lsn;
    }
    return true;
}

bool settle_ask_wal(struct run *run, lsn_t *end, int64_t *writer_delay, struct trouble *t)
{
    PGresult *r = source_query(&run->loop, run->loop.sql, t,
                               "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                               " ELSE pg_current_wal_flush_lsn() END, setting FROM pg_settings"
                               " WHERE name = 'wal_writer_delay'",
                               NULL);

    if (!r)
        return false;
    *end = 0;
    lsn_parse(PQgetvalue(r, 0, 0), end);
    *writer_delay = field_number(r, 0, 1);
    PQclear(r);
    figures_wal_end(*end);
    return true;
}

static lsn_t wal_end(struct run *run, int64_t *writer_delay)
{
    struct trouble t;
    lsn_t lsn;

    if (!settle_ask_wal(run, &lsn, writer_delay, &t))
        trouble_die(&t, "cannot ask where the WAL ends");
    return lsn;
}

/* A look is as of what was written into the WAL, and the stream ends at what is on disk. Commits
 * are there within three rounds of the server's WAL writer, asynchronous ones too; what is not
 * there by then need not ever be. */
lsn_t settle_wal_end(struct run *run)
{
    int64_t delay, since = clock_ms();
    lsn_t wanted = 0, lsn = wal_end(run, &delay);

    for (const struct table *table = run->tables; table; table = table->hh.next)
        if (table->settle > wanted)
            wanted = table->settle;
    while (lsn < wanted && clock_ms() < since + 3 * delay) {
        loop_wait(&run->loop, -1, 0, clock_ms() + delay / 10);
        lsn = wal_end(run, &delay);
    }
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->settle > lsn)
            table->settle = lsn;
    return lsn;
}

/* Later changes are withheld; a run that comes after a crash has to know that. */
void settle_unread(struct run *run, struct table *table, lsn_t position, const char *why)
{
    if (run->arguments->snapshot == SNAPSHOT_NEVER)
        msg_die(EX_CONFIG, "table %s.%s %s: without --snapshot never it would be read again",
                table->schema, table->name, why);
    msg_warn("table %s.%s %s: reading it again", table->schema, table->name, why);
    catalog_unread(run, table);
    progress_write(run, position);
}

static bool define(struct run *run, struct table *table, lsn_t position, struct trouble *t)
{
    const char *why;

    if (!table->attributes->exists) {
        table->settle = 0; /* the table is gone, and has no shape any more */
        return true;
    }
    struct shape *now = shape_of_catalog(run, table, t, &why);

    if (!now && !why)
        return false;
    if (!now) {
        settle_unread(run, table, position, why);
    } else if (shape_same(now->relation, table->shape->relation)) {
        shape_free(now);
    } else {
        now->relation->lsn = table->settle;
        relation_pack(run->loop.out, now->relation);
        frames_define(run->loop.out, table->oid);
        shape_add(table, now);
        table->told = true;
    }
    table->settle = 0;
    return true;
}

bool settle_define(struct run *run, lsn_t position, struct trouble *t)
{
    for (struct table *table = run->tables; table; table = table->hh.next)
        if (table->settle && table->settle <= position && table->selected && !table->unread &&
            !define(run, table, position, t))
            return false;
    return true;
}
