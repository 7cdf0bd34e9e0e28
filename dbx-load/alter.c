#include "alter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clustering.h"
#include "colmap.h"
#include "names.h"
#include "quote.h"
#include "widen.h"

#define TEXTS "_cdc_unrepresentable"
#define UNCHANGED "_cdc_unchanged"

static void quoted(struct buf *b, const char *text)
{
    quote_text(b, text, strlen(text));
}

static char *add_sql(const struct table *t, const struct change *c)
{
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s ADD COLUMNS (", t->name);
    for (unsigned i = 0; i < c->ncolumns; i++) {
        buf_str(&b, i ? ", " : "");
        quote_name(&b, c->columns[i]->name);
        buf_printf(&b, " %s", c->columns[i]->type);
    }
    buf_char(&b, ')');
    return b.data;
}

/* Delta changes an array's type by its element's. */
static char *widen_sql(const struct table *t, const struct change *c)
{
    const char *element = widen_element(c->text), *type = element ? element : c->text;
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s ALTER COLUMN ", t->name);
    quote_name(&b, c->name);
    buf_printf(&b, "%s TYPE %.*s", element ? ".element" : "",
               (int)(strlen(type) - (element ? 1 : 0)), type);
    return b.data;
}

static char *rename_sql(const struct table *t, const struct change *c)
{
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s RENAME COLUMN ", t->name);
    quote_name(&b, c->name);
    buf_str(&b, " TO ");
    quote_name(&b, c->text);
    return b.data;
}

static char *drop_sql(const struct table *t, const struct change *c)
{
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s DROP COLUMN ", t->name);
    quote_name(&b, c->name);
    return b.data;
}

/* ------------------------------------------------------------------ rows */

/* One source row that is matched by many of the target. */
static void merge_into(struct buf *b, const struct table *t, const char *defaults,
                       const char *permit)
{
    buf_printf(b, "MERGE INTO %s AS t\nUSING (SELECT ", t->name);
    if (defaults) {
        buf_str(b, "f.* FROM parquet.`");
        quote_path(b, defaults);
        buf_str(b, "` AS f JOIN");
    } else {
        buf_str(b, "p._permit FROM");
    }
    buf_str(b, " parquet.`");
    quote_path(b, permit);
    buf_str(b, defaults ? "` AS p ON p._permit = 1" : "` AS p WHERE p._permit = 1");
    buf_str(b, ") AS s\nON ");
}

/* An empty map is NULL. */
static void set_texts(struct buf *b, const char *texts)
{
    buf_printf(b, TEXTS " = try_element_at(filter(array(%s), m -> size(m) > 0), 1)", texts);
}

/* from and to are quoted; to: "" to remove. */
static void rename_texts(struct buf *b, const char *from, const char *to)
{
    char *texts = *to ? mem_printf("transform_keys(map_filter(t." TEXTS ", (k, v) -> k <> %s), "
                                   "(k, v) -> IF(k = %s, %s, k))",
                                   to, from, to)
                      : mem_printf("map_filter(t." TEXTS ", (k, v) -> k <> %s)", from);

    set_texts(b, texts);
    free(texts);
}

static void rename_unchanged(struct buf *b, const char *from, const char *to)
{
    if (*to)
        buf_printf(b, UNCHANGED " = transform(t." UNCHANGED ", c -> IF(c = %s, %s, c))", from, to);
    else
        buf_printf(b, UNCHANGED " = array_remove(t." UNCHANGED ", %s)", from);
}

static char *texts_sql(const struct table *t, const struct change *c, const char *permit)
{
    bool events = columns_find(t->columns, t->ncolumns, UNCHANGED);
    struct buf b = {0}, from = {0}, to = {0};

    quoted(&from, c->name);
    buf_str(&to, "");
    if (c->text)
        quoted(&to, c->text);
    merge_into(&b, t, NULL, permit);
    buf_printf(&b, "array_contains(map_keys(t." TEXTS "), %s)", from.data);
    if (events)
        buf_printf(&b, " OR array_contains(t." UNCHANGED ", %s)", from.data);
    buf_str(&b, "\nWHEN MATCHED THEN UPDATE SET ");
    rename_texts(&b, from.data, to.data);
    if (events) {
        buf_str(&b, ", ");
        rename_unchanged(&b, from.data, to.data);
    }
    buf_free(&from);
    buf_free(&to);
    return b.data;
}

static const struct default_value *default_of(const struct step *s, int attnum)
{
    for (unsigned i = 0; i < s->ndefaults; i++)
        if (s->defaults[i].attnum == attnum)
            return &s->defaults[i];
    return NULL;
}

/* The rows that were there before: those up to the position of the shape. Rows that are only marked
 * as deleted never had the column. */
static void older_rows(struct buf *b, const struct step *s)
{
    const char *deletes = step_property(s, PROPERTY_DELETES);

    if (deletes && !strcmp(deletes, "soft"))
        buf_str(b, "t._cdc_deleted_at IS NULL AND ");
    buf_printf(b,
               "(t._cdc_lsn IS NULL OR t._cdc_lsn < %" PRIu64 " OR t._cdc_lsn = %" PRIu64
               " AND t._cdc_seq <= %" PRIu64 ")",
               s->relation.lsn, s->relation.lsn, s->relation.seq);
}

/* Those of a table without a key are told by their text, where they have one, which has a tab
 * between each two values and is told apart from that of newer ones by it. */
static void shorter_rows(struct buf *b, const struct step *s, unsigned values)
{
    buf_str(b, "CASE WHEN t._cdc_row IS NULL THEN ");
    if (s->ndefaults)
        older_rows(b, s);
    else
        buf_str(b, "false");
    buf_str(b, " ELSE ");
    if (values)
        buf_printf(b, "length(t._cdc_row) - length(replace(t._cdc_row, '\\t', '')) = %u",
                   values - 1);
    else
        buf_str(b, "t._cdc_row = ''");
    buf_str(b, " END");
}

static unsigned count_values(const struct step *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->ncolumns; i++)
        n += s->columns[i].attnum > 0;
    return n;
}

