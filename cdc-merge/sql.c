#include "sql.h"

#include <inttypes.h>
#include <string.h>

#include "quote.h"
#include "sql_keyless.h"
#include "sql_source.h"

const char *sql_added_column(const struct shape *s, size_t i, const char **type)
{
    static const char *const columns[][2] = {{"_cdc_lsn", "BIGINT"},
                                             {"_cdc_seq", "BIGINT"},
                                             {"_cdc_commit_time", "TIMESTAMP"},
                                             {"_cdc_unrepresentable", "MAP<STRING,STRING>"},
                                             {"_cdc_row", "STRING"}};
    size_t n = sizeof columns / sizeof *columns;
    if (s->nkey > 0)
        n--; /* the last one is for rows without a key */
    if (i >= n)
        return NULL;
    *type = columns[i][1];
    return columns[i][0];
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
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++)
        buf_printf(sql, "%ss.%s", i > 0 ? ", " : "", name);
}

/* ---- create ---- */

/* A table without rows: a SELECT that has the types and reads the permit, whose row is filtered. */
static void put_no_rows(struct buf *sql, const struct shape *s)
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

void sql_create(struct buf *sql, const struct sql_place *at, const struct staged *s,
                const struct sql_property *properties, size_t nproperties)
{
    const struct shape *shape = s->table->shape;
    const char *name, *type;
    buf_str(sql, "CREATE TABLE ");
    sql_target(sql, at, s);
    buf_str(sql, " USING DELTA\nTBLPROPERTIES (");
    for (size_t i = 0; i < nproperties; i++) {
        buf_str(sql, i > 0 ? ", " : "");
        quote_text(sql, properties[i].key, strlen(properties[i].key));
        buf_str(sql, " = ");
        quote_text(sql, properties[i].value, strlen(properties[i].value));
    }
    buf_str(sql, ")\nAS SELECT ");
    if (s->nfiles == s->first_file) {
        put_no_rows(sql, shape);
        return;
    }
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        buf_printf(sql, "s.%s AS ", shape->columns[i].staged);
        quote_name(sql, shape->columns[i].name);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(shape, i, &type)); i++)
        buf_printf(sql, "%ss.%s", i > 0 ? ", " : "", name);
    buf_str(sql, "\nFROM (\n");
    sql_files(sql, at, s);
    buf_str(sql, ") AS s");
    sql_join_permit(sql);
    if (s->copies)
        sql_copies(sql, "s._count");
}

/* ---- merge ---- */

/* BETWEEN on the first key column, so that the engine can skip files that have none of the keys. */
static void put_bounds(struct buf *sql, const struct staged *s)
{
    const struct staged_bounds *b = &s->bounds;
    const struct shape *shape = s->table->shape;
    const struct target_column *c = shape->columns;
    while (!c->key)
        c++;
    for (size_t i = s->first_file; i < s->nfiles; i++)
        if (s->files[i].shape != shape) /* the bounds may be of another type */
            return;
    if (!b->any || b->useless)
        return;
    buf_str(sql, " AND t.");
    quote_name(sql, c->name);
    if (c->parquet.type == PARQUET_STRING) {
        buf_str(sql, " BETWEEN ");
        quote_text(sql, b->min_text.data, b->min_text.len);
        buf_str(sql, " AND ");
        quote_text(sql, b->max_text.data, b->max_text.len);
    } else if (c->parquet.type == PARQUET_DATE) {
        buf_printf(sql,
                   " BETWEEN date_from_unix_date(%" PRId64 ") AND date_from_unix_date(%" PRId64 ")",
                   b->min, b->max);
    } else {
        buf_printf(sql, " BETWEEN %" PRId64 " AND %" PRId64, b->min, b->max);
    }
}

static void put_on_key(struct buf *sql, const struct shape *s)
{
    const char *and = "\nON ";
    for (unsigned i = 0; i < s->ncolumns; i++) {
        if (!s->columns[i].key)
            continue;
        buf_printf(sql, "%st.", and);
        quote_name(sql, s->columns[i].name);
        buf_printf(sql, " = s.%s", s->columns[i].staged);
        and = " AND ";
    }
}

/* The value of a column, from the source row or, where that has it unchanged, the target row. */
static void put_new_value(struct buf *sql, const struct staged *s, const struct target_column *c,
                          bool matched)
{
    if (!sql_is_unchanged(s, c)) {
        buf_printf(sql, "s.%s", c->staged);
        return;
    }
    buf_printf(sql, "CASE WHEN s.x%d IS NOT NULL THEN s.x%d.v ", c->attnum, c->attnum);
    if (!matched || sql_has_carried(s)) { /* NULL would be wrong: rather fail */
        buf_str(sql, matched ? "WHEN s._carried THEN raise_error(" : "ELSE raise_error(");
        struct buf message = {0};
        buf_printf(&message, "pgcdc: %s.%s: an unchanged value is neither staged nor in the table",
                   s->table->source, c->name);
        quote_text(sql, message.data, message.len);
        buf_free(&message);
        buf_str(sql, ") ");
    }
    if (matched) {
        buf_str(sql, "ELSE t.");
        quote_name(sql, c->name);
        buf_char(sql, ' ');
    }
    buf_str(sql, "END");
}

static bool is_unchanged_fallible(const struct staged *s, const struct target_column *c)
{
    return c->fallible && sql_is_unchanged(s, c);
}

/* _cdc_unrepresentable goes with the values: what it says of an unchanged column comes from where
 * the value comes from. An empty map is NULL. */
