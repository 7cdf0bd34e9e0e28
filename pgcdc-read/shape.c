#include "shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "run.h"

static const char table_sql[] =
    "SELECT n.nspname, c.relname, c.relreplident, c.relfilenode"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";

static const char columns_sql[] =
    "SELECT a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull,"
    " a.attisdropped, a.attgenerated <> '', a.attnum = ANY ($2::int2[]),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary"
    "  AND i.indimmediate AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisreplident"
    "  AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))"
    " FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 ORDER BY a.attnum";

enum {
    ATTNUM,
    NAME,
    TYPE,
    TYPMOD,
    NOTNULL,
    DROPPED,
    GENERATED,
    SENT,
    PRIMARY,
    IDENTITY
}; /* its columns */

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
    "  CASE b.typtype WHEN 'b' THEN b.typname END, coalesce(e.typdelim, ',')"
    " FROM t LEFT JOIN pg_type b ON b.oid = t.base LEFT JOIN pg_type e ON e.oid = t.elem"
    " ORDER BY t.ord, t.step DESC";

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

static struct relation *shape_of_message(const struct pgoutput *m)
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

static struct relation *shape_of_catalog(const struct table *table, PGresult *head, PGresult *all)
{
    unsigned n = 0;

    for (int i = 0; i < PQntuples(all); i++)
        n += field_truth(all, i, SENT);
    struct relation *r = relation_new(table->oid, PQgetvalue(head, 0, 0), PQgetvalue(head, 0, 1),
                                      *PQgetvalue(head, 0, 2), n);
    struct column *c = r->columns;
    for (int i = 0; i < PQntuples(all); i++)
        if (field_truth(all, i, SENT))
            *c++ = (struct column){
                .name = field_text(all, i, NAME),
                .oid = field_number(all, i, TYPE),
                .typmod = (int32_t)strtol(PQgetvalue(all, i, TYPMOD), NULL, 10),
                .key = field_truth(all, i, r->identity == 'i' ? IDENTITY : PRIMARY)};
    return r;
}

/* The attnum of the column with this name and type in the catalog, or 0. */
static int attnum_now(PGresult *all, const struct column *c)
{
    for (int i = 0; i < PQntuples(all); i++)
        if (!field_truth(all, i, DROPPED) && !strcmp(PQgetvalue(all, i, NAME), c->name) &&
            field_number(all, i, TYPE) == c->oid)
            return (int)field_number(all, i, ATTNUM);
    return 0;
}

/* The same in the shape that was sent before, or 0. */
static int attnum_before(const struct relation *sent, const struct column *c)
{
    for (unsigned i = 0; sent && i < sent->ncolumns; i++)
        if (!strcmp(sent->columns[i].name, c->name) && sent->columns[i].oid == c->oid)
            return sent->columns[i].attnum;
    return 0;
}

/* The attnum that no column of a message with n columns can have reached. Where none was ever
 * dropped and none is left out, they are numbered without gaps. */
static int attnum_limit(PGresult *all, unsigned n)
{
    bool no_gaps = true, last_sent = true;

    for (int i = 0; i < PQntuples(all); i++) {
        bool sent = field_truth(all, i, SENT);
        if (field_truth(all, i, DROPPED) || field_truth(all, i, GENERATED) || (sent && !last_sent))
            no_gaps = false;
        last_sent = sent; /* what comes after the last of them was added since */
    }
    return no_gaps ? (int)n + 1 : PQntuples(all) + 1;
}

/*
 * A message has no attnums, but its columns are in their order. Those found by name and type have
 * theirs; a run of others (renamed, changed or dropped since) is proven if it exactly fills the gap
 * between its neighbours'.
 */
