#include "leaf.h"

#include <endian.h>

#include "delta.h"
#include "msg.h"

enum { PAGE_DATA = 0, PAGE_DICTIONARY = 2 }; /* as parquet.thrift numbers them */

enum {
    ZSTD_LEVEL = 1,
    DICT_MAX_BYTES = 2 << 20, /* of a dictionary and a page that would go into it */
    SAMPLE = 16,              /* one distinct value in so many says how many there are, */
    SAMPLE_FROM = 4096,       /* of so many values or more */
    KEEP = 1 << 20,           /* memory kept for the next file, per buffer */
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
    l->lengths.len = 0;
    l->nvalues = 0;
    l->npresent = 0;
    l->page_bytes = 0;
}

void leaf_begin_chunk(struct leaf *l)
{
    begin_page(l);
    dict_reset(&l->dict);
    l->rows = 0;
    l->dictionary = l->type == PARQUET_BOOLEAN ? DICTIONARY_LEFT : DICTIONARY_UNDECIDED;
    l->encodings = 0;
    l->pages.len = 0;
    l->chunk_values = 0;
    l->uncompressed = 0;
    stats_begin(&l->stats);
}

void leaf_begin_file(struct leaf *l, const struct parquet_column *c, unsigned max_def,
                     unsigned max_rep)
{
    bytes_reset(&l->values, KEEP);
    bytes_reset(&l->lengths, KEEP);
    bytes_reset(&l->pages, KEEP);
    l->type = c->type;
    l->physical = leaf_physical(c->type, c->precision, &l->width);
    l->max_def = max_def;
    l->max_rep = max_rep;
    leaf_begin_chunk(l);
}

/* ---- values ---- */

static void put_nulls(struct leaf *l, unsigned rep, unsigned def, uint64_t n)
{
    rle_put_many(&l->defs, def, n);
    if (l->max_rep > 0)
        rle_put_many(&l->reps, rep, n);
    l->nvalues += n;
    l->stats.nulls += (int64_t)n;
}

/* Go to that row. The repetition level: whether it has an entry already. */
static unsigned begin_entry(struct leaf *l, uint64_t row)
{
    if (leaf_has(l, row))
        return 1;
    if (l->rows < row)
        put_nulls(l, 0, 0, row - l->rows);
    l->rows = row + 1;
    return 0;
}

void leaf_put_null(struct leaf *l, uint64_t row, unsigned def)
{
    put_nulls(l, begin_entry(l, row), def, 1);
    l->page_bytes++;
}

void leaf_encode(const struct leaf *l, const union parquet_value *v, uint8_t *out)
{
    if (l->type == PARQUET_FLOAT || l->type == PARQUET_DOUBLE) {
        memcpy(out, &v->d, l->width);
    } else if (l->physical == PHYSICAL_FIXED) {
        for (size_t i = 0; i < l->width; i++) /* the one that is big-endian */
            out[l->width - 1 - i] = (uint8_t)((unsigned __int128)v->decimal >> (8 * i));
    } else {
        int64_t i = l->type == PARQUET_DECIMAL ? (int64_t)v->decimal : v->i;
        uint64_t bytes = htole64((uint64_t)i);
        memcpy(out, &bytes, l->width);
    }
}

static void put_value(struct leaf *l, const union parquet_value *v)
{
    if (l->physical == PHYSICAL_BYTE_ARRAY) {
        uint32_t len = (uint32_t)v->bytes.len;
        bytes_put(&l->lengths, &len, sizeof len);
        bytes_put(&l->values, v->bytes.data, len);
        l->page_bytes += len + sizeof len;
        return;
    }
    leaf_encode(l, v, bytes_add(&l->values, l->width));
    l->page_bytes += l->width;
    if (l->type == PARQUET_FLOAT)
        stats_double(&l->stats, (double)v->f);
    else if (l->type == PARQUET_DOUBLE)
        stats_double(&l->stats, v->d);
    else if (l->physical == PHYSICAL_FIXED)
        stats_decimal(&l->stats, v->decimal);
}

