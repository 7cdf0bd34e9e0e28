#include "defaults.h"

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

static void put_unrepresentable(struct parquet *to, size_t column, const struct target_column *c,
                                const char *text)
{
    union parquet_value key = {.bytes = {c->name, strlen(c->name)}};
    union parquet_value value = {.bytes = {text, strlen(text)}};
    parquet_put_entry(to, column, &key, &value);
}

void defaults_stage(struct file *file, struct staged *s, char *name, bool strict)
{
    unsigned n = count(s), at = 0;
    struct parquet_column *columns = mem_alloc((n + 1) * sizeof *columns);
    struct value_scratch scratch = {0};
    union parquet_value v;

    for (unsigned i = 0; i < s->shape->ncolumns; i++) {
        if (!default_of(s, i))
            continue;
        columns[at] = s->shape->columns[i].parquet;
        columns[at++].name = s->shape->columns[i].staged;
    }
    columns[n] = (struct parquet_column){
        .name = "_cdc_unrepresentable", .type = PARQUET_STRING, .shape = PARQUET_MAP};
    file_open(file, name, columns, n + 1, s->shape->source);
    at = 0;
    for (unsigned i = 0; i < s->shape->ncolumns; i++) {
        const struct target_column *c = &s->shape->columns[i];
        const char *text = default_of(s, i);
        if (!text)
            continue;
        switch (value_put(&scratch, file_parquet(file), at++, c, text, strlen(text), &v)) {
        case CONVERT_OK:
            break;
        case CONVERT_UNREPRESENTABLE:
            if (c->key)
                die_of_default(s, c, text,
                               "the default of an added column, which is part of the key, cannot "
                               "be held: leave the table out (pgcdc-read --exclude)");
            if (strict)
                die_of_default(s, c, text,
                               "the default of an added column cannot be held by it: to go on, "
                               "run once with --on-unrepresentable null, which keeps its text "
                               "aside");
            put_unrepresentable(file_parquet(file), n, c, text);
            break;
        case CONVERT_BAD:
            die_of_default(s, c, text, "a default is not what PostgreSQL prints for its type");
        }
    }
    file_end_row(file);
    file_close(file);
    s->defaults = name;
    value_scratch_free(&scratch);
    free(columns);
}

void defaults_pack(msgpack_packer *pk, const struct staged *s)
{
    struct buf text = {0};
    pack_str(pk, "defaults");
    msgpack_pack_map(pk, 2);
    pack_str(pk, "file");
    pack_str(pk, s->defaults);
    pack_str(pk, "columns");
    msgpack_pack_array(pk, count(s));
    for (unsigned i = 0; i < s->shape->ncolumns; i++) {
        const struct target_column *c = &s->shape->columns[i];
        const char *value = default_of(s, i);
        if (!value)
            continue;
        msgpack_pack_array(pk, 3);
        msgpack_pack_int(pk, c->attnum);
        buf_clear(&text);
        buf_str(&text, "s.");
        buf_str(&text, c->staged);
        struct buf sql = {0};
        sql_converted(&sql, c, text.data);
        pack_str_n(pk, sql.data, sql.len);
        buf_free(&sql);
        buf_clear(&text);
        value_put_copy(&text, value, strlen(value));
        pack_str_n(pk, text.len > 0 ? text.data : "", text.len);
    }
    buf_free(&text);
}