static void place_columns(struct relation *r, const struct relation *sent, PGresult *all)
{
    int limit = attnum_limit(all, r->ncolumns), before = 0;

    for (unsigned i = 0; i < r->ncolumns; i++) {
        int now = attnum_now(all, &r->columns[i]), then = attnum_before(sent, &r->columns[i]);
        bool ambiguous = now && then && now != then; /* dropped, and another one added */
        r->columns[i].attnum = ambiguous ? 0 : now ? now : then;
    }
    for (unsigned i = 0; i < r->ncolumns; i++) {
        struct column *c = &r->columns[i];
        unsigned next = i;
        while (next < r->ncolumns && !r->columns[next].attnum)
            next++;
        int after = next < r->ncolumns ? r->columns[next].attnum : limit;
        if (!c->attnum && after - before - 1 == (int)(next - i))
            c->attnum = before + 1;
        if (c->attnum <= before)
            msg_die(EX_CONFIG,
                    "the table has changed its shape since, and which column of now is the '%s' of "
                    "then cannot be proven; remove the state folder to read all tables anew "
                    "table=%s.%s",
                    c->name, r->schema, r->table);
        before = c->attnum;
    }
}

/* Whether the catalog has a column in the key that is not sent: without it there is no key. */
static bool key_is_hidden(const struct relation *r, PGresult *all)
{
    for (int i = 0; i < PQntuples(all); i++)
        if (field_truth(all, i, r->identity == 'i' ? IDENTITY : PRIMARY) &&
            !field_truth(all, i, SENT))
            return true;
    return false;
}

/* The catalog's part in columns that have their place: NOT NULL, and the key where the message says
 * nothing of it: under FULL it flags every column, under NOTHING none. */
static void complete_columns(struct relation *r, PGresult *all)
{
    bool known = r->identity == 'd' || r->identity == 'i', hidden = key_is_hidden(r, all);

    if (hidden && known && ~r->unpublished & (OP_UPDATE | OP_DELETE))
        msg_die(EX_CONFIG, SHAPE_KEY_HIDDEN, r->schema, r->table);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        struct column *c = &r->columns[i];
        bool primary = false;
        for (int row = 0; row < PQntuples(all); row++)
            if ((int)field_number(all, row, ATTNUM) == c->attnum) {
                c->notnull = field_truth(all, row, NOTNULL);
                primary = field_truth(all, row, PRIMARY);
            }
        c->key = !hidden && (known ? c->key : primary);
        r->nkey += c->key;
    }
}

static bool name_types(struct run *run, struct relation *r, struct trouble *t)
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
    }
    PQclear(types);
    buf_free(&oids);
    buf_free(&typmods);
    return types != NULL;
}

struct relation *shape_read(struct run *run, struct table *table, const struct pgoutput *m,
                            struct trouble *t)
{
    char oid[16];
    struct relation *r = NULL;

    snprintf(oid, sizeof oid, "%u", table->oid);
    PGresult *head = source_query(&run->loop, run->loop.sql, t, table_sql, oid, NULL);
    PGresult *all =
        head ? source_query(&run->loop, run->loop.sql, t, columns_sql, oid, table->attnums, NULL)
             : NULL;
    if (all && !m && !PQntuples(head)) {
        *t = (struct trouble){.text = "the table was dropped meanwhile"};
    } else if (all) {
        r = m ? shape_of_message(m) : shape_of_catalog(table, head, all);
        if (run->arguments->snapshot != SNAPSHOT_ONLY) /* then there are no changes to miss */
            r->unpublished = table->unpublished;
        place_columns(r, table->sent, all);
        complete_columns(r, all);
        r->relfilenode = PQntuples(head) ? field_number(head, 0, 3)
                         : table->sent   ? table->sent->relfilenode
                                         : 0;
        if (!name_types(run, r, t)) {
            relation_free(r);
            r = NULL;
        }
    }
    PQclear(head);
    PQclear(all);
    return r;
}

bool shape_same(const struct relation *a, const struct relation *b)
{
    if (strcmp(a->schema, b->schema) || strcmp(a->table, b->table) || a->identity != b->identity ||
        a->relfilenode != b->relfilenode || a->ncolumns != b->ncolumns)
        return false;
    for (unsigned i = 0; i < a->ncolumns; i++) {
        const struct column *x = &a->columns[i], *y = &b->columns[i];
        if (strcmp(x->name, y->name) || strcmp(x->type, y->type) || x->attnum != y->attnum ||
            x->oid != y->oid || x->base != y->base || x->elem != y->elem ||
            x->typmod != y->typmod || x->delimiter != y->delimiter || x->key != y->key ||
            x->notnull != y->notnull)
            return false;
    }
    return true;
}
