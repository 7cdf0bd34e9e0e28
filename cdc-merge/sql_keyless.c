#include "sql_keyless.h"

#include "sql_columns.h"
#include "sql_source.h"

void sql_copies(struct buf *sql, const char *count)
{
    buf_printf(sql, "\nLATERAL VIEW explode(sequence(CAST(1 AS BIGINT), %s)) e AS _copy", count);
}

void sql_append(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    buf_str(sql, "INSERT INTO ");
    sql_target(sql, at, s);
    buf_str(sql, " (");
    sql_column_names(sql, s->shape);
    buf_str(sql, ")\nSELECT ");
    if (s->nfiles == s->first_file) {
        sql_no_rows(sql, s->shape);
        return;
    }
    sql_column_values(sql, s->shape);
    buf_str(sql, "\nFROM (\n");
    sql_files(sql, at, s);
    buf_str(sql, ") AS s");
    sql_join_permit(sql);
    if (s->copies)
        sql_copies(sql, "s._count");
}

/* n: per row text what the batch adds up to, and the values of one such row; without texts, what is
 * added. */
static void put_net(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    const struct shape *shape = s->shape;
    buf_printf(sql, "WITH n AS (SELECT _cdc_row, %s AS _count, %s(struct(",
               shape->texts ? "sum(_count)" : "_count", shape->texts ? "any_value" : "");
    for (unsigned i = 0; i < shape->ncolumns; i++)
        buf_printf(sql, "%s, ", shape->columns[i].staged);
    buf_str(sql, "_cdc_lsn, _cdc_seq, _cdc_commit_time, _cdc_unrepresentable)) AS r FROM (\n");
    sql_files(sql, at, s);
    buf_str(sql, shape->texts ? ")\nGROUP BY _cdc_row)" : "))");
}

/* Delta cannot remove two of five equal rows: a MERGE removes every row that it matches. So all
 * copies go (the row that has _match), and those that shall stay come anew (the rows without).
 * `anew`: remove all that is in the table first. */
static void put_merge(struct buf *sql, const struct sql_place *at, const struct staged *s,
                      bool anew)
{
    sql_merge_into(sql, at, s);
    put_net(sql, at, s);
    if (anew) {
        buf_str(sql, "\nSELECT CAST(NULL AS STRING) AS _match, n._cdc_row, n.r.* FROM n");
        sql_join_permit(sql);
        sql_copies(sql, "n._count");
        buf_str(sql, "\nWHERE n._count > 0");
    } else {
        buf_str(sql, ",\nh AS (SELECT o._cdc_row, count(*) AS _have FROM ");
        sql_target(sql, at, s);
        buf_str(sql, " AS o LEFT SEMI JOIN n ON n._cdc_row = o._cdc_row AND n._count < 0\n"
                     "GROUP BY o._cdc_row)\n"
                     "SELECT IF(_copy = 0, n._cdc_row, NULL) AS _match, n._cdc_row, n.r.* FROM n");
        sql_join_permit(sql);
        buf_str(sql, "\nLEFT JOIN h ON h._cdc_row = n._cdc_row\n"
                     "LATERAL VIEW explode(CASE WHEN n._count > 0 "
                     "THEN sequence(CAST(1 AS BIGINT), n._count) "
                     "ELSE sequence(CAST(0 AS BIGINT), greatest(coalesce(h._have, 0) + n._count, "
                     "CAST(0 AS BIGINT))) END) e AS _copy\n"
                     "WHERE n._count <> 0");
    }
    buf_str(sql, ") AS s\nON t._cdc_row = s._match");
    if (!anew)
        buf_str(sql, "\nWHEN MATCHED THEN DELETE");
    buf_str(sql, "\nWHEN NOT MATCHED AND s._match IS NULL THEN INSERT (");
    sql_column_names(sql, s->shape);
    buf_str(sql, ")\n  VALUES (");
    sql_column_values(sql, s->shape);
    buf_str(sql, ")");
    if (anew)
        buf_str(sql, "\nWHEN NOT MATCHED BY SOURCE THEN DELETE");
}

void sql_replace_keyless(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    if (s->nfiles > s->first_file) {
        put_merge(sql, at, s, true);
        return;
    }
    sql_merge_into(sql, at, s);
    sql_empty_source(sql);
    buf_str(sql, "\nWHEN NOT MATCHED BY SOURCE THEN DELETE");
}

void sql_change_keyless(struct buf *sql, const struct sql_place *at, const struct staged *s)
{
    if (s->cleared)
        sql_replace_keyless(sql, at, s);
    else if (s->removes)
        put_merge(sql, at, s, false);
    else
        sql_append(sql, at, s);
}
