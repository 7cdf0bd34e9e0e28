#include "shape.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "place.h"
#include "run.h"

/* Each row of t goes a step further than the one before it: from a domain to what it is based on,
 * once from an array to its elements, and from their domain on. A typmod is taken where it is met
 * first: one of an array is that of its elements. */
static const char types_sql[] =
    "WITH RECURSIVE t AS ("
    " SELECT ord, 0 AS step, oid, typmod, oid AS base, 0::oid AS elem, typmod AS mod"
    "  FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS o(oid, typmod, ord)"
    " UNION ALL"
    " SELECT t.ord, t.step + 1, t.oid, t.typmod,"
    "  CASE WHEN t.elem = 0 AND d.typtype = 'd' THEN d.typbasetype ELSE t.base END,"
    "  CASE WHEN e.oid IS NOT NULL THEN e.oid WHEN t.elem <> 0 THEN d.typbasetype ELSE 0 END,"
    "  CASE WHEN t.mod = -1 THEN d.typtypmod ELSE t.mod END"
    "  FROM t JOIN pg_type d ON d.oid = CASE t.elem WHEN 0 THEN t.base ELSE t.elem END"
    "  LEFT JOIN pg_type e ON t.elem = 0 AND e.oid = d.typelem AND e.typarray = d.oid"
    "  WHERE d.typtype = 'd' OR e.oid IS NOT NULL)"
    " SELECT DISTINCT ON (t.ord) format_type(t.oid, t.typmod), t.base, t.mod, t.elem,"
    "  CASE b.typtype WHEN 'b' THEN b.typname END, coalesce(e.typdelim, ','),"
    "  coalesce((b.typlen & 65535)::bigint * 65536 + ascii(b.typalign::text) * 256 + "
    "b.typbyval::int, 0)"
    " FROM t LEFT JOIN pg_type b ON b.oid = t.base LEFT JOIN pg_type e ON e.oid = t.elem"
    " ORDER BY t.ord, t.step DESC";

/* Fills in the columns' types, and layouts, one per column: struct place_column's. */
static bool name_types(struct run *run, struct relation *r, uint64_t *layouts, struct trouble *t)
{
    struct buf oids = {0}, typmods = {0};

    for (unsigned i = 0; i < r->ncolumns; i++) {
        buf_printf(&oids, "%c%u", i ? ',' : '{', r->columns[i].oid);
        buf_printf(&typmods, "%c%d", i ? ',' : '{', r->columns[i].typmod);
    }
    buf_str(&oids, r->ncolumns ? "}" : "{}");
    buf_str(&typmods, r->ncolumns ? "}" : "{}");
    PGresult *types =
        source_query(&run->loop, run->loop.sql, t, types_sql, oids.data, typmods.data, NULL);
    for (unsigned i = 0; types && i < r->ncolumns && (int)i < PQntuples(types); i++) {
        struct column *c = &r->columns[i];
        c->type = field_text(types, (int)i, 0);
        c->base = field_number(types, (int)i, 1);
        c->typmod = (int32_t)strtol(PQgetvalue(types, (int)i, 2), NULL, 10);
        c->elem = field_number(types, (int)i, 3);
        c->basename = field_text(types, (int)i, 4); /* or NULL */
        c->delimiter = *PQgetvalue(types, (int)i, 5);
        layouts[i] = strtoull(PQgetvalue(types, (int)i, 6), NULL, 10);
    }
    PQclear(types);
    buf_free(&oids);
    buf_free(&typmods);
    return types != NULL;
}

static struct relation *relation_new(uint32_t oid, const char *schema, const char *name,
                                     char identity, unsigned n)
{
    struct relation *r = mem_alloc(sizeof *r);

    r->oid = oid;
    r->schema = mem_strdup(schema);
    r->table = mem_strdup(name);
    r->identity = identity;
    r->ncolumns = n;
    r->columns = mem_alloc(n * sizeof *r->columns);
    return r;
}

static const struct column *column_at(const struct relation *r, int attnum)
{
    for (unsigned i = 0; i < r->ncolumns; i++)
        if (r->columns[i].attnum == attnum)
            return &r->columns[i];
    return NULL;
}

