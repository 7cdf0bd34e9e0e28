#include "create.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"
#include "clustering.h"
#include "declare.h"
#include "msg.h"
#include "quote.h"

/* Deletion vectors: a MERGE marks the rows that it replaces, and does not write the files that have
 * them anew. Type widening is not switched on here: readers that don't know it refuse the table,
 * and most tables never need it. That is done when a type becomes wider, as column mapping is
 * switched on when a column is renamed. */
static const struct property usual[] = {{"delta.enableDeletionVectors", "true"}};

/* ------------------------------------------------------------------ properties */

static bool is_given(const struct load *load, const char *key)
{
    for (unsigned i = 0; i < load->nproperties; i++)
        if (!strcasecmp(load->properties[i].key, key))
            return true;
    return false;
}

void create_option(struct load *load, char *argument)
{
    char *equals = strchr(argument, '=');

    if (!equals || equals == argument)
        msg_die(EX_USAGE, "--table-properties %s: it has to be KEY=VALUE", argument);
    *equals = '\0';
    if (!strncasecmp(argument, "pgcdc.", strlen("pgcdc.")))
        msg_die(EX_USAGE, "--table-properties %s: those that begin with pgcdc. are the pipeline's",
                argument);
    if (is_given(load, argument))
        msg_die(EX_USAGE, "--table-properties %s: it was given before", argument);
    load->properties =
        mem_realloc(load->properties, (load->nproperties + 1) * sizeof *load->properties);
    load->properties[load->nproperties++] = (struct property){argument, equals + 1};
}

static void put_properties(struct buf *b, const struct property *p, unsigned n,
                           const struct load *unless_given)
{
    for (unsigned i = 0; i < n; i++) {
        if (unless_given && is_given(unless_given, p[i].key))
            continue;
        buf_str(b, b->len ? ", " : "");
        table_put_property(b, p[i].key, p[i].value);
    }
}

/* ------------------------------------------------------------------ the statement */

static void put_columns(struct buf *b, const struct step *s)
{
    buf_str(b, " (");
    for (unsigned i = 0; i < s->ncolumns; i++) {
        buf_str(b, i ? ", " : "");
        quote_name(b, s->columns[i].name);
        buf_printf(b, " %s", s->columns[i].type);
    }
    buf_char(b, ')');
}

char *create_sql(const struct load *load, const struct step *s)
{
    char *rows = s->create.n ? batch_sql(&s->create, load->permit_path) : NULL;
    char *key = declare_key(s), *comments = declare_comments(s);
    struct buf sql = {0}, properties = {0};

    buf_str(&sql, "CREATE TABLE ");
    quote_table(&sql, s->catalog, s->schema, s->name);
    if (!rows) /* else the rows say what the columns are */
        put_columns(&sql, s);
    buf_str(&sql, " USING DELTA");
    clustering_put(&sql, s);
    put_properties(&properties, usual, sizeof usual / sizeof *usual, load);
    put_properties(&properties, s->properties, s->nproperties, load);
    if (rows) { /* see declare.h */
        const struct property declared[] = {{PROPERTY_KEY, key}, {PROPERTY_COMMENTS, comments}};
        for (size_t i = 0; i < sizeof declared / sizeof *declared; i++)
            put_properties(&properties, &declared[i], declared[i].value != NULL, load);
    }
    put_properties(&properties, load->properties, load->nproperties, NULL);
    buf_printf(&sql, "\nTBLPROPERTIES (%s)", properties.data);
    if (rows)
        buf_printf(&sql, "\nAS %s", rows);
    buf_free(&properties);
    free(rows);
    free(key);
    free(comments);
    return sql.data;
}
