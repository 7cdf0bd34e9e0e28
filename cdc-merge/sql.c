#include "sql.h"

#include "quote.h"
#include "sql_columns.h"
#include "sql_keyed.h"
#include "sql_keyless.h"
#include "sql_source.h"

void sql_create(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    const struct shape *shape = s->shape;
    const char *name, *type;
    buf_str(sql, "SELECT ");
    if (s->nfiles == s->first_file) {
        sql_no_rows(sql, shape);
        return;
    }
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        buf_printf(sql, "s.%s AS ", shape->columns[i].staged);
        quote_name(sql, shape->columns[i].name);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(shape, i, &type)); i++) {
        buf_str(sql, i > 0 ? ", " : "");
        sql_added_value(sql, name);
        buf_printf(sql, " AS %s", name);
    }
    buf_str(sql, "\nFROM (\n");
    sql_files(sql, at, s);
    buf_str(sql, ") AS s");
    sql_join_permit(sql);
    if (s->copies)
        sql_copies(sql, "s._count");
}

/* What the kinds of table get. */
static const struct {
    void (*replace)(struct buf *sql, const struct sql_place *at, const struct staged *s);
    void (*change)(struct buf *sql, const struct sql_place *at, const struct staged *s);
} kinds[] = {
    [KEYED] = {sql_replace_keyed, sql_change_keyed},
    [MULTISET] = {sql_replace_keyless, sql_change_keyless},
    [LOG] = {sql_append, sql_append},
};

void sql_replace(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    kinds[s->shape->kind].replace(sql, at, s);
}

void sql_change(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    kinds[s->shape->kind].change(sql, at, s);
}

struct sql_written sql_written(const struct staged *s, bool replace)
{
    struct sql_written w = {0, SQL_ANY};
    uint64_t rows = 0;

    for (size_t i = s->first_file; i < s->nfiles; i++)
        rows += s->files[i].rows;
    if (s->shape->kind == MULTISET) { /* copies that go may meet others, and are counted by SQL */
        if (!s->removes)
            w.least = w.most = s->added;
        return w;
    }
    /* Of a snapshot that goes on from earlier attempts, the last one has every key there is. */
    if (replace || s->shape->kind == LOG)
        w.least = rows;
    /* Where deletes are soft, rows that are no more are updated as well. */
    if (!(s->shape->soft && (replace || s->cleared)))
        w.most = rows;
    return w;
}