/* ------------------------------------------------------------------ columns of a message */

static struct relation *relation_of_message(const struct pgoutput *m)
{
    struct relation *r = relation_new(m->relation.oid, m->relation.schema, m->relation.table,
                                      m->relation.identity, m->relation.n);

    for (unsigned i = 0; i < r->ncolumns; i++) {
        const struct pgoutput_column *from = &m->relation.columns[i];
        r->columns[i] = (struct column){.name = mem_strdup(from->name),
                                        .oid = from->type,
                                        .typmod = from->typmod,
                                        .key = from->key};
    }
    return r;
}

/* What the attribute can have been at this position. False: it was not sent. */
static bool candidate(const struct table *table, const struct attribute *a, lsn_t lsn,
                      struct place_attribute *p)
{
    const struct shape *before = table->shape;
    bool was_sent = before && column_at(before->relation, a->attnum);
    bool is_new = !before || a->attnum > before->highest;

    *p = (struct place_attribute){.attnum = a->attnum, .kind = PLACE_MAY};
    if (before && before->relation->relfilenode == table->attributes->relfilenode)
        p->layout = a->layout;
    if (a->since <= lsn) { /* it was what it is now */
        p->kind = PLACE_MUST;
        p->name = a->name;
        p->type = a->type;
        p->typmod = a->typmod;
        return a->sent;
    }
    if (a->sent && was_sent)
        p->kind = PLACE_MUST;
    else if (a->sent && is_new)
        p->kind = PLACE_NEW;
    return a->sent || was_sent || (a->dropped && is_new);
}

/* Without a table or a shape before, there is only what can be seen: every column as it was, or as
 * it is in the catalog. */
static bool place_by_names(struct relation *r, const struct table *table)
{
    const struct attributes *all = table->attributes;
    const struct relation *before = table->shape ? table->shape->relation : NULL;
    unsigned i = 0;

    if (before && before->ncolumns == r->ncolumns) {
        while (i < r->ncolumns && !strcmp(before->columns[i].name, r->columns[i].name) &&
               before->columns[i].oid == r->columns[i].oid) {
            r->columns[i].attnum = before->columns[i].attnum;
            i++;
        }
        return i == r->ncolumns;
    }
    for (unsigned k = 0; !before && k < all->n; k++) {
        const struct attribute *a = &all->list[k];
        if (!a->sent)
            continue;
        if (i == r->ncolumns || strcmp(a->name, r->columns[i].name) ||
            a->type != r->columns[i].oid || a->typmod != r->columns[i].typmod)
            return false;
        r->columns[i++].attnum = a->attnum;
    }
    return !before && i == r->ncolumns;
}

/* typmods: as the message has them; in the relation they are those of the base types by now. */
static bool place(struct relation *r, const struct table *table, const struct pgoutput *m,
                  const uint64_t *layouts, lsn_t lsn)
{
    const struct attributes *all = table->attributes;
    unsigned n = 0;

    if (!all->exists || !table->shape)
        return place_by_names(r, table);
    struct place_column *columns = mem_alloc(r->ncolumns * sizeof *columns);
    struct place_attribute *attributes = mem_alloc(all->n * sizeof *attributes);
    int *attnums = mem_alloc(r->ncolumns * sizeof *attnums);
    for (unsigned i = 0; i < r->ncolumns; i++)
        columns[i] = (struct place_column){.name = r->columns[i].name,
                                           .type = r->columns[i].oid,
                                           .typmod = m->relation.columns[i].typmod,
                                           .layout = layouts[i]};
    for (unsigned i = 0; i < all->n; i++)
        n += candidate(table, &all->list[i], lsn, &attributes[n]);
    bool proven = place_columns(columns, r->ncolumns, attributes, n, attnums);
    for (unsigned i = 0; proven && i < r->ncolumns; i++)
        r->columns[i].attnum = attnums[i];
    free(columns);
    free(attributes);
    free(attnums);
    return proven;
}

/* ------------------------------------------------------------------ keys */

