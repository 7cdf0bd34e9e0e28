#include "leaf.h"

#include "msg.h"

/* As parquet.thrift numbers them. */
enum { ENCODING_PLAIN = 0, ENCODING_RLE = 3, ENCODING_RLE_DICTIONARY = 8 };
enum { PAGE_DATA = 0, PAGE_DICTIONARY = 2 };

enum {
    ZSTD_LEVEL = 3,
    DICT_MAX_BYTES = 1 << 20,
    DICT_TRIAL = 8192, /* so many distinct values are taken in before the dictionary is judged */
    KEEP = 1 << 20,    /* memory kept for the next file, per buffer */
};

enum physical leaf_physical(enum parquet_type type, unsigned precision, size_t *width)
{
    *width = 4;
    switch (type) {
    case PARQUET_BOOLEAN:
        *width = 1;
        return PHYSICAL_BOOLEAN;
    case PARQUET_INT16:
    case PARQUET_INT32:
    case PARQUET_DATE:
        return PHYSICAL_INT32;
    case PARQUET_FLOAT:
        return PHYSICAL_FLOAT;
    case PARQUET_STRING:
    case PARQUET_BINARY:
        *width = 0;
        return PHYSICAL_BYTE_ARRAY;
    case PARQUET_DECIMAL:
        if (precision <= 9)
            return PHYSICAL_INT32;
        if (precision > 18) {
            /* Bits of 10^precision - 1 and a sign, at log2(10) a digit, in whole bytes. */
            *width = (precision * 33220u / 10000 + 2 + 7) / 8;
            return PHYSICAL_FIXED;
        }
        break;
    case PARQUET_DOUBLE:
        *width = 8;
        return PHYSICAL_DOUBLE;
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP:
    case PARQUET_TIMESTAMP_NTZ:
        break;
    }
    *width = 8;
    return PHYSICAL_INT64;
}

static void begin_page(struct leaf *l)
{
    rle_begin(&l->defs, l->max_def > 1 ? 2 : 1);
    rle_begin(&l->reps, 1);
    l->values.len = 0;
    l->indices.len = 0;
    l->nvalues = 0;
    l->npresent = 0;
    l->page_bytes = 0;
}

void leaf_begin_chunk(struct leaf *l)
{
    begin_page(l);
    dict_reset(&l->dict);
    l->dict_open = l->type != PARQUET_BOOLEAN;
    l->dict_pages = false;
    l->plain_pages = false;
    l->pages.len = 0;
    l->chunk_values = 0;
    l->chunk_present = 0;
    l->uncompressed = 0;
    stats_begin(&l->stats);
}

void leaf_begin_file(struct leaf *l, const struct parquet_column *c, unsigned max_def,
                     unsigned max_rep)
{
    bytes_reset(&l->values, KEEP);
    bytes_reset(&l->indices, KEEP);
    bytes_reset(&l->pages, KEEP);
    l->type = c->type;
    l->physical = leaf_physical(c->type, c->precision, &l->width);
    l->max_def = max_def;
    l->max_rep = max_rep;
    l->filled = false;
    leaf_begin_chunk(l);
}

/* ---- values ---- */

static void put_plain(struct leaf *l, const void *data, size_t len)
{
    if (l->physical == PHYSICAL_BOOLEAN) { /* a bit each, from the lowest */
        if (l->npresent % 8 == 0)
            *bytes_add(&l->values, 1) = 0;
        char *last = &l->values.data[l->values.len - 1];
        *last = (char)(*last | *(const uint8_t *)data << (l->npresent % 8));
        return;
    }
    if (l->physical == PHYSICAL_BYTE_ARRAY)
        bytes_put_le(&l->values, len, 4);
    bytes_put(&l->values, data, len);
}

static uint32_t index_at(const struct leaf *l, size_t i)
{
    uint32_t index;
    memcpy(&index, l->indices.data + i * sizeof index, sizeof index);
    return index;
}

