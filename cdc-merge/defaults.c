#include "defaults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "sql_columns.h"
#include "value.h"

static bool had(const struct shape *s, int attnum)
{
    for (unsigned i = 0; s && i < s->ncolumns; i++)
        if (s->columns[i].attnum == attnum)
            return true;
    return false;
}

/* The default that column i has in older rows, or NULL. */
static const char *default_of(const struct staged *s, unsigned i)
{
    const struct column *c = &s->shape->relation->columns[i];
    return s->shape->kind == LOG || had(s->before, c->attnum) ? NULL : c->missing;
}

static unsigned count(const struct staged *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->shape->ncolumns; i++)
        n += default_of(s, i) != NULL;
    return n;
}

bool defaults_exist(const struct staged *s)
{
    return count(s) > 0;
}

static _Noreturn void die_of_default(const struct staged *s, const struct target_column *c,
                                     const char *text, const char *what)
{
    struct buf shown = {0};
    value_show(&shown, text, strlen(text));
    msg_die(EX_DATAERR, "%s table=%s column=%s type=%s value=%s", what, s->shape->source, c->name,
            c->type, shown.data);
}

/* In `column` of the file; `unrepresentable` is the one for what cannot be held. */
static void put_default(struct parquet *to, size_t column, size_t unrepresentable,
                        const struct staged *s, const struct target_column *c, const char *text)
{
    struct value_scratch scratch = {0};
    union parquet_value v;
    const union parquet_value name = {.bytes = {c->name, strlen(c->name)}};
    const union parquet_value value = {.bytes = {text, strlen(text)}};
    switch (value_put(&scratch, to, column, c, text, strlen(text), &v)) {
    case CONVERT_OK:
        break;
    case CONVERT_UNREPRESENTABLE:
        if (c->key)
            die_of_default(s, c, text,
                           "the default of an added column is part of the key, and cannot be held: "
                           "leave the table out (pgcdc-read --exclude) or, if no row has it any "
                           "more, VACUUM FULL the table");
        parquet_put_entry(to, unrepresentable, &name, &value);
        break;
    case CONVERT_BAD:
        die_of_default(s, c, text, "a default is not what PostgreSQL prints for its type");
    }
    value_scratch_free(&scratch);
}

void defaults_stage(struct file *file, struct staged *s, char *name)
{
    const struct shape *shape = s->shape;
    unsigned n = count(s), at = 0;
    struct parquet_column *columns = mem_alloc((n + 1) * sizeof *columns);
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        if (!default_of(s, i))
            continue;
        columns[at] = shape->columns[i].parquet;
        columns[at++].name = shape->columns[i].staged;
    }
    columns[n] = (struct parquet_column){
        .name = "_cdc_unrepresentable", .type = PARQUET_STRING, .shape = PARQUET_MAP};

    file_open(file, name, columns, n + 1, shape->source);
    at = 0;
    for (unsigned i = 0; i < shape->ncolumns; i++) {
        const char *text = default_of(s, i);
        if (text)
            put_default(file_parquet(file), at++, n, s, &shape->columns[i], text);
    }
    file_end_row(file);
    file_close(file);
    s->defaults = name;
    free(columns);
}

static void pack_default(msgpack_packer *pk, const struct target_column *c, const char *text)
{
    struct buf sql = {0}, field = {0};
    char staged[sizeof c->staged + 2];
    snprintf(staged, sizeof staged, "s.%s", c->staged);
    sql_converted(&sql, c, staged);
    value_put_copy(&field, text, strlen(text));
    msgpack_pack_array(pk, 3);
    msgpack_pack_int(pk, c->attnum);
    pack_str_n(pk, sql.data, sql.len);
    pack_str_n(pk, field.len > 0 ? field.data : "", field.len);
    buf_free(&sql);
    buf_free(&field);
}

void defaults_pack(msgpack_packer *pk, const struct staged *s)
{
    pack_str(pk, "defaults");
    msgpack_pack_map(pk, 2);
    pack_str(pk, "file");
    pack_str(pk, s->defaults);
    pack_str(pk, "columns");
    msgpack_pack_array(pk, count(s));
    for (unsigned i = 0; i < s->shape->ncolumns; i++) {
        const char *text = default_of(s, i);
        if (text)
            pack_default(pk, &s->shape->columns[i], text);
    }
}