/* Whether the catalog has a column in the key that is not sent: without it there is no key. */
static bool key_is_hidden(const struct relation *r, const struct attributes *all)
{
    for (unsigned i = 0; i < all->n; i++) {
        const struct attribute *a = &all->list[i];
        if ((r->identity == 'i' ? a->identity : a->primary) && !a->sent)
            return true;
    }
    return false;
}

/*
 * The catalog's part in columns that have their place: NOT NULL, missing values, and the key where
 * a message says nothing of it: under FULL it flags every column, under NOTHING none. False: the
 * key of then cannot be told.
 */
static bool complete(struct relation *r, const struct table *table, bool flagged, lsn_t lsn)
{
    const struct attributes *all = table->attributes;
    bool hidden = key_is_hidden(r, all), told = true;

    if (hidden && (r->identity == 'd' || r->identity == 'i') &&
        ~r->unpublished & (OP_UPDATE | OP_DELETE))
        msg_die(EX_CONFIG, SHAPE_KEY_HIDDEN, r->schema, r->table);
    r->comment = all->comment ? mem_strdup(all->comment) : NULL;
    for (unsigned i = 0; i < r->ncolumns; i++) {
        struct column *c = &r->columns[i];
        const struct attribute *a = attributes_find(all, c->attnum);
        const struct column *before =
            table->shape ? column_at(table->shape->relation, c->attnum) : NULL;
        bool primary = a && !hidden && (r->identity == 'i' ? a->identity : a->primary);
        if (a) {
            c->notnull = a->notnull;
            c->missing = a->missing ? mem_strdup(a->missing) : NULL;
            c->comment = a->comment ? mem_strdup(a->comment) : NULL;
        }
        if (!flagged)
            c->key = all->exists ? primary : before && before->key;
        c->key = c->key && !hidden;
        r->nkey += c->key;
        told = told && (!table->shape || c->key == (before && before->key));
    }
    return flagged || told || all->primary_since <= lsn;
}

/* ------------------------------------------------------------------ what the WAL does not say */

/* Whether values of the one type have the same text as the other, and can stay where they are. */
static bool same_text(const struct column *a, const struct column *b)
{
    enum { NUMERIC = 1700, NUMERIC_ARRAY = 1231, VARCHAR = 1043, TEXT = 25, HEADER = 4 };
    bool texts = (a->base == VARCHAR || a->base == TEXT) && (b->base == VARCHAR || b->base == TEXT);

    if (a->base != b->base || a->elem != b->elem)
        return texts;
    if (a->typmod == b->typmod || (a->base != NUMERIC && a->base != NUMERIC_ARRAY))
        return true;
    /* (precision << 16 | scale) + HEADER: more digits, of which as many are behind the point */
    int32_t from = a->typmod - HEADER, to = b->typmod - HEADER;
    return a->base == NUMERIC && from >= 0 && to > from && (from & 0xffff) == (to & 0xffff) &&
           to >> 16 <= 38 && !(from & 0x8000) && (from & 0x7ff) <= from >> 16;
}

/* Why the rows that the target has are not those of the new shape; NULL: they are. */
static const char *changed_unseen(const struct table *table, const struct relation *now)
{
    const struct relation *then = table->shape ? table->shape->relation : NULL;

    if (table->attributes->rewritten)
        return "was written anew by ALTER TABLE, which the WAL does not show";
    if (!then)
        return NULL;
    for (unsigned i = 0; i < now->ncolumns; i++) {
        const struct column *c = &now->columns[i], *before = column_at(then, c->attnum);
        if (!before && c->attnum <= table->shape->highest)
            return "has a column that was not sent before";
        if (before && !same_text(before, c))
            return "has a column of another type";
    }
    if (then->nkey && !now->nkey)
        return "has lost its key";
    if (!now->nkey && now->identity == 'f' && then->identity != 'f')
        return "has no key, and has REPLICA IDENTITY FULL since then";
    if (now->nkey || then->nkey)
        return NULL;
    for (unsigned i = 0; i < then->ncolumns; i++)
        if (!column_at(now, then->columns[i].attnum))
            return "has no key, and lost a column";
    return then->ncolumns ? NULL : "had no columns";
}

/* ------------------------------------------------------------------ shapes */