/* Go on without the dictionary. If no page of it is out, the chunk will have none at all. */
static void leave_dictionary(struct leaf *l, struct page_maker *m)
{
    if (l->dict_pages) {
        leaf_end_page(l, m);
    } else {
        size_t n = l->indices.len / sizeof(uint32_t), len;
        for (size_t i = 0; i < n; i++) {
            const uint8_t *value = dict_value(&l->dict, index_at(l, i), &len);
            put_plain(l, value, len);
        }
        l->indices.len = 0;
    }
    l->dict_open = false;
}

/* An index is smaller than its value only if the value comes again. */
static bool dictionary_pays(const struct leaf *l)
{
    return l->dict.count <= l->chunk_present / 2;
}

/* A page ends between two rows (rep is 0): not all readers take one that begins within a row.
 * Without a page that uses it the dictionary can be left anywhere. */
static void put_bytes(struct leaf *l, unsigned rep, const void *data, size_t len,
                      struct page_maker *m)
{
    if (l->dict_open && (rep == 0 || !l->dict_pages) &&
        (len > DICT_MAX_BYTES / 16 || l->dict.values.len > DICT_MAX_BYTES ||
         (l->dict.count >= DICT_TRIAL && !dictionary_pays(l))))
        leave_dictionary(l, m);
    if (l->dict_open) {
        uint32_t index = dict_index(&l->dict, data, len);
        bytes_put(&l->indices, &index, sizeof index);
    } else {
        put_plain(l, data, len);
    }
}

static void count_entry(struct leaf *l, unsigned def, unsigned rep)
{
    rle_put(&l->defs, def);
    if (l->max_rep > 0)
        rle_put(&l->reps, rep);
    l->nvalues++;
    l->chunk_values++;
    l->page_bytes++;
    l->filled = true;
}

void leaf_put_null(struct leaf *l, unsigned def, unsigned rep)
{
    count_entry(l, def, rep);
    l->stats.nulls++;
}

void leaf_encode(const struct leaf *l, const union parquet_value *v, uint8_t *out)
{
    if (l->type == PARQUET_FLOAT) {
        memcpy(out, &v->f, sizeof v->f);
    } else if (l->type == PARQUET_DOUBLE) {
        memcpy(out, &v->d, sizeof v->d);
    } else if (l->type == PARQUET_DECIMAL) {
        for (size_t i = 0; i < l->width; i++) { /* only FIXED is big-endian */
            size_t at = l->physical == PHYSICAL_FIXED ? l->width - 1 - i : i;
            out[at] = (uint8_t)((unsigned __int128)v->decimal >> (8 * i));
        }
    } else {
        for (size_t i = 0; i < l->width; i++)
            out[i] = (uint8_t)((uint64_t)v->i >> (8 * i));
    }
}

void leaf_put(struct leaf *l, unsigned rep, const union parquet_value *v, struct page_maker *m)
{
    uint8_t fixed[16];
    const void *data = fixed;
    size_t len = l->width;
    if (l->physical == PHYSICAL_BYTE_ARRAY) {
        data = v->bytes.data;
        len = v->bytes.len;
        stats_bytes(&l->stats, data, len);
    } else {
        leaf_encode(l, v, fixed);
        if (l->type == PARQUET_FLOAT)
            stats_double(&l->stats, (double)v->f);
        else if (l->type == PARQUET_DOUBLE)
            stats_double(&l->stats, v->d);
        else if (l->type == PARQUET_DECIMAL)
            stats_decimal(&l->stats, v->decimal);
        else
            stats_int(&l->stats, v->i);
    }
    /* Before the entry is counted: this may end the page that is open until here. */
    put_bytes(l, rep, data, len, m);
    count_entry(l, l->max_def, rep);
    l->npresent++;
    l->chunk_present++;
    l->page_bytes += len + 4;
}

/* ---- pages ---- */

/* Append a page to `out`: its header, completed here, and its compressed body. Returns the size
 * before compression, header included. */