void leaf_put(struct leaf *l, uint64_t row, const union parquet_value *v)
{
    unsigned rep = begin_entry(l, row);
    rle_put(&l->defs, l->max_def);
    if (l->max_rep > 0)
        rle_put(&l->reps, rep);
    put_value(l, v);
    l->nvalues++;
    l->npresent++;
    l->page_bytes++;
}

/* ---- what a page has in it ---- */

/* The values of the open page, one after the other. */
struct walk {
    const uint8_t *value;
    size_t len, i;
};

static struct walk walk_begin(const struct leaf *l)
{
    return (struct walk){.value = (const uint8_t *)l->values.data};
}

static bool walk_next(const struct leaf *l, struct walk *w)
{
    if (w->i == l->npresent)
        return false;
    if (w->i > 0)
        w->value += w->len;
    w->len = l->width;
    if (l->physical == PHYSICAL_BYTE_ARRAY) {
        uint32_t len;
        memcpy(&len, l->lengths.data + w->i * sizeof len, sizeof len);
        w->len = len;
    }
    w->i++;
    return true;
}

static unsigned bit_width(uint32_t max)
{
    unsigned width = 1;
    while (width < 32 && max >> width)
        width++;
    return width;
}

static void put_bits(struct buf *body, const struct buf *booleans)
{
    for (size_t i = 0; i < booleans->len; i += 8) {
        uint8_t bits = 0;
        for (size_t k = 0; k < 8 && i + k < booleans->len; k++)
            bits |= (uint8_t)((booleans->data[i + k] & 1) << k);
        *bytes_add(body, 1) = bits;
    }
}

/* The values without a dictionary. */
static enum encoding put_direct(const struct leaf *l, struct buf *body)
{
    switch (l->physical) {
    case PHYSICAL_BOOLEAN:
        put_bits(body, &l->values);
        return ENCODING_PLAIN;
    case PHYSICAL_INT32:
    case PHYSICAL_INT64:
        delta_put(body, l->values.data, l->npresent, l->width);
        return ENCODING_DELTA;
    case PHYSICAL_BYTE_ARRAY:
        delta_put(body, l->lengths.data, l->npresent, sizeof(uint32_t));
        bytes_put(body, l->values.data, l->values.len);
        return ENCODING_DELTA_LENGTH;
    default:
        bytes_put(body, l->values.data, l->values.len);
        return ENCODING_PLAIN;
    }
}

/* Of the open page with a dictionary, where `dict` holds one in `every` of its values, to be
 * compared with its size without one. Indices do not compress, nor do packed integers; the rest
 * does, to a third or so. */
static size_t dictionary_size(const struct leaf *l, uint32_t every)
{
    size_t count = (size_t)l->dict.count * every, size = l->dict.values.len * every;
    size_t indices = l->npresent * bit_width((uint32_t)count) / 8;
    if (l->physical == PHYSICAL_INT32 || l->physical == PHYSICAL_INT64)
        return size + indices;
    if (l->physical == PHYSICAL_BYTE_ARRAY)
        size += count * sizeof(uint32_t);
    return size + 3 * indices;
}

/* Whether the first page of a chunk is smaller with a dictionary than `direct`. */
static bool dictionary_pays(struct leaf *l, size_t direct)
{
    uint32_t every = l->npresent < SAMPLE_FROM ? 1 : SAMPLE;
    struct walk w = walk_begin(l);
    bool pays = dictionary_size(l, every) < direct;
    while (pays && walk_next(l, &w))
        if (dict_sample(&l->dict, w.value, w.len, every))
            pays = dictionary_size(l, every) < direct;
    if (pays)
        dict_reset(&l->dict);
    else
        dict_free(&l->dict); /* there may be many columns */
    return pays;
}

