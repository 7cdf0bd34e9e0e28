#include "table.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "clustering.h"
#include "colmap.h"
#include "fail.h"
#include "msg.h"
#include "names.h"
#include "quote.h"
#include "widen.h"

#define DELETED_AT "_cdc_deleted_at"

static const char *const owner_keys[] = {PROPERTY_PIPELINE, PROPERTY_SOURCE, PROPERTY_TABLE};

static void release(const char *text)
{
    free((void *)(uintptr_t)text); /* owned, though const for everybody else */
}

struct table *table_new(const struct step *s)
{
    struct table *t = mem_alloc(sizeof *t);
    struct buf name = {0};

    quote_table(&name, s->catalog, s->schema, s->name);
    t->name = name.data;
    return t;
}

void table_forget(struct table *t)
{
    for (unsigned i = 0; i < t->ncolumns; i++) {
        release(t->columns[i].name);
        release(t->columns[i].type);
    }
    for (unsigned i = 0; i < t->nproperties; i++) {
        release(t->properties[i].key);
        release(t->properties[i].value);
    }
    free(t->columns);
    free(t->properties);
    t->columns = NULL;
    t->properties = NULL;
    t->ncolumns = t->nproperties = 0;
    t->described = t->exists = t->read = false;
    t->declared = 0;
}

void table_free(struct table *t)
{
    table_forget(t);
    arena_free(&t->memory);
    free(t->name);
    free(t);
}

void table_take_columns(struct table *t, const struct statement *s)
{
    size_t rows = statement_rows(s);

    t->columns = mem_alloc((rows + 1) * sizeof *t->columns);
    for (size_t i = 0; i < rows; i++) {
        const char *name = statement_cell(s, i, 0), *type = statement_cell(s, i, 1);
        if (!name || !*name || !type || !*type) /* "# Partitioning" and the like follow */
            break;
        t->columns[t->ncolumns++] =
            (struct load_column){.name = mem_strdup(name), .type = mem_strdup(type)};
    }
    t->described = t->exists = true;
}

void table_take_properties(struct table *t, const struct statement *s)
{
    size_t rows = statement_rows(s);

    t->properties = mem_alloc((rows + 1) * sizeof *t->properties);
    for (size_t i = 0; i < rows; i++) {
        const char *key = statement_cell(s, i, 0), *value = statement_cell(s, i, 1);
        if (key && value)
            t->properties[t->nproperties++] =
                (struct property){.key = mem_strdup(key), .value = mem_strdup(value)};
    }
    t->read = true;
}

const char *table_property(const struct table *t, const char *key)
{
    for (unsigned i = 0; i < t->nproperties; i++)
        if (!strcmp(t->properties[i].key, key))
            return t->properties[i].value;
    return NULL;
}

static void set_text(const char **text, const char *to)
{
    const char *was = *text;

    *text = mem_strdup(to);
    release(was);
}

void table_note_property(struct table *t, const char *key, const char *value)
{
    unsigned i = 0;

    while (i < t->nproperties && strcmp(t->properties[i].key, key))
        i++;
    if (i == t->nproperties) {
        t->properties = mem_realloc(t->properties, ++t->nproperties * sizeof *t->properties);
        t->properties[i] = (struct property){.key = mem_strdup(key)};
    }
    set_text(&t->properties[i].value, value);
}

static void add_columns(struct table *t, const struct change *c)
{
    t->columns = mem_realloc(t->columns, (t->ncolumns + c->ncolumns) * sizeof *t->columns);
    for (unsigned i = 0; i < c->ncolumns; i++)
        t->columns[t->ncolumns++] = (struct load_column){.name = mem_strdup(c->columns[i]->name),
                                                         .type = mem_strdup(c->columns[i]->type)};
}

static void drop_column(struct table *t, unsigned i)
{
    release(t->columns[i].name);
    release(t->columns[i].type);
    t->ncolumns--;
    memmove(&t->columns[i], &t->columns[i + 1], (t->ncolumns - i) * sizeof *t->columns);
}

void table_take_change(struct table *t)
{
    const struct change *c = &t->change;
    unsigned i = 0;

    while (c->name && i < t->ncolumns && strcmp(t->columns[i].name, c->name))
        i++;
    if (c->kind == CHANGE_NOTE)
        table_note_property(t, PROPERTY_COLUMNS, c->text);
    else if (c->kind == CHANGE_RENAME)
        set_text(&t->columns[i].name, c->text);
    else if (c->kind == CHANGE_DROP)
        drop_column(t, i);
    else if (c->kind == CHANGE_WIDEN)
        set_text(&t->columns[i].type, c->text);
    else if (c->kind == CHANGE_ADD)
        add_columns(t, c);
    t->moved = c->kind == CHANGE_TEXTS;
    t->filled = c->kind == CHANGE_FILL;
    if (c->kind == CHANGE_RENAME && clustering_is_on(t)) /* by another name now, perhaps */
        table_forget(t);
}

