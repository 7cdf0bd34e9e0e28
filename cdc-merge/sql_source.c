#include "sql_source.h"

#include <inttypes.h>
#include <string.h>

#include "quote.h"
#include "sql_columns.h"

void sql_target(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    quote_table(sql, at->catalog, s->shape->schema, s->shape->name);
}

void sql_join_permit(struct buf *sql)
{
    buf_str(sql, " JOIN parquet.`");
    buf_char(sql, SQL_PERMIT);
    buf_str(sql, "` AS p ON p._permit = 1");
}

void sql_merge_into(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    buf_str(sql, "MERGE INTO ");
    sql_target(sql, at, s);
    buf_str(sql, " AS t\nUSING (");
}

void sql_empty_source(struct buf *sql)
{
    buf_str(sql, "SELECT _permit FROM parquet.`");
    buf_char(sql, SQL_PERMIT);
    buf_str(sql, "`) AS s\nON t._cdc_seq = -s._permit");
}

bool sql_is_unchanged(const struct staged *s, const struct target_column *c)
{
    return staged_is_unchanged(s, c->attnum);
}

bool sql_has_carried(const struct staged *s)
{
    for (size_t i = s->first_file; i < s->nfiles; i++)
        if (s->files[i].carries)
            return true;
    return false;
}

static bool has_unchanged(const struct staged *s)
{
    for (size_t i = 0; i < sizeof s->unchanged; i++)
        if (s->unchanged[i])
            return true;
    return false;
}

/* Whether equal keys may have come with different texts. */
static bool has_approximate_key(const struct shape *s)
{
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (s->columns[i].key && s->columns[i].approximate)
            return true;
    return false;
}

/* Whether two staged rows can have the same key. */
static bool has_rivals(const struct staged *s)
{
    return s->nfiles - s->first_file > 1 || has_approximate_key(s->shape);
}

static size_t count_hops(const struct staged *s)
{
    return staged_hops(s, !has_approximate_key(s->shape));
}

/* ---- one file ---- */

static void put_column(struct buf *sql, const struct target_column *c)
{
    sql_converted(sql, c, c->staged);
    if (c->variant)
        buf_printf(sql, " AS %s", c->staged);
}

static void put_text(struct buf *sql, const char *text)
{
    quote_text(sql, text, strlen(text));
}

/* What the window and the hops need of each file beyond its columns. */
static void put_details(struct buf *sql, const struct staged *s, size_t file)
{
    const struct shape *shape = s->shape;
    if (has_rivals(s))
        buf_printf(sql, ", %zu AS _part", file);
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        const struct target_column *c = &shape->columns[i];
        if (!sql_is_unchanged(s, c))
            continue;
        buf_printf(sql, ", IF(%sarray_contains(_unchanged, %d), NULL, struct(",
                   shape->soft ? "" : "_removed OR ", c->attnum);
        sql_converted(sql, c, c->staged);
        buf_str(sql, " AS v");
        if (c->fallible) {
            buf_str(sql, ", try_element_at(_cdc_unrepresentable, ");
            put_text(sql, c->name);
            buf_str(sql, ") AS e");
        }
        buf_printf(sql, ")) AS x%d", c->attnum);
    }
    if (!sql_has_carried(s))
        return;
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        const struct target_column *c = &shape->columns[i];
        if (c->key)
            buf_printf(sql, ", %s", c->carried);
    }
}

/* The columns that are ours. Rows of a file that has ended are gone since then, unless they were
 * already. */
static void put_own(struct buf *sql, const struct shape *s, const struct staged_file *f)
{
    static const char *const own[] = {
        [KEYED] = "_removed", [MULTISET] = "_cdc_row, _count", [LOG] = "_cdc_op, _cdc_unchanged"};
    if (!f->ended)
        buf_printf(sql, "%s, _cdc_lsn, _cdc_seq, _cdc_commit_time, _cdc_unrepresentable",
                   own[s->kind]);
    else
        buf_printf(sql,
                   "true AS _removed, IF(_removed, _cdc_lsn, %" PRIu64 ") AS _cdc_lsn, "
                   "IF(_removed, _cdc_seq, %" PRIu64 ") AS _cdc_seq, "
                   "IF(_removed, _cdc_commit_time, timestamp_micros(%" PRId64
                   ")) AS _cdc_commit_time, _cdc_unrepresentable",
                   f->end.lsn, f->end.seq, f->end.time);
}