static void put_indices(struct leaf *l, struct page_maker *m)
{
    struct walk w = walk_begin(l);
    uint32_t *indices = (uint32_t *)(void *)bytes_add(&m->indices, l->npresent * sizeof *indices);
    uint32_t known = l->dict.count;
    for (size_t i = 0; walk_next(l, &w); i++)
        indices[i] = dict_index(&l->dict, w.value, w.len);

    unsigned width = bit_width(l->dict.count - 1);
    *bytes_add(&m->body, 1) = (uint8_t)width;
    rle_begin(&l->defs, width); /* the levels are out: their encoder is free */
    for (size_t i = 0; i < l->npresent; i++)
        rle_put(&l->defs, indices[i]);
    rle_finish(&l->defs);
    bytes_put(&m->body, l->defs.out.data, l->defs.out.len);
    m->indices.len = 0;
    if (known > 0 && l->dict.count - known > l->npresent / 2)
        l->dictionary = DICTIONARY_LEFT; /* most values are new by now */
}

static enum encoding put_values(struct leaf *l, struct page_maker *m)
{
    size_t at = m->body.len;
    if (l->npresent == 0)
        return ENCODING_PLAIN;
    if (l->dict.values.len + l->values.len > DICT_MAX_BYTES)
        l->dictionary = DICTIONARY_LEFT;
    if (l->dictionary == DICTIONARY_UNDECIDED) {
        enum encoding direct = put_direct(l, &m->body);
        if (!dictionary_pays(l, m->body.len - at)) {
            l->dictionary = DICTIONARY_LEFT;
            return direct;
        }
        m->body.len = at;
        l->dictionary = DICTIONARY_USED;
    }
    if (l->dictionary == DICTIONARY_LEFT)
        return put_direct(l, &m->body);
    put_indices(l, m);
    return ENCODING_DICTIONARY;
}

/* The rest is counted as it comes. */
static void count_stats(struct leaf *l)
{
    struct walk w = walk_begin(l);
    if (l->physical == PHYSICAL_INT32)
        stats_int32(&l->stats, l->values.data, l->npresent);
    else if (l->physical == PHYSICAL_INT64)
        stats_int64(&l->stats, l->values.data, l->npresent);
    else if (l->physical == PHYSICAL_BOOLEAN)
        stats_booleans(&l->stats, l->values.data, l->npresent);
    else if (l->physical == PHYSICAL_BYTE_ARRAY)
        while (walk_next(l, &w))
            stats_bytes(&l->stats, w.value, w.len);
}

/* ---- pages ---- */

/* Append a page to `out`: its header, completed here, and its compressed body. Returns the size
 * before compression, header included. */
static size_t write_page(struct buf *out, struct page_maker *m, int page_type, size_t nvalues,
                         enum encoding encoding)
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
    thrift_i32(&t, 2, (int32_t)encoding);
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

void leaf_end_page(struct leaf *l, uint64_t rows, struct page_maker *m)
{
    if (l->rows < rows) {
        put_nulls(l, 0, 0, rows - l->rows);
        l->rows = rows;
    }
    if (l->nvalues == 0)
        return;
    m->body.len = 0;
    if (l->max_rep > 0)
        put_levels(&m->body, &l->reps);
    put_levels(&m->body, &l->defs);
    count_stats(l);
    enum encoding encoding = put_values(l, m);
    l->encodings |= 1u << encoding;
    l->uncompressed += write_page(&l->pages, m, PAGE_DATA, l->nvalues, encoding);
    l->chunk_values += l->nvalues;
    begin_page(l);
}

size_t leaf_memory(const struct leaf *l)
{
    return l->page_bytes + l->pages.len + l->dict.values.len;
}

void leaf_end_chunk(struct leaf *l, struct page_maker *m, struct buf *dict_page)
{
    if (l->dict.count == 0)
        return;
    l->encodings |= 1u << ENCODING_PLAIN;
    m->body.len = 0;
    if (l->physical != PHYSICAL_BYTE_ARRAY)
        bytes_put(&m->body, l->dict.values.data, l->dict.values.len);
    else
        for (uint32_t i = 0; i < l->dict.count; i++) {
            size_t len;
            const uint8_t *value = dict_value(&l->dict, i, &len);
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
    buf_free(&l->lengths);
    buf_free(&l->pages);
    dict_free(&l->dict);
}