static struct shape *shape_new(const struct table *table, struct relation *r)
{
    struct shape *s = mem_alloc(sizeof *s);

    s->relation = r;
    s->highest = table->shape ? table->shape->highest : 0;
    for (unsigned i = 0; i < r->ncolumns; i++)
        if (r->columns[i].attnum > s->highest)
            s->highest = r->columns[i].attnum;
    return s;
}

/* Judges what is complete but for its columns' types; takes the relation. */
static struct shape *judge(const struct table *table, struct relation *r, const char **why)
{
    if (!*why)
        *why = changed_unseen(table, r);
    if (!*why)
        return shape_new(table, r);
    relation_free(r);
    return NULL;
}

struct shape *shape_of_message(struct run *run, struct table *table, const struct pgoutput *m,
                               lsn_t lsn, struct trouble *t, const char **why)
{
    *why = NULL;
    if (!attributes_read(run, table, 0, t))
        return NULL;
    struct relation *r = relation_of_message(m);
    uint64_t *layouts = mem_alloc(r->ncolumns * sizeof *layouts);
    const struct attributes *all = table->attributes;
    bool flagged = r->identity == 'd' || r->identity == 'i';

    r->unpublished = table->unpublished;
    r->relfilenode = all->exists    ? all->relfilenode
                     : table->shape ? table->shape->relation->relfilenode
                                    : 0;
    bool asked = name_types(run, r, layouts, t);
    if (asked && !place(r, table, m, layouts, lsn))
        *why = "has changed its shape, and which of its columns is which cannot be proven";
    else if (asked && !complete(r, table, flagged, lsn))
        *why = "has another primary key, and since when cannot be proven";
    free(layouts);
    if (asked)
        return judge(table, r, why);
    relation_free(r);
    return NULL;
}

struct shape *shape_of_catalog(struct run *run, struct table *table, struct trouble *t,
                               const char **why)
{
    const struct attributes *all = table->attributes;
    unsigned n = 0;

    *why = NULL;
    for (unsigned i = 0; i < all->n; i++)
        n += all->list[i].sent;
    struct relation *r = relation_new(table->oid, all->schema, all->name, all->identity, n);
    struct column *c = r->columns;
    for (unsigned i = 0; i < all->n; i++)
        if (all->list[i].sent)
            *c++ = (struct column){.attnum = all->list[i].attnum,
                                   .name = mem_strdup(all->list[i].name),
                                   .oid = all->list[i].type,
                                   .typmod = all->list[i].typmod};
    r->relfilenode = all->relfilenode;
    if (run->arguments->snapshot != SNAPSHOT_ONLY) /* then there are no changes to miss */
        r->unpublished = table->unpublished;
    uint64_t *layouts = mem_alloc(n * sizeof *layouts);
    bool asked = name_types(run, r, layouts, t);
    free(layouts);
    if (asked) {
        complete(r, table, false, all->lsn);
        struct shape *s = judge(table, r, why);
        if (s && all->n && all->list[all->n - 1].attnum > s->highest)
            s->highest = all->list[all->n - 1].attnum; /* a dropped one */
        return s;
    }
    relation_free(r);
    return NULL;
}

bool shape_same(const struct relation *a, const struct relation *b)
{
    if (strcmp(a->table, b->table) || a->identity != b->identity || a->ncolumns != b->ncolumns)
        return false;
    for (unsigned i = 0; i < a->ncolumns; i++) {
        const struct column *x = &a->columns[i], *y = &b->columns[i];
        if (strcmp(x->name, y->name) || x->attnum != y->attnum || x->oid != y->oid ||
            x->typmod != y->typmod || x->key != y->key)
            return false;
    }
    return true;
}

void shape_add(struct table *table, struct shape *shape)
{
    shape->older = table->shape;
    table->shape = shape;
    buf_clear(&table->known);
}

void shape_replace(struct table *table, struct shape *shape)
{
    shape_free(table->shape);
    table->shape = shape;
    buf_clear(&table->known);
}

void shape_free(struct shape *shape)
{
    while (shape) {
        struct shape *older = shape->older;
        relation_free(shape->relation);
        free(shape);
        shape = older;
    }
}
