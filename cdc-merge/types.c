#include "types.h"

#include <stdio.h>
#include <string.h>

/* OIDs of built-in types never change: src/include/catalog/pg_type.dat. */
enum {
    BOOLOID = 16,
    BYTEAOID = 17,
    INT8OID = 20,
    INT2OID = 21,
    INT4OID = 23,
    OIDOID = 26,
    JSONOID = 114,
    FLOAT4OID = 700,
    FLOAT8OID = 701,
    DATEOID = 1082,
    TIMESTAMPOID = 1114,
    TIMESTAMPTZOID = 1184,
    NUMERICOID = 1700,
    JSONBOID = 3802,
};

enum { MAX_PRECISION = 38 };

static const struct {
    uint32_t oid;
    enum parquet_type parquet;
    const char *sql;
    bool fallible, approximate;
} known[] = {
    {BOOLOID, PARQUET_BOOLEAN, "BOOLEAN", false, false},
    {BYTEAOID, PARQUET_BINARY, "BINARY", false, false},
    {INT2OID, PARQUET_INT16, "SMALLINT", false, false},
    {INT4OID, PARQUET_INT32, "INT", false, false},
    {INT8OID, PARQUET_INT64, "BIGINT", false, false},
    {OIDOID, PARQUET_INT64, "BIGINT", false, false},
    {FLOAT4OID, PARQUET_FLOAT, "FLOAT", false, true},
    {FLOAT8OID, PARQUET_DOUBLE, "DOUBLE", false, true},
    {DATEOID, PARQUET_DATE, "DATE", true, false},
    {TIMESTAMPOID, PARQUET_TIMESTAMP_NTZ, "TIMESTAMP_NTZ", true, false},
    {TIMESTAMPTZOID, PARQUET_TIMESTAMP, "TIMESTAMP", true, false},
};

/* A typmod holds precision and scale in its halves, shifted by 4; the scale has 11 bits and a sign
 * since PostgreSQL 15 (make_numeric_typmod in numeric.c). A negative scale means zeros before the
 * point, one above the precision zeros behind it: both only make the precision larger here. */
static bool decimal_of(int32_t typmod, const struct types_options *options, int *precision,
                       int *scale)
{
    if (typmod >= 4) {
        *precision = ((typmod - 4) >> 16) & 0xffff;
        *scale = (((typmod - 4) & 0x7ff) ^ 1024) - 1024;
        if (*scale < 0) {
            *precision -= *scale;
            *scale = 0;
        } else if (*scale > *precision) {
            *precision = *scale;
        }
        if (*precision <= MAX_PRECISION)
            return true;
    }
    *precision = options->numeric_precision;
    *scale = options->numeric_scale;
    return *precision > 0;
}

/* The type of a value that is no array, or of an array's element. */
static void scalar(uint32_t oid, int32_t typmod, bool key, const struct types_options *options,
                   struct target_column *to)
{
    int precision, scale;
    snprintf(to->type, sizeof to->type, "STRING"); /* PostgreSQL's text, where nothing else fits */
    to->parquet = (struct parquet_column){.type = PARQUET_STRING};
    if (oid == NUMERICOID && decimal_of(typmod, options, &precision, &scale)) {
        snprintf(to->type, sizeof to->type, "DECIMAL(%d,%d)", precision, scale);
        to->parquet.type = PARQUET_DECIMAL;
        to->parquet.precision = (uint8_t)precision;
        to->parquet.scale = (uint8_t)scale;
        to->fallible = true;
        to->approximate = true;
    }
    if ((oid == JSONOID || oid == JSONBOID) && options->json_variant && !key) {
        snprintf(to->type, sizeof to->type, "VARIANT");
        to->variant = true;
        to->fallible = true;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].oid != oid)
            continue;
        snprintf(to->type, sizeof to->type, "%s", known[i].sql);
        to->parquet.type = known[i].parquet;
        to->fallible = known[i].fallible;
        to->approximate = known[i].approximate;
    }
}

static void list_of(enum form form, struct target_column *to)
{
    char element[sizeof to->type];
    memcpy(element, to->type, sizeof element);
    snprintf(to->type, sizeof to->type, "ARRAY<%.*s>", (int)sizeof to->type - 8, element);
    to->parquet.shape = PARQUET_LIST;
    to->form = form;
}

/* Types of extensions have no OID of their own. */
static bool is_named(const struct column *c, const char *name)
{
    return c->basename && strcmp(c->basename, name) == 0;
}

void types_column(const struct column *from, bool key, const struct types_options *options,
                  struct target_column *to)
{
    *to = (struct target_column){.name = from->name, .attnum = from->attnum, .key = key};
    snprintf(to->staged, sizeof to->staged, "c%d", from->attnum % 100000);
    snprintf(to->carried, sizeof to->carried, "k%d", from->attnum % 100000);
    if (from->elem) {
        scalar(from->elem, from->typmod, key, options, to);
        list_of(FORM_ARRAY, to);
        to->delimiter = from->delimiter;
        to->fallible = true; /* it may have more dimensions than one */
    } else if (is_named(from, "vector") || is_named(from, "halfvec")) {
        scalar(FLOAT4OID, -1, key, options, to);
        list_of(FORM_VECTOR, to);
    } else if (is_named(from, "hstore") && !key) {
        snprintf(to->type, sizeof to->type, "MAP<STRING,STRING>");
        to->parquet = (struct parquet_column){.type = PARQUET_STRING, .shape = PARQUET_MAP};
        to->form = FORM_HSTORE;
    } else {
        scalar(from->base, from->typmod, key, options, to);
    }
}
