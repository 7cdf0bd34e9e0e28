/* leaf: one primitive column of a Parquet file: its open page, its dictionary and the pages of its
 * chunk that are ready. For parquet.c, which knows rows, row groups and files. */
#ifndef CDC_MERGE_LEAF_H
#define CDC_MERGE_LEAF_H

#include "dict.h"
#include "parquet.h"
#include "rle.h"
#include "stats.h"

#include <zstd.h>

/* As parquet.thrift numbers them. */
enum physical {
    PHYSICAL_BOOLEAN = 0,
    PHYSICAL_INT32 = 1,
    PHYSICAL_INT64 = 2,
    PHYSICAL_FLOAT = 4,
    PHYSICAL_DOUBLE = 5,
    PHYSICAL_BYTE_ARRAY = 6,
    PHYSICAL_FIXED = 7,
};

enum encoding {
    ENCODING_PLAIN = 0,
    ENCODING_RLE = 3,
    ENCODING_DELTA = 5,        /* DELTA_BINARY_PACKED */
    ENCODING_DELTA_LENGTH = 6, /* DELTA_LENGTH_BYTE_ARRAY */
    ENCODING_DICTIONARY = 8,   /* RLE_DICTIONARY */
};

/* A page's size is a signed 32-bit number; the rest is for levels and incompressible data. */
#define PAGE_MAX ((size_t)0x7fffffff - (32u << 20))

struct leaf {
    enum parquet_type type;
    enum physical physical;
    size_t width; /* bytes of a value, 0 if they vary */
    unsigned max_def, max_rep;

    /* The open page. Its values are gathered as they are, and encoded together at its end. */
    struct rle defs, reps;
    struct buf values;        /* little-endian, BOOLEAN as bytes; the bytes of strings end to end */
    struct buf lengths;       /* uint32_t per value, if they vary */
    size_t nvalues, npresent; /* with and without NULLs */
    size_t page_bytes;        /* about what it takes in memory */

    /* The chunk. */
    uint64_t rows; /* that have an entry; later ones are NULL so far */
    struct dict dict;
    enum { DICTIONARY_UNDECIDED, DICTIONARY_USED, DICTIONARY_LEFT } dictionary;
    unsigned encodings; /* of its pages: a bit each */
    struct buf pages;   /* headers and compressed bodies */
    size_t chunk_values, uncompressed;
    struct stats stats;
};

/* What the columns share to make a page. */
struct page_maker {
    ZSTD_CCtx *zstd;
    struct buf body, compressed, indices;
};

/* How the type is stored. */
enum physical leaf_physical(enum parquet_type type, unsigned precision, size_t *width);

/* Write a value of fixed width (BOOLEAN as a byte) as pages have it. */
void leaf_encode(const struct leaf *l, const union parquet_value *v, uint8_t *out);

/* Take the leaf over for a new column, keeping its memory. */
void leaf_begin_file(struct leaf *l, const struct parquet_column *c, unsigned max_def,
                     unsigned max_rep);
void leaf_begin_chunk(struct leaf *l);

/* Append an entry to the row of that number in the row group, the first or a further one: a value,
 * or one without: a NULL, or an empty or NULL list. Rows that are passed over are NULL. */
void leaf_put(struct leaf *l, uint64_t row, const union parquet_value *v);
void leaf_put_null(struct leaf *l, uint64_t row, unsigned def);

/* Whether the chunk has that row already. */
static inline bool leaf_has(const struct leaf *l, uint64_t row)
{
    return l->rows > row;
}

/* Close the open page, which goes up to that row, if it has anything. Its page_bytes must not be
 * above PAGE_MAX. */
void leaf_end_page(struct leaf *l, uint64_t rows, struct page_maker *m);

/* What the chunk takes in memory, about. */
size_t leaf_memory(const struct leaf *l);

/* After the last page `pages` is complete but for the dictionary page, which goes in front of it;
 * that one is appended to `dict_page`, if the chunk has one. */
void leaf_end_chunk(struct leaf *l, struct page_maker *m, struct buf *dict_page);

void leaf_free(struct leaf *l);

#endif