/* The key columns, with commas between them. */
static void put_keys(struct buf *sql, const struct shape *s)
{
    const char *comma = "";
    for (unsigned i = 0; i < s->ncolumns; i++) {
        if (!s->columns[i].key)
            continue;
        buf_printf(sql, "%s%s", comma, s->columns[i].staged);
        comma = ", ";
    }
}

static void put_path(struct buf *sql, const char *folder, const char *name)
{
    buf_str(sql, " FROM parquet.`");
    quote_path(sql, folder);
    buf_char(sql, '/');
    quote_path(sql, name);
    buf_char(sql, '`');
}

/* The columns of an attempt at a snapshot, which is of this number, from 0. */
static void put_attempt(struct buf *sql, const struct shape *s, size_t number)
{
    for (unsigned k = 0; k < s->ncolumns; k++) {
        put_column(sql, &s->columns[k]);
        buf_str(sql, ", ");
    }
    buf_printf(sql,
               "_removed, _cdc_lsn, _cdc_seq, _cdc_commit_time, _cdc_unrepresentable, %zu AS "
               "_attempt",
               number);
}

/* Rows of a snapshot that goes on from earlier attempts: of the keys that the last one has, the
 * newest row that is whole. */
static void put_resumed(struct buf *sql, const struct sql_place *at, const struct staged *s,
                        bool details)
{
    const struct shape *shape = s->shape;
    buf_str(sql, "SELECT ");
    for (unsigned k = 0; k < shape->ncolumns; k++)
        buf_printf(sql, "%s, ", shape->columns[k].staged);
    buf_str(sql, "_removed, IF(_removed, CAST(raise_error(");
    struct buf message = {0};
    buf_printf(&message, "pgcdc: %s: a row of an earlier attempt is not staged", shape->source);
    quote_text(sql, message.data, message.len);
    buf_free(&message);
    buf_str(sql, ") AS BIGINT), _cdc_lsn) AS _cdc_lsn, _cdc_seq, _cdc_commit_time, "
                 "_cdc_unrepresentable");
    if (details)
        put_details(sql, s, 0);
    buf_str(sql, " FROM (\nSELECT *, max(_attempt) OVER (PARTITION BY ");
    put_keys(sql, shape);
    buf_str(sql, ") AS _last, row_number() OVER (PARTITION BY ");
    put_keys(sql, shape);
    buf_str(sql, " ORDER BY _removed, _attempt DESC) AS _number FROM (\n");
    for (size_t i = 0; i < s->nearlier; i++) {
        buf_str(sql, "SELECT ");
        put_attempt(sql, shape, i);
        put_path(sql, at->staging, s->earlier[i]);
        buf_str(sql, "\nUNION ALL\n");
    }
    buf_str(sql, "SELECT ");
    put_attempt(sql, shape, s->nearlier);
    put_path(sql, at->folder, s->folder);
    buf_printf(sql, ")) WHERE _last = %zu AND _number = 1", s->nearlier);
}

static void put_files(struct buf *sql, const struct sql_place *at, const struct staged *s,
                      bool details)
{
    const struct shape *shape = s->shape;
    if (s->nearlier) {
        put_resumed(sql, at, s, details);
        return;
    }
    for (size_t i = s->first_file; i < s->nfiles; i++) {
        const struct staged_file *f = &s->files[i];
        if (i > s->first_file)
            buf_str(sql, "\nUNION ALL\n");
        buf_str(sql, "SELECT ");
        for (unsigned k = 0; k < shape->ncolumns; k++) {
            const struct target_column *c = &shape->columns[k];
            if (sql_is_unchanged(s, c))
                continue;
            put_column(sql, c);
            buf_str(sql, ", ");
        }
        put_own(sql, shape, f);
        if (details)
            put_details(sql, s, i);
        put_path(sql, at->folder, f->name);
    }
}

