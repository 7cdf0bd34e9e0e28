#include "tables.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fnv.h"
#include "msg.h"
#include "names.h"
#include "rows.h"

#define DEFAULT "default:"
#define FORMAT "format:"
#define SCHEMA "${schema}"

enum { NAME_MAX_CHARACTERS = 255 }; /* Unity Catalog's */

bool tables_namespace_is_valid(const char *namespace)
{
    if (strncmp(namespace, DEFAULT, strlen(DEFAULT)) == 0)
        return namespace[strlen(DEFAULT)] != '\0';
    if (strncmp(namespace, FORMAT, strlen(FORMAT)) == 0)
        return namespace[strlen(FORMAT)] != '\0';
    return strcmp(namespace, "source") == 0;
}

static char *schema_name(const char *namespace, const char *schema)
{
    if (strncmp(namespace, DEFAULT, strlen(DEFAULT)) == 0)
        return mem_strdup(namespace + strlen(DEFAULT));
    if (strncmp(namespace, FORMAT, strlen(FORMAT)) != 0)
        return mem_strdup(schema);
    struct buf b = {0};
    const char *p = namespace + strlen(FORMAT), *hole;
    for (; (hole = strstr(p, SCHEMA)); p = hole + strlen(SCHEMA)) {
        buf_add(&b, p, (size_t)(hole - p));
        buf_str(&b, schema);
    }
    buf_str(&b, p);
    return b.data;
}

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80; /* not one that goes on a character of UTF-8 */
    return n;
}

/* Spark replaces ${…} in a statement, wherever it stands, and a name has no other spelling. */
static bool has_variable(const char *name)
{
    return strstr(name, "${") != NULL;
}

/* What Unity Catalog does not take in names of schemas and tables. */
static void require_name(const struct shape *s, const char *what, const char *name)
{
    bool good = *name && characters(name) <= NAME_MAX_CHARACTERS && !has_variable(name);
    for (const char *p = name; *p; p++)
        good = good && (unsigned char)*p > ' ' && *p != '.' && *p != '/' && *p != 0x7f;
    if (!good)
        msg_die(EX_CONFIG,
                "\"%s\" cannot be the name of a %s in Unity Catalog (at most 255 characters, no "
                "space, dot, slash, ${ or control character): rename it, look at --namespace and "
                "--prefix, or leave the table out with pgcdc-read --exclude table=%s",
                name, what, s->source);
}

static void require_columns(const struct shape *s)
{
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const char *name = s->columns[i].name;
        if (!*name || characters(name) > NAME_MAX_CHARACTERS || has_variable(name) ||
            strncasecmp(name, "_cdc_", 5) == 0)
            msg_die(EX_CONFIG,
                    "column \"%s\" cannot be replicated: names have at most 255 characters and no "
                    "${, and those that begin with _cdc_ are taken; rename it, or leave the table "
                    "out with pgcdc-read --exclude table=%s",
                    name, s->source);
        for (unsigned k = 0; k < i; k++)
            if (names_equal(name, s->columns[k].name))
                msg_die(EX_CONFIG,
                        "columns \"%s\" and \"%s\" differ only by case, which Databricks does not "
                        "tell apart: rename one, or leave the table out with pgcdc-read --exclude "
                        "table=%s",
                        s->columns[k].name, name, s->source);
    }
}

/* No two tables of the source have the same name there: of two that had it one is gone. */
static void require_unique_table(const struct tables *all, const struct shape *s)
{
    for (const struct table *t = all->all; t; t = t->hh.next) {
        const struct shape *o = t->shape;
        if (t->oid == s->relation->oid || strcmp(o->source, s->source) == 0 ||
            !names_equal(o->schema, s->schema))
            continue;
        if (names_equal(o->name, s->name))
            msg_die(EX_CONFIG,
                    "the tables %s and %s would both become %s.%s, for Databricks does not tell "
                    "names apart by case: rename one, look at --namespace and --prefix, or leave "
                    "one out with pgcdc-read --exclude",
                    o->source, s->source, s->schema, s->name);
        if (strcmp(o->schema, s->schema) != 0)
            msg_die(EX_CONFIG,
                    "the schemas of %s and %s would both become %s, for Databricks does not tell "
                    "names apart by case: rename one, look at --namespace, or leave one out with "
                    "pgcdc-read --exclude",
                    o->source, s->source, s->schema);
    }
}

