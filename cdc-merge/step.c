#include "step.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "defaults.h"
#include "json.h"
#include "sql.h"
#include "sql_columns.h"

/* An array of strings; what goes between each two is not known here. */
static void pack_statement(msgpack_packer *pk, const struct buf *sql)
{
    size_t holes = 0;
    for (size_t i = 0; i < sql->len; i++)
        holes += sql->data[i] == SQL_PERMIT;
    msgpack_pack_array(pk, holes + 1);
    const char *p = sql->data, *end = p + sql->len;
    for (; holes > 0; holes--) {
        const char *hole = memchr(p, SQL_PERMIT, (size_t)(end - p));
        pack_str_n(pk, p, (size_t)(hole - p));
        p = hole + 1;
    }
    pack_str_n(pk, p, (size_t)(end - p));
}

static void pack_column(msgpack_packer *pk, const char *name, const char *type, int attnum,
                        const char *comment)
{
    msgpack_pack_array(pk, comment ? 4 : 3);
    pack_str(pk, name);
    pack_str(pk, type);
    msgpack_pack_int(pk, attnum);
    if (comment)
        pack_str(pk, comment);
}

static void pack_columns(msgpack_packer *pk, const struct shape *s)
{
    const char *name, *type;
    size_t added = 0;
    while (sql_added_column(s, added, &type))
        added++;
    pack_str(pk, "columns");
    msgpack_pack_array(pk, s->ncolumns + added);
    for (unsigned i = 0; i < s->ncolumns; i++)
        pack_column(pk, s->columns[i].name, s->columns[i].type, s->columns[i].attnum,
                    s->relation->columns[i].comment);
    for (size_t i = 0; (name = sql_added_column(s, i, &type)); i++)
        pack_column(pk, name, type, 0, NULL);
}

static void pack_key(msgpack_packer *pk, const struct shape *s)
{
    pack_str(pk, "key");
    msgpack_pack_array(pk, s->nkey);
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (s->columns[i].key)
            pack_str(pk, s->columns[i].name);
}

static void pack_files(msgpack_packer *pk, const struct staged *s)
{
    size_t n = s->folder ? 0 : s->nfiles;
    pack_str(pk, "files");
    msgpack_pack_array(pk, n + (s->defaults != NULL));
    for (size_t i = 0; i < n; i++)
        pack_str(pk, s->files[i].name);
    if (s->defaults)
        pack_str(pk, s->defaults);
}

/* Those that a snapshot reads: the earlier attempts' and its own. */
static void pack_folders(msgpack_packer *pk, const struct step_options *o, const struct staged *s)
{
    pack_str(pk, "folders");
    msgpack_pack_array(pk, s->nearlier + s->nfiles);
    for (size_t i = 0; i < s->nearlier; i++)
        pack_str(pk, s->earlier[i]);
    if (s->nfiles) {
        char *own = mem_printf("%s/%s", o->start->run, s->folder);
        pack_str(pk, own);
        free(own);
    }
}

/* ---- properties ---- */

/* Delta takes these in a column's name only with column mapping. */
static bool needs_column_mapping(const struct shape *s)
{
    for (unsigned i = 0; i < s->ncolumns; i++)
        if (strpbrk(s->columns[i].name, " ,;{}()\n\t="))
            return true;
    return false;
}

/* Which column is which attnum: {"oid":1,"lsn":"0/1","seq":0,"columns":{"1":"id"}}. */
static void put_columns(struct buf *json, const struct shape *s)
{
    const struct relation *r = s->relation;
    buf_printf(json, "{\"oid\":%" PRIu32 ",\"lsn\":\"%s\",\"seq\":%" PRIu64 ",\"columns\":{",
               r->oid, LSN_TEXT(r->lsn), r->seq);
    for (unsigned i = 0; i < s->ncolumns; i++) {
        buf_printf(json, "%s\"%d\":", i > 0 ? "," : "", s->columns[i].attnum);
        json_text(json, s->columns[i].name, strlen(s->columns[i].name));
    }
    buf_str(json, "}}");
}

struct property {
    const char *key, *value;
};

enum { MAX_PROPERTIES = 8 };

