#include "declare.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "names.h"
#include "quote.h"

/* ------------------------------------------------------------------ the properties */

static char *text_of(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return text;
}

/* Catalogs outside of Unity Catalog have no such constraints. */
static bool has_constraints(const struct step *s)
{
    return strcmp(s->catalog, "hive_metastore") != 0 && strcmp(s->catalog, "spark_catalog") != 0;
}

char *declare_key(const struct step *s)
{
    json_t *names = json_array();

    for (unsigned i = 0; i < s->nkey && has_constraints(s); i++)
        json_array_append_new(names, json_string(s->key[i]));
    if (json_array_size(names))
        return text_of(names);
    json_decref(names);
    return NULL;
}

static void put_hash(json_t *hashes, const char *name, const char *comment)
{
    uint64_t hash = FNV_START;
    char text[20];

    if (!comment || !*comment)
        return;
    for (const char *p = comment; *p; p++)
        hash = fnv_step(hash, (unsigned char)*p);
    snprintf(text, sizeof text, "%" PRIx64, hash);
    json_object_set_new(hashes, name, json_string(text));
}

static json_t *hashes_of(const struct step *s)
{
    json_t *hashes = json_object();

    put_hash(hashes, "", s->comment);
    for (unsigned i = 0; i < s->ncolumns; i++)
        put_hash(hashes, s->columns[i].name, s->columns[i].comment);
    return hashes;
}

char *declare_comments(const struct step *s)
{
    json_t *hashes = hashes_of(s);

    if (json_object_size(hashes))
        return text_of(hashes);
    json_decref(hashes);
    return NULL;
}

/* ------------------------------------------------------------------ statements */

/* A list of statements, of which one is wanted. */
struct plan {
    unsigned wanted, n;
    char *sql;
};

static void add(struct plan *p, char *sql)
{
    if (p->n++ == p->wanted)
        p->sql = sql;
    else
        free(sql);
}

static void alter_column(struct plan *p, const struct table *t, const char *column, const char *how)
{
    struct buf b = {0};

    buf_printf(&b, "ALTER TABLE %s ALTER COLUMN ", t->name);
    quote_name(&b, column);
    buf_printf(&b, " %s", how);
    add(p, b.data);
}

static const char *name_at(const json_t *names, size_t i)
{
    const char *name = json_string_value(json_array_get(names, i));

    return name ? name : "";
}

static bool is_among(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        if (names_equal(name_at(names, i), name))
            return true;
    return false;
}

/* again: perhaps some of it was done before a crash. CASCADE: foreign keys of others that refer to
 * the one that is no more. */
static void plan_key(struct plan *p, const struct table *t, const json_t *have,
                     const json_t *wanted, bool again)
{
    struct buf b = {0};

    if (json_equal(have, wanted))
        return;
    if (json_array_size(have) || again)
        add(p, mem_printf("ALTER TABLE %s DROP PRIMARY KEY IF EXISTS CASCADE", t->name));
    for (size_t i = 0; i < json_array_size(have); i++)
        if (!is_among(wanted, name_at(have, i)) &&
            columns_find(t->columns, t->ncolumns, name_at(have, i)))
            alter_column(p, t, name_at(have, i), "DROP NOT NULL");
    if (!json_array_size(wanted))
        return;
    buf_printf(&b, "ALTER TABLE %s ADD PRIMARY KEY (", t->name);
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        if (!is_among(have, name_at(wanted, i)))
            alter_column(p, t, name_at(wanted, i), "SET NOT NULL");
        buf_str(&b, i ? ", " : "");
        quote_name(&b, name_at(wanted, i));
    }
    buf_char(&b, ')');
    add(p, b.data);
}

static bool differs(const json_t *have, const json_t *wanted, const char *name)
{
    const json_t *a = json_object_get(have, name), *b = json_object_get(wanted, name);

    return (a || b) && !json_equal(a, b);
}

static void put_comment(struct buf *b, const char *comment)
{
    quote_text(b, comment ? comment : "", comment ? strlen(comment) : 0);
}

static void plan_comments(struct plan *p, const struct table *t, const struct step *s,
                          const json_t *have, const json_t *wanted)
{
    struct buf b = {0}, columns = {0};

    if (differs(have, wanted, "")) {
        buf_printf(&b, "COMMENT ON TABLE %s IS ", t->name);
        put_comment(&b, s->comment);
        add(p, b.data);
    }
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const struct load_column *c = &s->columns[i];
        if (!differs(have, wanted, c->name))
            continue;
        buf_str(&columns, columns.len ? ", " : "");
        quote_name(&columns, c->name);
        buf_str(&columns, " COMMENT ");
        put_comment(&columns, c->comment);
    }
    if (columns.len)
        add(p, mem_printf("ALTER TABLE %s ALTER COLUMN %s", t->name, columns.data));
    buf_free(&columns);
}

static void plan_note(struct plan *p, const struct table *t, const char *key, const char *comments)
{
    struct buf b = {0};

    if (t->made || !p->n)
        return;
    buf_printf(&b, "ALTER TABLE %s SET TBLPROPERTIES (", t->name);
    table_put_property(&b, PROPERTY_KEY, key);
    buf_str(&b, ", ");
    table_put_property(&b, PROPERTY_COMMENTS, comments);
    buf_char(&b, ')');
    add(p, b.data);
}

static json_t *parse(const char *text, json_t *empty)
{
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;

    if (!json || json_typeof(json) != json_typeof(empty)) {
        json_decref(json);
        return empty;
    }
    json_decref(empty);
    return json;
}

static const char *property(const struct table *t, const char *key)
{
    return t->made ? NULL : table_property(t, key);
}

char *declare_sql(struct table *t, const struct step *s)
{
    struct plan p = {.wanted = t->declared};
    char *key = declare_key(s), *comments = declare_comments(s);
    json_t *have_key = parse(property(t, PROPERTY_KEY), json_array());
    json_t *have_comments = parse(property(t, PROPERTY_COMMENTS), json_object());
    json_t *want_key = parse(key, json_array()), *want_comments = parse(comments, json_object());

    plan_key(&p, t, have_key, want_key, s->unsure);
    plan_comments(&p, t, s, have_comments, want_comments);
    plan_note(&p, t, key ? key : "[]", comments ? comments : "{}");
    if (!p.sql && p.n && !t->made) {
        table_note_property(t, PROPERTY_KEY, key ? key : "[]");
        table_note_property(t, PROPERTY_COMMENTS, comments ? comments : "{}");
    }
    if (!p.sql)
        t->declared = 0;
    json_decref(have_key);
    json_decref(have_comments);
    json_decref(want_key);
    json_decref(want_comments);
    free(key);
    free(comments);
    return p.sql;
}

char *declare_release_sql(struct table *t)
{
    const struct change *c = &t->change;
    bool alters = c->kind == CHANGE_RENAME || c->kind == CHANGE_DROP || c->kind == CHANGE_WIDEN;
    json_t *have = parse(table_property(t, PROPERTY_KEY), json_array()), *none = json_array();
    struct plan p = {.wanted = t->declared};

    if (alters && is_among(have, c->name)) {
        plan_key(&p, t, have, none, false);
        add(&p, table_set_sql(t, PROPERTY_KEY, "[]"));
    }
    if (!p.sql && p.n)
        table_note_property(t, PROPERTY_KEY, "[]");
    if (!p.sql)
        t->declared = 0;
    json_decref(have);
    json_decref(none);
    return p.sql;
}
