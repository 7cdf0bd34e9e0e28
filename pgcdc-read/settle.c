#include "settle.h"

#include "frames.h"
#include "msg.h"
#include "shape.h"

bool settle_look(struct run *run, struct trouble *t)
{
    for (struct table *table = run->tables; table; table = table->hh.next) {
        if (!table->listed || !table->shape || attributes_stamp(table->attributes) == table->stamp)
            continue;
        if (!attributes_read(run, table, 0, t))
            return false;
        table->settle = table->attributes->lsn;
    }
    return true;
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
        if (table->settle && table->settle <= position && !table->unread &&
            !define(run, table, position, t))
            return false;
    return true;
}
