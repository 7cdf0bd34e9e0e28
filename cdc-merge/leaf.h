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

/* A page's size is a signed 32-bit number; the rest is for levels and incompressible data. */
#define PAGE_MAX ((size_t)0x7fffffff - (32u << 20))

struct leaf {
    enum parquet_type type;
    enum physical physical;
    size_t width; /* bytes of a value, 0 if they vary */
    unsigned max_def, max_rep;
    bool filled; /* the current row has something here */

    /* The open page. A page of a chunk with a dictionary has indices, else values. */
    struct rle defs, reps;
    struct buf values, indices;
    size_t nvalues, npresent; /* with and without NULLs */
    size_t page_bytes;        /* about what it takes in memory */

    /* The chunk. */
    struct dict dict;
    bool dict_open;  /* new pages use the dictionary */
    bool dict_pages; /* the chunk has pages that use it */
    bool plain_pages;
    struct buf pages; /* headers and compressed bodies */
    size_t chunk_values, chunk_present, uncompressed;
    struct stats stats;
};

/* What the columns share to make a page. */
struct page_maker {
    ZSTD_CCtx *zstd;
    struct buf body, compressed;
};

/* How the type is stored. */
enum physical leaf_physical(enum parquet_type type, unsigned precision, size_t *width);

/* Write a value of fixed width (BOOLEAN as a byte) as pages have it. */
void leaf_encode(const struct leaf *l, const union parquet_value *v, uint8_t *out);

/* Take the leaf over for a new column, keeping its memory. */
void leaf_begin_file(struct leaf *l, const struct parquet_column *c, unsigned max_def,
                     unsigned max_rep);
void leaf_begin_chunk(struct leaf *l);

/* Append an entry without a value: a NULL, or an empty or NULL list. */
void leaf_put_null(struct leaf *l, unsigned def, unsigned rep);

/* Append a value. */
void leaf_put(struct leaf *l, unsigned rep, const union parquet_value *v, struct page_maker *m);

/* Close the open page, if it has anything. Its page_bytes must not be above PAGE_MAX. */
void leaf_end_page(struct leaf *l, struct page_maker *m);

/* Close the chunk: `pages` then is complete but for the dictionary page, which goes in front of it;
 * that one is appended to `dict_page`, if the chunk has one. */
void leaf_end_chunk(struct leaf *l, struct page_maker *m, struct buf *dict_page);

void leaf_free(struct leaf *l);

#endif