bool table_made_by(const struct table *t, const struct step *s)
{
    const char *made_by = table_property(t, PROPERTY_BATCH);
    const char *ours = step_property(s, PROPERTY_BATCH);

    return made_by && ours && !strcmp(made_by, ours);
}

/* Whether the columns are those of the step's table, whatever its name was. */
static bool has_columns_of(const struct table *t, const struct step *s)
{
    const char *property = table_property(t, PROPERTY_COLUMNS);
    struct arena memory = {0};
    const struct colmap *map = property ? colmap_parse(property, &memory) : NULL;
    bool same = map && map->oid == s->oid;

    arena_free(&memory);
    return same;
}

enum table_owner table_owner(const struct table *t, const struct step *s)
{
    enum table_owner owner = TABLE_OURS;

    for (size_t i = 0; i < sizeof owner_keys / sizeof *owner_keys; i++) {
        const char *key = owner_keys[i], *found = table_property(t, key);
        const char *wanted = step_property(s, key);
        if (!wanted)
            fail(EX_DATAERR, "the stream does not say whose table this is: property %s table=%s",
                 key, t->name);
        if (!found)
            owner = TABLE_FOREIGN;
        else if (!strcmp(wanted, found))
            continue;
        else if (!strcmp(key, PROPERTY_TABLE) && has_columns_of(t, s))
            owner = owner == TABLE_FOREIGN ? owner : TABLE_RENAMED;
        else
            fail(EX_CONFIG,
                 "%s belongs to another %s (%s is %s, not %s): drop the table if it is not needed, "
                 "or write to another one with cdc-merge --namespace or --prefix",
                 t->name, strcmp(key, PROPERTY_TABLE) ? "pipeline" : "table of the source", key,
                 found, wanted);
    }
    return owner;
}

/* ------------------------------------------------------------------ what it holds */

void table_require_mode(const struct table *t, const struct step *s)
{
    const char *have = table_property(t, PROPERTY_MODE);

    have = have ? have : MODE_USUAL;
    if (strcmp(have, step_mode(s)))
        fail(EX_CONFIG,
             "%s holds rows of --mode %s, and cannot go on with %s: move the state folder away to "
             "read the tables again, and go back to that mode, drop or rename the table, or give "
             "the pipeline another --prefix",
             t->name, have, step_mode(s));
}

bool table_has_rows(const struct step *s, int64_t written)
{
    return written < 0 || (uint64_t)written >= s->least;
}

/* More are no error: the engine may count rows twice when it repeats a part of its work. */
void table_require_rows(const struct table *t, const struct step *s, int64_t written)
{
    unsigned long long batch = (unsigned long long)s->batch->number,
                       rows = (unsigned long long)written;
    char *way_out =
        s->version < 0
            ? mem_strdup("the next start applies them again")
            : mem_printf("find out why, and run RESTORE TABLE %s TO VERSION AS OF %lld: then the "
                         "next start applies them again",
                         t->name, (long long)s->version);

    if (!table_has_rows(s, written))
        fail(EX_DATAERR,
             "%s: the warehouse says that it wrote %llu rows, and %llu are staged (batch %llu, "
             "statement %s): %s",
             t->name, rows, (unsigned long long)s->least, batch, s->statement ? s->statement : "-",
             way_out);
    if (written >= 0 && rows > s->most)
        msg_warn("%s: the warehouse says that it wrote %llu rows, and %llu are staged (batch %llu, "
                 "statement %s): see whether several rows have the same key",
                 t->name, rows, (unsigned long long)s->most, batch,
                 s->statement ? s->statement : "-");
    free(way_out);
}

static bool is_soft(const char *deletes)
{
    return deletes && !strcmp(deletes, "soft");
}

bool table_deletes_differ(const struct table *t, const struct step *s)
{
    return is_soft(table_property(t, PROPERTY_DELETES)) !=
           is_soft(step_property(s, PROPERTY_DELETES));
}

bool table_has_marked(const struct table *t, const struct step *s)
{
    if (t->no_marked || is_soft(step_property(s, PROPERTY_DELETES)))
        return false;
    for (unsigned i = 0; i < t->ncolumns; i++)
        if (names_equal(t->columns[i].name, DELETED_AT))
            return true;
    return false;
}

/* ------------------------------------------------------------------ statements */