static void put_unrepresentable(struct buf *sql, const struct staged *s, bool matched)
{
    const struct shape *shape = s->table->shape;
    struct buf names = {0}, entries = {0};
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        const struct target_column *c = &shape->columns[i];
        if (!is_unchanged_fallible(s, c))
            continue;
        buf_str(&names, names.len > 0 ? ", " : "");
        quote_text(&names, c->name, strlen(c->name));
        buf_str(&entries, entries.len > 0 ? ", " : "");
        quote_text(&entries, c->name, strlen(c->name));
        if (matched) {
            buf_printf(&entries,
                       ", CASE WHEN s.x%d IS NOT NULL THEN s.x%d.e ELSE "
                       "try_element_at(t._cdc_unrepresentable, ",
                       c->attnum, c->attnum);
            quote_text(&entries, c->name, strlen(c->name));
            buf_str(&entries, ") END");
        } else {
            buf_printf(&entries, ", s.x%d.e", c->attnum);
        }
    }
    if (names.len == 0)
        buf_str(sql, "s._cdc_unrepresentable");
    else
        buf_printf(sql,
                   "try_element_at(filter(array(map_concat(map_filter(coalesce("
                   "s._cdc_unrepresentable, CAST(map() AS MAP<STRING,STRING>)), "
                   "(k, v) -> k NOT IN (%s)), map_filter(map(%s), (k, v) -> v IS NOT NULL))), "
                   "m -> size(m) > 0), 1)",
                   names.data, entries.data);
    buf_free(&names);
    buf_free(&entries);
}

static void put_value(struct buf *sql, const struct staged *s, const char *added, bool matched)
{
    if (strcmp(added, "_cdc_unrepresentable") == 0)
        put_unrepresentable(sql, s, matched);
    else
        buf_printf(sql, "s.%s", added);
}

static void put_update(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->table->shape;
    const char *name, *type;
    buf_str(sql, " THEN UPDATE SET ");
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        quote_name(sql, shape->columns[i].name);
        buf_str(sql, " = ");
        put_new_value(sql, s, &shape->columns[i], true);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(shape, i, &type)); i++) {
        buf_printf(sql, "%s%s = ", i > 0 ? ", " : "", name);
        put_value(sql, s, name, true);
    }
}

static void put_insert(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->table->shape;
    const char *name, *type;
    buf_str(sql, " THEN INSERT (");
    sql_column_names(sql, shape);
    buf_str(sql, ")\n  VALUES (");
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        put_new_value(sql, s, &shape->columns[i], false);
        buf_str(sql, ", ");
    }
    for (size_t i = 0; (name = sql_added_column(shape, i, &type)); i++) {
        buf_str(sql, i > 0 ? ", " : "");
        put_value(sql, s, name, false);
    }
    buf_char(sql, ')');
}

static void put_merge_into(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    buf_str(sql, "MERGE INTO ");
    sql_target(sql, at, s);
    buf_str(sql, " AS t\nUSING (");
}

/* A source whose one row matches nothing: ordinals are never below 0. */
static void put_empty_source(struct buf *sql)
{
    buf_str(sql, "SELECT _permit FROM parquet.`");
    buf_char(sql, SQL_PERMIT);
    buf_str(sql, "`) AS s\nON t._cdc_seq = -s._permit");
}

void sql_replace(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    const struct shape *shape = s->table->shape;
    if (shape->nkey == 0 && s->nfiles > s->first_file) {
        sql_change_keyless(sql, at, s, true);
        return;
    }
    put_merge_into(sql, at, s);
    if (s->nfiles == s->first_file) {
        put_empty_source(sql);
    } else {
        sql_changed_rows(sql, at, s);
        buf_str(sql, ") AS s");
        put_on_key(sql, shape);
        buf_str(sql, "\nWHEN MATCHED");
        put_update(sql, s);
        buf_str(sql, "\nWHEN NOT MATCHED");
        put_insert(sql, s);
    }
    buf_str(sql, "\nWHEN NOT MATCHED BY SOURCE THEN DELETE");
}

/* A row that somebody else wrote has no position, and every change is newer. */
static void put_older_than_clear(struct buf *sql, const struct staged *s)
{
    buf_printf(sql,
               "(t._cdc_lsn IS NULL OR t._cdc_lsn < %" PRIu64 " OR t._cdc_lsn = %" PRIu64
               " AND t._cdc_seq < %" PRIu64 ")",
               s->clear_lsn, s->clear_lsn, s->clear_seq);
}

void sql_change(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    static const char newer[] =
        "(t._cdc_lsn IS NULL OR s._cdc_lsn > t._cdc_lsn OR s._cdc_lsn = t._cdc_lsn AND "
        "s._cdc_seq > t._cdc_seq)";
    const struct shape *shape = s->table->shape;
    bool rows = s->nfiles > s->first_file;
    if (shape->nkey == 0 && rows) {
        sql_change_keyless(sql, at, s, s->cleared);
        return;
    }
    put_merge_into(sql, at, s);
    if (rows) {
        sql_changed_rows(sql, at, s);
        buf_str(sql, ") AS s");
        put_on_key(sql, shape);
        put_bounds(sql, s);
        buf_printf(sql, "\nWHEN MATCHED AND %s AND s._removed THEN DELETE", newer);
        buf_printf(sql, "\nWHEN MATCHED AND %s", newer);
        put_update(sql, s);
        buf_str(sql, "\nWHEN NOT MATCHED AND NOT s._removed");
        put_insert(sql, s);
    } else {
        put_empty_source(sql);
    }
    if (s->cleared) {
        buf_str(sql, "\nWHEN NOT MATCHED BY SOURCE");
        if (shape->nkey > 0) {
            buf_str(sql, " AND ");
            put_older_than_clear(sql, s);
        }
        buf_str(sql, " THEN DELETE");
    }
}
