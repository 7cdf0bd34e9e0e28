#include "sql_columns.h"

#include <string.h>

#include "quote.h"
#include "sql.h"

/* The columns that we add, and which tables get them. */
enum owner { EVERY, WITHOUT_KEY, SOFT_DELETES, APPENDED };

static const struct {
    const char *name, *type;
    enum owner owner;
} added[] = {
    {"_cdc_lsn", "BIGINT", EVERY},
    {"_cdc_seq", "BIGINT", EVERY},
    {"_cdc_commit_time", "TIMESTAMP", EVERY},
    {"_cdc_unrepresentable", "MAP<STRING,STRING>", EVERY},
    {"_cdc_row", "STRING", WITHOUT_KEY},
    {"_cdc_deleted_at", "TIMESTAMP", SOFT_DELETES},
    {"_cdc_op", "STRING", APPENDED},
    {"_cdc_unchanged", "ARRAY<STRING>", APPENDED},
};

static bool owns(const struct shape *s, enum owner owner)
{
    return owner == EVERY || (owner == WITHOUT_KEY && s->kind == MULTISET) ||
           (owner == SOFT_DELETES && s->soft) || (owner == APPENDED && s->kind == LOG);
}

const char *sql_added_column(const struct shape *s, size_t i, const char **type)
{
    for (size_t k = 0; k < sizeof added / sizeof *added; k++) {
        if (!owns(s, added[k].owner) || i-- > 0)
            continue;
        *type = added[k].type;
        return added[k].name;
    }
    return NULL;
}

void sql_added_value(struct buf *sql, const char *name)
{
    if (strcmp(name, "_cdc_deleted_at") == 0)
        buf_str(sql, "IF(s._removed, s._cdc_commit_time, NULL)");
    else
        buf_printf(sql, "s.%s", name);
}

void sql_converted(struct buf *sql, const struct target_column *c, const char *staged)
{
    if (!c->variant)
        buf_str(sql, staged);
    else if (c->parquet.shape == PARQUET_LIST)
        buf_printf(sql, "transform(%s, v -> parse_json(v))", staged);
    else
        buf_printf(sql, "parse_json(%s)", staged);
}

void sql_column_names(struct buf *sql, const struct shape *s)
{
    const char *name, *type;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        quote_name(sql, s->columns[i].name);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++)
        buf_printf(sql, "%s%s", i > 0 ? ", " : "", name);
}

void sql_column_values(struct buf *sql, const struct shape *s)
{
    const char *name, *type;
    for (unsigned i = 0; i < s->ncolumns; i++)
        buf_printf(sql, "s.%s, ", s->columns[i].staged);
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++) {
        buf_str(sql, i > 0 ? ", " : "");
        sql_added_value(sql, name);
    }
}

void sql_no_rows(struct buf *sql, const struct shape *s)
{
    const char *name, *type;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        buf_printf(sql, "CAST(NULL AS %s) AS ", s->columns[i].type);
        quote_name(sql, s->columns[i].name);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++)
        buf_printf(sql, "%sCAST(NULL AS %s) AS %s", i > 0 ? ", " : "", type, name);
    buf_str(sql, "\nFROM parquet.`");
    buf_char(sql, SQL_PERMIT);
    buf_str(sql, "` WHERE _permit = 0");
}