/* What a table that we make says of itself. `source` and `columns` are buffers for the texts. */
static size_t make_properties(const struct step_options *o, const struct shape *s,
                              const char *snapshot, struct property *p, struct buf *source,
                              struct buf *columns)
{
    size_t n = 0;
    buf_printf(source, "%s/%s", o->start->source.system, o->start->source.database);
    put_columns(columns, s);
    p[n++] = (struct property){"pgcdc.pipeline", o->start->pipeline};
    p[n++] = (struct property){"pgcdc.source", source->data};
    p[n++] = (struct property){"pgcdc.table", s->source};
    p[n++] = (struct property){"pgcdc.mode", s->kind == LOG ? "append" : "merge"};
    p[n++] = (struct property){"pgcdc.deletes", s->soft ? "soft" : "hard"};
    p[n++] = (struct property){"pgcdc.columns", columns->data};
    if (snapshot)
        p[n++] = (struct property){"pgcdc.batch", snapshot};
    if (needs_column_mapping(s))
        p[n++] = (struct property){"delta.columnMapping.mode", "name"};
    return n;
}

static void pack_properties(msgpack_packer *pk, const struct property *p, size_t n)
{
    pack_str(pk, "properties");
    msgpack_pack_map(pk, n);
    for (size_t i = 0; i < n; i++) {
        pack_str(pk, p[i].key);
        pack_str(pk, p[i].value);
    }
}

/* ---- the step ---- */

static void pack_written(msgpack_packer *pk, struct sql_written written)
{
    pack_str(pk, "written");
    msgpack_pack_array(pk, written.most == SQL_ANY ? 1 : 2);
    msgpack_pack_uint64(pk, written.least);
    if (written.most != SQL_ANY)
        msgpack_pack_uint64(pk, written.most);
}

void step_pack(msgpack_packer *pk, const struct step_options *o, const struct staged *s,
               const char *snapshot)
{
    const struct sql_place place = {o->catalog, o->staging, o->folder};
    const struct shape *shape = s->shape;
    struct property properties[MAX_PROPERTIES];
    struct buf source = {0}, columns = {0}, sql = {0};
    size_t n = make_properties(o, shape, snapshot, properties, &source, &columns);
    bool applies = snapshot || s->nfiles > 0 || s->cleared;

    const char *comment = shape->relation->comment;

    msgpack_pack_map(pk, 10u + (comment != NULL) + (s->defaults != NULL) + (snapshot ? 2u : 0u) +
                             2u * applies);
    pack_str(pk, "table");
    msgpack_pack_array(pk, 3);
    pack_str(pk, o->catalog);
    pack_str(pk, shape->schema);
    pack_str(pk, shape->name);
    pack_str(pk, "source");
    pack_str(pk, shape->source);
    pack_str(pk, "oid");
    msgpack_pack_uint32(pk, shape->relation->oid);
    pack_str(pk, "relation");
    msgpack_pack_array(pk, 2);
    msgpack_pack_uint64(pk, shape->relation->lsn);
    msgpack_pack_uint64(pk, shape->relation->seq);
    pack_columns(pk, shape);
    if (comment) {
        pack_str(pk, "comment");
        pack_str(pk, comment);
    }
    pack_str(pk, "dropped");
    pack_str(pk, o->drop ? "drop" : "keep");
    pack_key(pk, shape);
    pack_properties(pk, properties, n);
    pack_files(pk, s);
    pack_str(pk, "rows");
    msgpack_pack_uint64(pk, staged_rows(s));
    if (s->defaults)
        defaults_pack(pk, s);
    if (snapshot) {
        pack_folders(pk, o, s);
        sql_create(&sql, &place, s);
        pack_str(pk, "create");
        pack_statement(pk, &sql);
        buf_clear(&sql);
        sql_replace(&sql, &place, s);
    } else if (applies) {
        sql_change(&sql, &place, s);
    }
    if (applies) {
        pack_str(pk, "apply");
        pack_statement(pk, &sql);
        pack_written(pk, sql_written(s, snapshot != NULL));
    }
    buf_free(&source);
    buf_free(&columns);
    buf_free(&sql);
}
