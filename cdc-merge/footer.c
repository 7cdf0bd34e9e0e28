#include "footer.h"

#include "version.h"

/* As parquet.thrift numbers them. */
enum { REQUIRED = 0, OPTIONAL = 1, REPEATED = 2 };
enum { CODEC_ZSTD = 6 };
enum {
    CONVERTED_UTF8 = 0,
    CONVERTED_MAP = 1,
    CONVERTED_LIST = 3,
    CONVERTED_DECIMAL = 5,
    CONVERTED_DATE = 6,
    CONVERTED_TIMESTAMP_MICROS = 10,
    CONVERTED_INT_16 = 16,
};
enum {
    LOGICAL_STRING = 1,
    LOGICAL_MAP = 2,
    LOGICAL_LIST = 3,
    LOGICAL_DECIMAL = 5,
    LOGICAL_DATE = 6,
    LOGICAL_TIMESTAMP = 8,
    LOGICAL_INTEGER = 10,
};

/* ---- row groups ---- */

static bool is_floating(const struct leaf *l)
{
    return l->type == PARQUET_FLOAT || l->type == PARQUET_DOUBLE;
}

static void put_bound(struct thrift *t, int id, const struct leaf *l, bool upper)
{
    const struct stats *s = &l->stats;
    union parquet_value v = {0};
    uint8_t data[STATS_BYTES];
    size_t len = l->width;
    if (l->physical == PHYSICAL_BYTE_ARRAY) {
        if (upper)
            stats_upper_bytes(s, l->type == PARQUET_STRING, data, &len);
        else
            len = stats_lower_bytes(s, l->type == PARQUET_STRING, data);
    } else {
        if (is_floating(l)) {
            double d = upper ? s->max.d : s->min.d;
            if (d == 0) /* which zero it was does not matter to the bound */
                d = upper ? 0.0 : -0.0;
            if (l->type == PARQUET_DOUBLE)
                v.d = d;
            else
                v.f = (float)d; /* it was one */
        } else if (l->physical == PHYSICAL_FIXED) {
            v.decimal = upper ? s->max.decimal : s->min.decimal;
        } else if (l->type == PARQUET_DECIMAL) {
            v.decimal = upper ? s->max.i : s->min.i;
        } else {
            v.i = upper ? s->max.i : s->min.i;
        }
        leaf_encode(l, &v, data);
    }
    thrift_binary(t, id, data, len);
}

static void put_statistics(struct thrift *t, const struct leaf *l)
{
    const struct stats *s = &l->stats;
    bool bytes = l->physical == PHYSICAL_BYTE_ARRAY;
    uint8_t unused[STATS_BYTES];
    size_t len;
    bool bounds = s->any && s->nans == 0;
    if (bounds && bytes)
        bounds = stats_upper_bytes(s, l->type == PARQUET_STRING, unused, &len);

    thrift_struct(t, 12);
    thrift_i64(t, 3, s->nulls);
    if (bounds) {
        put_bound(t, 5, l, true);
        put_bound(t, 6, l, false);
        thrift_bool(t, 7, !(bytes && s->max.bytes.cut));
        thrift_bool(t, 8, !(bytes && s->min.bytes.cut));
    }
    if (is_floating(l))
        thrift_i64(t, 9, s->nans);
    thrift_end(t);
}

void footer_begin_group(struct footer_group *g, struct buf *out, size_t nchunks)
{
    *g = (struct footer_group){.thrift = thrift_begin(out)};
    thrift_list(&g->thrift, 1, THRIFT_STRUCT, nchunks);
}

static void put_path(struct thrift *t, const struct footer_chunk *c)
{
    enum parquet_shape shape = c->column->shape;
    thrift_list(t, 3, THRIFT_BINARY, shape == PARQUET_SCALAR ? 1 : 3);
    thrift_item_string(t, c->column->name);
    if (shape == PARQUET_LIST) {
        thrift_item_string(t, "list");
        thrift_item_string(t, "element");
    } else if (shape == PARQUET_MAP) {
        thrift_item_string(t, "key_value");
        thrift_item_string(t, c->second ? "value" : "key");
    }
}