char *table_rename_sql(const char *from, const char *to)
{
    return mem_printf("ALTER TABLE %s RENAME TO %s", from, to);
}

char *table_describe_sql(const struct table *t)
{
    return mem_printf("DESCRIBE TABLE %s", t->name);
}

char *table_properties_sql(const struct table *t)
{
    return mem_printf("SHOW TBLPROPERTIES %s", t->name);
}

char *table_history_sql(const struct table *t, unsigned limit)
{
    return mem_printf("DESCRIBE HISTORY %s LIMIT %u", t->name, limit);
}

char *table_schema_sql(const struct step *s)
{
    struct buf b = {0};

    buf_str(&b, "CREATE SCHEMA IF NOT EXISTS ");
    quote_name(&b, s->catalog);
    buf_char(&b, '.');
    quote_name(&b, s->schema);
    return b.data;
}

void table_put_property(struct buf *b, const char *key, const char *value)
{
    quote_text(b, key, strlen(key));
    buf_str(b, " = ");
    quote_text(b, value, strlen(value));
}

/* Sets those of the properties that the step has. */
static char *set_properties_sql(const struct table *t, const struct step *s,
                                const char *const *keys, size_t n)
{
    struct buf b = {0};
    const char *comma = "";

    buf_printf(&b, "ALTER TABLE %s SET TBLPROPERTIES (", t->name);
    for (size_t i = 0; i < n; i++) {
        const char *value = step_property(s, keys[i]);
        if (!value)
            continue;
        buf_str(&b, comma);
        table_put_property(&b, keys[i], value);
        comma = ", ";
    }
    buf_char(&b, ')');
    return b.data;
}

char *table_adopt_sql(const struct table *t, const struct step *s)
{
    static const char *const keys[] = {PROPERTY_PIPELINE, PROPERTY_SOURCE, PROPERTY_TABLE,
                                       PROPERTY_MODE, PROPERTY_DELETES};

    return set_properties_sql(t, s, keys, sizeof keys / sizeof *keys);
}

char *table_delete_marked_sql(const struct table *t)
{
    return mem_printf("DELETE FROM %s WHERE " DELETED_AT " IS NOT NULL", t->name);
}

char *table_deletes_sql(const struct table *t, const struct step *s)
{
    static const char *const keys[] = {PROPERTY_DELETES};

    return set_properties_sql(t, s, keys, 1);
}

char *table_set_sql(const struct table *t, const char *key, const char *value)
{
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s SET TBLPROPERTIES (", t->name);
    table_put_property(&b, key, value);
    buf_char(&b, ')');
    return b.data;
}

char *table_mapping_sql(const struct table *t)
{
    const char *have = table_property(t, PROPERTY_MAPPING);

    return have && strcmp(have, "none") ? NULL : table_set_sql(t, PROPERTY_MAPPING, "name");
}

char *table_widening_sql(const struct table *t)
{
    static const char key[] = "delta.enableTypeWidening";
    const char *have = table_property(t, key);

    return have && !strcmp(have, "true") ? NULL : table_set_sql(t, key, "true");
}

char *table_fence_sql(const struct table *t, const char *run)
{
    return mem_printf("ALTER TABLE %s SET TBLPROPERTIES ('" PROPERTY_FENCE "' = '%s-%llx')",
                      t->name, run, (unsigned long long)clock_us());
}

static bool adds_type(const struct table *t, const struct step *s, const char *type)
{
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const struct load_column *c = &s->columns[i];
        const struct load_column *have = columns_find(t->columns, t->ncolumns, c->name);
        if (strstr(c->type, type) && (!have || !widen_is_same(have->type, c->type)))
            return true;
    }
    return false;
}

char *table_features_sql(struct table *t, const struct step *s)
{
    static const struct {
        const char *type, *feature, *same; /* the feature has had two names */
    } needs[] = {
        {"TIMESTAMP_NTZ", "delta.feature.timestampNtz", "delta.feature.timestampNtz"},
        {"VARIANT", "delta.feature.variantType-preview", "delta.feature.variantType"},
    };

    struct buf b = {0};

    for (size_t i = 0; !t->enabled && i < sizeof needs / sizeof *needs; i++) {
        if (!adds_type(t, s, needs[i].type) || table_property(t, needs[i].feature) ||
            table_property(t, needs[i].same))
            continue;
        if (b.len)
            buf_str(&b, ", ");
        else
            buf_printf(&b, "ALTER TABLE %s SET TBLPROPERTIES (", t->name);
        table_put_property(&b, needs[i].feature, "supported");
    }
    if (b.len)
        buf_char(&b, ')');
    t->enabled = b.len > 0;
    return b.data;
}