/* Without a key, rows can only go away where the WAL has them whole. */
static bool has_texts(const struct relation *r)
{
    return !r->append && !r->nkey && r->identity == 'f';
}

/* Whether both are one shape: the same columns, in a table of the same name. */
static bool same_shape(const struct relation *a, const struct relation *b)
{
    if (a->ncolumns != b->ncolumns || strcmp(a->schema, b->schema) != 0 ||
        strcmp(a->table, b->table) != 0 || has_texts(a) != has_texts(b))
        return false;
    for (unsigned i = 0; i < a->ncolumns; i++) {
        const struct column *x = &a->columns[i], *y = &b->columns[i];
        if (x->attnum != y->attnum || x->base != y->base || x->elem != y->elem ||
            x->typmod != y->typmod || x->key != y->key || strcmp(x->name, y->name) != 0)
            return false;
    }
    return true;
}

static struct shape *shape_new(const struct tables *all, struct relation *r)
{
    struct shape *s = mem_alloc(sizeof *s);
    s->relation = r;
    s->source = mem_printf("%s.%s", r->schema, r->table);
    s->schema = schema_name(all->names.namespace, r->schema);
    s->name = mem_printf("%s%s", all->names.prefix, r->table);
    s->ncolumns = r->ncolumns;
    s->columns = mem_alloc(r->ncolumns * sizeof *s->columns);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        const struct column *c = &r->columns[i];
        types_column(c, c->key && !r->append, &all->types, &s->columns[i]);
        s->nkey += s->columns[i].key;
    }
    s->kind = r->append ? LOG : s->nkey > 0 ? KEYED : MULTISET;
    s->soft = r->soft && s->kind == KEYED;
    s->texts = has_texts(r);
    s->staged = rows_columns(s, &s->nstaged);
    return s;
}

static void swap(char **a, char **b)
{
    char *was = *a;

    *a = *b;
    *b = was;
}

/* What may have changed in a relation though its shape has not. */
static void renew(struct relation *r, struct relation *by)
{
    r->relfilenode = by->relfilenode;
    swap(&r->comment, &by->comment);
    for (unsigned i = 0; i < r->ncolumns; i++)
        swap(&r->columns[i].comment, &by->columns[i].comment);
}

struct table *tables_add(struct tables *all, struct relation *r)
{
    struct table *t = tables_find(all, r->oid);
    if (t && same_shape(t->shape->relation, r)) {
        renew(t->shape->relation, r);
        relation_free(r);
        return t;
    }
    struct shape *s = shape_new(all, r);
    require_name(s, "schema", s->schema);
    require_name(s, "table", s->name);
    require_unique_table(all, s);
    require_columns(s);
    if (!t) {
        t = mem_alloc(sizeof *t);
        t->oid = r->oid;
        HASH_ADD(hh, all->all, oid, sizeof t->oid, t);
    }
    s->older = t->shape;
    t->shape = s;
    return t;
}

struct table *tables_find(const struct tables *all, uint64_t oid)
{
    struct table *t = NULL;
    uint32_t key = (uint32_t)oid;
    if (oid == key)
        HASH_FIND(hh, all->all, &key, sizeof key, t);
    return t;
}

static void shape_free(struct shape *s)
{
    relation_free(s->relation);
    free(s->schema);
    free(s->name);
    free(s->source);
    free(s->columns);
    free(s->staged);
    free(s);
}

void tables_free(struct tables *all)
{
    struct table *t, *next;
    HASH_ITER(hh, all->all, t, next)
    {
        HASH_DEL(all->all, t);
        for (struct shape *s = t->shape, *older; s; s = older) {
            older = s->older;
            shape_free(s);
        }
        free(t);
    }
}

uint64_t shape_layout(const struct shape *s)
{
    uint64_t h = FNV_START;

    for (size_t i = 0; i < s->nstaged; i++) {
        const struct parquet_column *c = &s->staged[i];
        for (const char *p = c->name; *p; p++)
            h = fnv_step(h, (unsigned char)*p);
        h = fnv_step(fnv_step(h, c->type), c->shape);
        h = fnv_step(fnv_step(h, c->precision), c->scale);
    }
    return h;
}
