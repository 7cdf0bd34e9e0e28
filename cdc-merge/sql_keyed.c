#include "sql_keyed.h"

#include <inttypes.h>
#include <string.h>

#include "quote.h"
#include "sql_columns.h"
#include "sql_source.h"

/* The digits of a DECIMAL, with its point. */
static void put_decimal(struct buf *sql, __int128 value, unsigned scale)
{
    char digits[48], *p = digits + sizeof digits;
    unsigned __int128 left = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;

    *--p = '\0';
    for (unsigned n = 0; left || n <= scale; left /= 10, n++) {
        if (scale && n == scale)
            *--p = '.';
        *--p = (char)('0' + (int)(left % 10));
    }
    buf_printf(sql, "%s%s", value < 0 ? "-" : "", p);
}

static void put_bound(struct buf *sql, const struct parquet_column *c, __int128 value,
                      const struct buf *text)
{
    switch (c->type) {
    case PARQUET_STRING:
        quote_text(sql, text->data, text->len);
        break;
    case PARQUET_DATE:
        buf_printf(sql, "date_from_unix_date(%" PRId64 ")", (int64_t)value);
        break;
    case PARQUET_TIMESTAMP:
        buf_printf(sql, "timestamp_micros(%" PRId64 ")", (int64_t)value);
        break;
    case PARQUET_DECIMAL:
        buf_str(sql, "CAST('");
        put_decimal(sql, value, c->scale);
        buf_printf(sql, "' AS DECIMAL(%u,%u))", c->precision, c->scale);
        break;
    default:
        buf_printf(sql, "%" PRId64, (int64_t)value);
    }
}

/* BETWEEN on key columns, so that the engine can skip files that have none of the keys. */
static void put_bounds(struct buf *sql, const struct staged *s)
{
    const struct staged_bounds *b = s->bounds;
    for (unsigned i = 0; i < s->shape->ncolumns && b < s->bounds + STAGED_BOUNDS; i++) {
        const struct target_column *c = &s->shape->columns[i];
        if (!c->key)
            continue;
        if (b->any && !b->useless) {
            buf_str(sql, " AND t.");
            quote_name(sql, c->name);
            buf_str(sql, " BETWEEN ");
            put_bound(sql, &c->parquet, b->min, &b->min_text);
            buf_str(sql, " AND ");
            put_bound(sql, &c->parquet, b->max, &b->max_text);
        }
        b++;
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
                   s->shape->source, c->name);
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
    const struct shape *shape = s->shape;
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
        sql_added_value(sql, added);
}

static void put_update(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->shape;
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
    const struct shape *shape = s->shape;
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

/* ---- statements ---- */

/* A row that somebody else wrote has no position, and every change is newer. */
static void put_older(struct buf *sql, const struct staged_position *at)
{
    buf_printf(sql,
               "(t._cdc_lsn IS NULL OR t._cdc_lsn < %" PRIu64 " OR t._cdc_lsn = %" PRIu64
               " AND t._cdc_seq < %" PRIu64 ")",
               at->lsn, at->lsn, at->seq);
}

/* Rows that the source does not have are no more, as of a position. */
static void put_rest(struct buf *sql, const struct staged *s, bool older,
                     const struct staged_position *at)
{
    buf_str(sql, "\nWHEN NOT MATCHED BY SOURCE");
    if (s->shape->soft)
        buf_str(sql, " AND t._cdc_deleted_at IS NULL");
    if (older) {
        buf_str(sql, " AND ");
        put_older(sql, at);
    }
    if (s->shape->soft)
        buf_printf(sql,
                   " THEN UPDATE SET _cdc_lsn = %" PRIu64 ", _cdc_seq = %" PRIu64
                   ", _cdc_commit_time = timestamp_micros(%" PRId64
                   "), _cdc_deleted_at = timestamp_micros(%" PRId64 ")",
                   at->lsn, at->seq, at->time, at->time);
    else
        buf_str(sql, " THEN DELETE");
}

static void put_source(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    sql_changed_rows(sql, at, s);
    buf_str(sql, ") AS s");
    put_on_key(sql, s->shape);
}

void sql_replace_keyed(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    sql_merge_into(sql, at, s);
    if (s->nfiles == s->first_file) {
        sql_empty_source(sql);
    } else {
        put_source(sql, at, s);
        buf_str(sql, "\nWHEN MATCHED");
        put_update(sql, s);
        buf_str(sql, "\nWHEN NOT MATCHED");
        put_insert(sql, s);
    }
    put_rest(sql, s, false, &s->as_of);
}

/* What is done with the rows of the source, where deletes are hard; and where they are soft: then a
 * row that came and went within the batch is there as well, if all its values are known. */
static void put_hard_changes(struct buf *sql, const struct staged *s, const char *newer)
{
    buf_printf(sql, "\nWHEN MATCHED AND %s AND s._removed THEN DELETE", newer);
    buf_printf(sql, "\nWHEN MATCHED AND %s", newer);
    put_update(sql, s);
    buf_str(sql, "\nWHEN NOT MATCHED AND NOT s._removed");
    put_insert(sql, s);
}

static void put_soft_changes(struct buf *sql, const struct staged *s, const char *newer)
{
    const struct shape *shape = s->shape;
    const char *and = " AND (NOT s._removed OR ", *end = "";
    buf_printf(sql, "\nWHEN MATCHED AND %s", newer);
    put_update(sql, s);
    buf_str(sql, "\nWHEN NOT MATCHED");
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        if (!sql_is_unchanged(s, &shape->columns[i]))
            continue;
        buf_printf(sql, "%ss.x%d IS NOT NULL", and, shape->columns[i].attnum);
        and = " AND ";
        end = ")";
    }
    buf_str(sql, end);
    put_insert(sql, s);
}

void sql_change_keyed(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    static const char newer[] =
        "(t._cdc_lsn IS NULL OR s._cdc_lsn > t._cdc_lsn OR s._cdc_lsn = t._cdc_lsn AND "
        "s._cdc_seq > t._cdc_seq)";
    sql_merge_into(sql, at, s);
    if (s->nfiles == s->first_file) {
        sql_empty_source(sql);
    } else {
        put_source(sql, at, s);
        put_bounds(sql, s);
        if (s->shape->soft)
            put_soft_changes(sql, s, newer);
        else
            put_hard_changes(sql, s, newer);
    }
    if (s->cleared)
        put_rest(sql, s, true, &s->clear);
}
