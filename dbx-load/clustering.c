#include "clustering.h"

#include <jansson.h>
#include <string.h>

#include "quote.h"

/* Delta Lake and Databricks have it among the properties of a table: [["id"],["other"]], the parts
 * of names. */
#define COLUMNS "clusteringColumns"

enum {
    CLUSTER_COLUMNS = 4,    /* at most */
    STATISTICS_COLUMNS = 32 /* the first ones of a table; clustering needs statistics */
};

/* Types that Delta Lake has the smallest and largest value of, per file. */
static bool has_statistics(const char *type)
{
    static const char *const types[] = {"SMALLINT", "INT",       "BIGINT",        "FLOAT", "DOUBLE",
                                        "DATE",     "TIMESTAMP", "TIMESTAMP_NTZ", "STRING"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return true;
    return !strncmp(type, "DECIMAL(", strlen("DECIMAL("));
}

static bool can_cluster(const struct step *s, const char *name)
{
    for (unsigned i = 0; i < s->ncolumns && i < STATISTICS_COLUMNS; i++)
        if (!strcmp(s->columns[i].name, name))
            return has_statistics(s->columns[i].type);
    return false;
}

/* By the key: it is what a MERGE finds its rows by, so that it can leave out files. */
void clustering_put(struct buf *b, const struct step *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->nkey && n < CLUSTER_COLUMNS; i++) {
        if (!can_cluster(s, s->key[i]))
            continue;
        buf_str(b, n++ ? ", " : " CLUSTER BY (");
        quote_name(b, s->key[i]);
    }
    if (n)
        buf_char(b, ')');
}

/* ------------------------------------------------------------------ a column that goes */

bool clustering_is_on(const struct table *t)
{
    const char *columns = table_property(t, COLUMNS);

    return columns && strcmp(columns, "[]");
}

/* Appends it, quoted, and a comma before it if something is there. */
static void put_name(struct buf *b, const json_t *parts)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const char *part = json_string_value(json_array_get(parts, i));
        buf_str(b, i ? "." : b->len ? ", " : "");
        quote_name(b, part ? part : "");
    }
}

static bool is_column(const json_t *parts, const char *column)
{
    const char *part = json_string_value(json_array_get(parts, 0));

    return json_array_size(parts) == 1 && part && !strcmp(part, column);
}

char *clustering_release_sql(const struct table *t, const char *column)
{
    const char *columns = table_property(t, COLUMNS);
    json_t *names = columns ? json_loads(columns, 0, NULL) : NULL;
    struct buf others = {0};
    bool found = false;
    char *sql = NULL;

    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);
        if (is_column(name, column))
            found = true;
        else
            put_name(&others, name);
    }
    if (found && others.len)
        sql = mem_printf("ALTER TABLE %s CLUSTER BY (%s)", t->name, others.data);
    else if (found)
        sql = mem_printf("ALTER TABLE %s CLUSTER BY NONE", t->name);
    json_decref(names);
    buf_free(&others);
    return sql;
}