void sql_files(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    put_files(sql, at, s, false);
}

/* ---- one row per key ---- */

/* The columns that go through every step as they are. */
static void put_passing(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->shape;
    for (unsigned i = 0; i < shape->ncolumns; i++)
        if (!sql_is_unchanged(s, &shape->columns[i]))
            buf_printf(sql, "s.%s, ", shape->columns[i].staged);
    buf_str(sql, "s._removed, s._cdc_lsn, s._cdc_seq, s._cdc_commit_time, s._cdc_unrepresentable");
}

/* Oldest first; where a key is left and taken at once (0 becomes -0) the row that stays is newer.
 */
static const char order[] = "ORDER BY _part, _cdc_lsn, _cdc_seq, _removed DESC";

/* The first column of a carried key: it is NULL if nothing is carried. */
static const char *carried_mark(const struct shape *s)
{
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (s->columns[i].key)
            return s->columns[i].carried;
    return NULL;
}

/* b: every staged row, with the values that it has once the rows of the same key before it are
 * reckoned with: those of the same life, for a row that came from another key begins a new one
 * (_life). _next is the part of the key's next row. k… and _at are where the values of this life
 * have to be looked up further: at that key, before that part. */
static void put_history(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->shape;
    bool carried = sql_has_carried(s);
    const char *mark = carried_mark(shape);

    if (carried) {
        buf_printf(sql, ",\nl AS (SELECT *, count(%s) OVER (PARTITION BY ", mark);
        put_keys(sql, shape);
        buf_printf(sql, " %s) AS _life FROM f)", order);
    }
    buf_str(sql, ",\nb AS (SELECT ");
    put_passing(sql, s);
    for (unsigned i = 0; i < shape->ncolumns; i++)
        if (sql_is_unchanged(s, &shape->columns[i]))
            buf_printf(sql, ", last_value(s.x%d, true) OVER w AS x%d", shape->columns[i].attnum,
                       shape->columns[i].attnum);
    for (unsigned i = 0; carried && i < shape->ncolumns; i++)
        if (shape->columns[i].key)
            buf_printf(sql, ", first_value(s.%s) OVER w AS %s", shape->columns[i].carried,
                       shape->columns[i].carried);
    if (carried)
        buf_printf(sql, ", first_value(IF(s.%s IS NULL, NULL, s._part)) OVER w AS _at", mark);
    buf_str(sql, ", s._part, lead(_part) OVER (PARTITION BY ");
    put_keys(sql, shape);
    buf_printf(sql, " %s) AS _next FROM %s AS s\n  WINDOW w AS (PARTITION BY ", order,
               carried ? "l" : "f");
    put_keys(sql, shape);
    buf_printf(sql, "%s %s))", carried ? ", _life" : "", order);
}

/* s0: of each key the newest row; s1 and so on: with the values that the next hop finds. */
static void put_hops(struct buf *sql, const struct staged *s)
{
    const struct shape *shape = s->shape;
    buf_str(sql, ",\ns0 AS (SELECT * FROM b WHERE _next IS NULL)");
    for (size_t hop = 1; hop <= count_hops(s); hop++) {
        buf_printf(sql, ",\ns%zu AS (SELECT ", hop);
        put_passing(sql, s);
        for (unsigned i = 0; i < shape->ncolumns; i++)
            if (sql_is_unchanged(s, &shape->columns[i]))
                buf_printf(sql, ", coalesce(s.x%d, b.x%d) AS x%d", shape->columns[i].attnum,
                           shape->columns[i].attnum, shape->columns[i].attnum);
        for (unsigned i = 0; i < shape->ncolumns; i++)
            if (shape->columns[i].key)
                buf_printf(sql, ", IF(b._at IS NULL, s.%s, b.%s) AS %s", shape->columns[i].carried,
                           shape->columns[i].carried, shape->columns[i].carried);
        buf_printf(sql, ", b._at FROM s%zu AS s LEFT JOIN b\n  ON ", hop - 1);
        for (unsigned i = 0; i < shape->ncolumns; i++)
            if (shape->columns[i].key)
                buf_printf(sql, "b.%s = s.%s AND ", shape->columns[i].staged,
                           shape->columns[i].carried);
        buf_str(sql, "b._part < s._at AND (b._next IS NULL OR b._next >= s._at))");
    }
}