static size_t write_page(struct buf *out, struct page_maker *m, int page_type, size_t nvalues,
                         int encoding)
{
    struct buf *body = &m->body;
    m->compressed.len = 0;
    uint8_t *to = bytes_add(&m->compressed, ZSTD_compressBound(body->len));
    size_t size =
        ZSTD_compressCCtx(m->zstd, to, m->compressed.len, body->data, body->len, ZSTD_LEVEL);
    if (ZSTD_isError(size)) /* the room suffices, so it can only be memory */
        msg_die(EX_TEMPFAIL, "zstd: %s", ZSTD_getErrorName(size));

    size_t before = out->len;
    struct thrift t = thrift_begin(out);
    thrift_i32(&t, 1, page_type);
    thrift_i32(&t, 2, (int32_t)body->len);
    thrift_i32(&t, 3, (int32_t)size);
    thrift_struct(&t, page_type == PAGE_DICTIONARY ? 7 : 5);
    thrift_i32(&t, 1, (int32_t)nvalues);
    thrift_i32(&t, 2, encoding);
    if (page_type == PAGE_DATA) {
        thrift_i32(&t, 3, ENCODING_RLE); /* definition levels */
        thrift_i32(&t, 4, ENCODING_RLE); /* repetition levels */
    }
    thrift_end(&t);
    thrift_end(&t);
    size_t header = out->len - before;
    bytes_put(out, m->compressed.data, size);
    return header + body->len;
}

static void put_levels(struct buf *body, struct rle *levels)
{
    rle_finish(levels);
    bytes_put_le(body, levels->out.len, 4);
    bytes_put(body, levels->out.data, levels->out.len);
}

static unsigned bit_width(uint32_t max)
{
    unsigned width = 1;
    while (width < 32 && max >> width)
        width++;
    return width;
}

void leaf_end_page(struct leaf *l, struct page_maker *m)
{
    if (l->nvalues == 0)
        return;
    if (l->dict_open && !l->dict_pages && !dictionary_pays(l))
        leave_dictionary(l, m);

    m->body.len = 0;
    if (l->max_rep > 0)
        put_levels(&m->body, &l->reps);
    put_levels(&m->body, &l->defs);
    bool by_index = l->dict_open && l->dict.count > 0; /* not if all is NULL so far */
    if (by_index) {
        unsigned width = bit_width(l->dict.count - 1);
        *bytes_add(&m->body, 1) = (uint8_t)width;
        rle_begin(&l->defs, width); /* the levels are out: their encoder is free */
        for (size_t i = 0; i < l->npresent; i++)
            rle_put(&l->defs, index_at(l, i));
        rle_finish(&l->defs);
        bytes_put(&m->body, l->defs.out.data, l->defs.out.len);
        l->dict_pages = true;
    } else {
        bytes_put(&m->body, l->values.data, l->values.len);
        l->plain_pages = true;
    }
    l->uncompressed += write_page(&l->pages, m, PAGE_DATA, l->nvalues,
                                  by_index ? ENCODING_RLE_DICTIONARY : ENCODING_PLAIN);
    begin_page(l);
}

void leaf_end_chunk(struct leaf *l, struct page_maker *m, struct buf *dict_page)
{
    leaf_end_page(l, m);
    if (!l->dict_pages)
        return;
    m->body.len = 0;
    for (uint32_t i = 0; i < l->dict.count; i++) {
        size_t len;
        const uint8_t *value = dict_value(&l->dict, i, &len);
        if (l->physical == PHYSICAL_BYTE_ARRAY)
            bytes_put_le(&m->body, len, 4);
        bytes_put(&m->body, value, len);
    }
    l->uncompressed += write_page(dict_page, m, PAGE_DICTIONARY, l->dict.count, ENCODING_PLAIN);
}

void leaf_free(struct leaf *l)
{
    rle_free(&l->defs);
    rle_free(&l->reps);
    buf_free(&l->values);
    buf_free(&l->indices);
    buf_free(&l->pages);
    dict_free(&l->dict);
}