void footer_put_chunk(struct footer_group *g, const struct footer_chunk *c)
{
    struct thrift *t = &g->thrift;
    const struct leaf *l = c->leaf;
    size_t compressed = c->dict_bytes + l->pages.len;
    if (!g->any)
        g->offset = c->offset;
    g->any = true;
    g->compressed += compressed;
    g->uncompressed += l->uncompressed;

    thrift_element(t);
    thrift_i64(t, 2, 0); /* file_offset: deprecated, and 0 is what to write */
    thrift_struct(t, 3);
    thrift_i32(t, 1, (int32_t)l->physical);
    unsigned encodings = l->encodings | 1u << ENCODING_RLE; /* that of the levels */
    thrift_list(t, 2, THRIFT_I32, (size_t)__builtin_popcount(encodings));
    for (int i = 0; encodings >> i; i++)
        if (encodings >> i & 1)
            thrift_item_i32(t, i);
    put_path(t, c);
    thrift_i32(t, 4, CODEC_ZSTD);
    thrift_i64(t, 5, (int64_t)l->chunk_values);
    thrift_i64(t, 6, (int64_t)l->uncompressed);
    thrift_i64(t, 7, (int64_t)compressed);
    thrift_i64(t, 9, (int64_t)(c->offset + c->dict_bytes));
    if (c->dict_bytes > 0)
        thrift_i64(t, 11, (int64_t)c->offset);
    put_statistics(t, l);
    thrift_end(t);
    thrift_end(t);
}

void footer_end_group(struct footer_group *g, uint64_t rows)
{
    thrift_i64(&g->thrift, 2, (int64_t)g->uncompressed);
    thrift_i64(&g->thrift, 3, (int64_t)rows);
    thrift_i64(&g->thrift, 5, (int64_t)g->offset);
    thrift_i64(&g->thrift, 6, (int64_t)g->compressed);
    thrift_end(&g->thrift);
}

/* ---- schema ---- */

static void put_group(struct thrift *t, const char *name, int repetition, int children,
                      int converted, int logical)
{
    thrift_element(t);
    if (repetition >= 0)
        thrift_i32(t, 3, repetition);
    thrift_string(t, 4, name);
    thrift_i32(t, 5, children);
    if (converted >= 0) {
        thrift_i32(t, 6, converted);
        thrift_struct(t, 10);
        thrift_struct(t, logical);
        thrift_end(t);
        thrift_end(t);
    }
    thrift_end(t);
}

static int converted_type(enum parquet_type type)
{
    switch (type) {
    case PARQUET_STRING:
        return CONVERTED_UTF8;
    case PARQUET_DECIMAL:
        return CONVERTED_DECIMAL;
    case PARQUET_DATE:
        return CONVERTED_DATE;
    case PARQUET_TIMESTAMP:
    case PARQUET_TIMESTAMP_NTZ:
        return CONVERTED_TIMESTAMP_MICROS;
    case PARQUET_INT16:
        return CONVERTED_INT_16;
    default:
        return -1;
    }
}

/* The union LogicalType, as field 10 of a schema element. */
static void put_logical_type(struct thrift *t, const struct parquet_column *c)
{
    thrift_struct(t, 10);
    switch (c->type) {
    case PARQUET_STRING:
        thrift_struct(t, LOGICAL_STRING);
        break;
    case PARQUET_DECIMAL:
        thrift_struct(t, LOGICAL_DECIMAL);
        thrift_i32(t, 1, c->scale);
        thrift_i32(t, 2, c->precision);
        break;
    case PARQUET_DATE:
        thrift_struct(t, LOGICAL_DATE);
        break;
    case PARQUET_INT16:
        thrift_struct(t, LOGICAL_INTEGER);
        thrift_i8(t, 1, 16);
        thrift_bool(t, 2, true); /* signed */
        break;
    default:
        thrift_struct(t, LOGICAL_TIMESTAMP);
        thrift_bool(t, 1, c->type == PARQUET_TIMESTAMP); /* adjusted to UTC */
        thrift_struct(t, 2);
        thrift_struct(t, 2); /* microseconds */
        thrift_end(t);
        thrift_end(t);
    }
    thrift_end(t);
    thrift_end(t);
}