static void set_row_texts(struct buf *b, const struct step *s, const struct change *c)
{
    struct buf more = {0};
    unsigned before = count_values(s) - c->ncolumns;

    for (unsigned i = 0; i < c->ncolumns; i++) {
        const struct default_value *d = default_of(s, c->columns[i]->attnum);
        buf_str(&more, before + i ? "\t" : "");
        buf_str(&more, d ? d->text : "\\N");
    }
    buf_str(b, "_cdc_row = concat(t._cdc_row, ");
    quoted(b, more.data);
    buf_char(b, ')');
    buf_free(&more);
}

static void set_unrepresentable(struct buf *b, const char *names)
{
    struct buf texts = {0};

    buf_printf(&texts,
               "map_concat(map_filter(coalesce(t." TEXTS ", CAST(map() AS MAP<STRING,STRING>)), "
               "(k, v) -> k NOT IN (%s)), map_filter(coalesce(s." TEXTS
               ", CAST(map() AS MAP<STRING,STRING>)), (k, v) -> k IN (%s)))",
               names, names);
    set_texts(b, texts.data);
    buf_free(&texts);
}

static char *fill_sql(const struct table *t, const struct step *s, const struct change *c,
                      const char *defaults, const char *permit)
{
    struct buf b = {0}, names = {0};
    const char *comma = "";

    merge_into(&b, t, defaults, permit);
    if (s->nkey)
        older_rows(&b, s);
    else
        shorter_rows(&b, s, count_values(s) - c->ncolumns);
    buf_str(&b, "\nWHEN MATCHED THEN UPDATE SET ");
    for (unsigned i = 0; i < c->ncolumns; i++) {
        const struct default_value *d = default_of(s, c->columns[i]->attnum);
        if (!d)
            continue;
        buf_str(&b, comma);
        quote_name(&b, c->columns[i]->name);
        buf_printf(&b, " = %s", d->expression);
        buf_str(&names, comma);
        quoted(&names, c->columns[i]->name);
        comma = ", ";
    }
    if (names.len) {
        buf_str(&b, comma);
        set_unrepresentable(&b, names.data);
    }
    if (!s->nkey) {
        buf_str(&b, comma);
        set_row_texts(&b, s, c);
    }
    buf_free(&names);
    return b.data;
}

/* ------------------------------------------------------------------ */

char *alter_prepare_sql(struct table *t, const struct step *s)
{
    const struct change *c = &t->change;
    char *sql = NULL;

    if (c->kind == CHANGE_RENAME || c->kind == CHANGE_DROP)
        sql = table_mapping_sql(t);
    if (!sql && c->kind == CHANGE_DROP)
        sql = clustering_release_sql(t, c->name);
    if (c->kind == CHANGE_WIDEN)
        sql = table_widening_sql(t);
    if (!sql && (c->kind == CHANGE_WIDEN || c->kind == CHANGE_ADD))
        sql = table_features_sql(t, s);
    return sql;
}

char *alter_sql(const struct table *t, const struct step *s, const char *defaults,
                const char *permit)
{
    const struct change *c = &t->change;

    switch (c->kind) {
    case CHANGE_NOTE:
        return table_set_sql(t, PROPERTY_COLUMNS, c->text);
    case CHANGE_TEXTS:
        return texts_sql(t, c, permit);
    case CHANGE_RENAME:
        return rename_sql(t, c);
    case CHANGE_DROP:
        return drop_sql(t, c);
    case CHANGE_WIDEN:
        return widen_sql(t, c);
    case CHANGE_ADD:
        return add_sql(t, c);
    case CHANGE_FILL:
        return fill_sql(t, s, c, defaults, permit);
    case CHANGE_NONE:
        break;
    }
    return NULL;
}