/* What carried values are in the target, under the key that they were carried from. */
static void put_carried(struct buf *sql, const struct sql_place *at, const struct staged *s,
                        size_t hops)
{
    const struct shape *shape = s->shape;
    const char *some_key = NULL;
    for (unsigned i = 0; i < shape->ncolumns; i++)
        if (shape->columns[i].key)
            some_key = shape->columns[i].name;

    put_passing(sql, s);
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        const struct target_column *c = &shape->columns[i];
        if (!sql_is_unchanged(s, c))
            continue;
        buf_printf(sql, ",\n  CASE WHEN s.x%d IS NOT NULL THEN s.x%d WHEN o.", c->attnum,
                   c->attnum);
        quote_name(sql, some_key);
        buf_str(sql, " IS NOT NULL THEN struct(o.");
        quote_name(sql, c->name);
        buf_str(sql, " AS v");
        if (c->fallible) {
            buf_str(sql, ", try_element_at(o._cdc_unrepresentable, ");
            put_text(sql, c->name);
            buf_str(sql, ") AS e");
        }
        buf_printf(sql, ") END AS x%d", c->attnum);
    }
    buf_printf(sql, ",\n  s.%s IS NOT NULL AS _carried\nFROM s%zu AS s", carried_mark(shape), hops);
    sql_join_permit(sql);
    buf_str(sql, "\nLEFT JOIN ");
    sql_target(sql, at, s);
    buf_str(sql, " AS o ON ");
    if (s->cleared && !shape->soft) /* nothing is carried from before a TRUNCATE */
        buf_str(sql, "false AND ");
    const char *and = "";
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        if (!shape->columns[i].key)
            continue;
        buf_printf(sql, "%so.", and);
        quote_name(sql, shape->columns[i].name);
        buf_printf(sql, " = s.%s", shape->columns[i].carried);
        and = " AND ";
    }
}

void sql_changed_rows(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    bool rivals = has_rivals(s), unchanged = has_unchanged(s), carried = sql_has_carried(s);
    size_t hops = 0;
    if (rivals || carried) {
        buf_str(sql, "WITH f AS (\n");
        put_files(sql, at, s, true);
        buf_str(sql, ")");
    }
    if (rivals && unchanged) {
        put_history(sql, s);
        put_hops(sql, s);
        hops = count_hops(s);
    } else if (rivals) {
        buf_str(sql, ",\ns0 AS (SELECT * FROM (SELECT *, lead(_part) OVER (PARTITION BY ");
        put_keys(sql, s->shape);
        buf_printf(sql, " %s) AS _next FROM f) WHERE _next IS NULL)", order);
    } else if (carried) {
        buf_str(sql, ",\ns0 AS (SELECT * FROM f)");
    }
    if (rivals || carried)
        buf_str(sql, "\n");
    buf_str(sql, "SELECT ");
    if (carried) {
        put_carried(sql, at, s, hops);
        return;
    }
    buf_str(sql, "s.* FROM ");
    if (rivals) {
        buf_printf(sql, "s%zu AS s", hops);
    } else {
        buf_str(sql, "(\n");
        put_files(sql, at, s, true);
        buf_str(sql, ") AS s");
    }
    sql_join_permit(sql);
}