static void put_primitive(struct thrift *t, const char *name, int repetition,
                          const struct parquet_column *c)
{
    size_t width;
    enum physical physical = leaf_physical(c->type, c->precision, &width);
    int converted = converted_type(c->type);
    thrift_element(t);
    thrift_i32(t, 1, (int32_t)physical);
    if (physical == PHYSICAL_FIXED)
        thrift_i32(t, 2, (int32_t)width);
    thrift_i32(t, 3, repetition);
    thrift_string(t, 4, name);
    if (converted >= 0) {
        thrift_i32(t, 6, converted);
        if (c->type == PARQUET_DECIMAL) {
            thrift_i32(t, 7, c->scale);
            thrift_i32(t, 8, c->precision);
        }
        put_logical_type(t, c);
    }
    thrift_end(t);
}

static void put_column(struct thrift *t, const struct parquet_column *c)
{
    switch (c->shape) {
    case PARQUET_SCALAR:
        put_primitive(t, c->name, OPTIONAL, c);
        break;
    case PARQUET_LIST:
        put_group(t, c->name, OPTIONAL, 1, CONVERTED_LIST, LOGICAL_LIST);
        put_group(t, "list", REPEATED, 1, -1, -1);
        put_primitive(t, "element", OPTIONAL, c);
        break;
    case PARQUET_MAP:
        put_group(t, c->name, OPTIONAL, 1, CONVERTED_MAP, LOGICAL_MAP);
        put_group(t, "key_value", REPEATED, 2, -1, -1);
        put_primitive(t, "key", REQUIRED, c);
        put_primitive(t, "value", OPTIONAL, c);
        break;
    }
}

static void put_key_value(struct thrift *t, const char *key, const char *value)
{
    thrift_element(t);
    thrift_string(t, 1, key);
    thrift_string(t, 2, value);
    thrift_end(t);
}

void footer_put(struct buf *out, const struct parquet_column *columns, size_t ncolumns,
                uint64_t rows, const struct buf *groups, size_t ngroups)
{
    struct thrift t = thrift_begin(out);
    size_t nelements = 1, nleaves = 0;
    for (size_t i = 0; i < ncolumns; i++) {
        enum parquet_shape shape = columns[i].shape;
        nelements += shape == PARQUET_SCALAR ? 1 : shape == PARQUET_LIST ? 3 : 4;
        nleaves += shape == PARQUET_MAP ? 2 : 1;
    }
    thrift_i32(&t, 1, 1); /* version of the format */
    thrift_list(&t, 2, THRIFT_STRUCT, nelements);
    put_group(&t, "schema", -1, (int)ncolumns, -1, -1);
    for (size_t i = 0; i < ncolumns; i++)
        put_column(&t, &columns[i]);
    thrift_i64(&t, 3, (int64_t)rows);
    thrift_list(&t, 4, THRIFT_STRUCT, ngroups);
    bytes_put(out, groups->data, groups->len);

    /* Spark takes a file without this key for one that may be in the Julian calendar, and where its
     * datetimeRebaseModeInRead is EXCEPTION (the default before 4.0) it refuses dates before 1582
     * and times before 1900. With it (and no legacy key) dates are proleptic Gregorian, as ours. */
    thrift_list(&t, 5, THRIFT_STRUCT, 1);
    put_key_value(&t, "org.apache.spark.version", "3.5.0");

    thrift_string(&t, 6, "pgcdc version " PGCDC_VERSION);
    thrift_list(&t, 7, THRIFT_STRUCT, nleaves); /* column_orders: all TYPE_ORDER */
    for (size_t i = 0; i < nleaves; i++) {
        thrift_element(&t);
        thrift_struct(&t, 1);
        thrift_end(&t);
        thrift_end(&t);
    }
    thrift_end(&t);
}
