#include "parquet.h"

#include "footer.h"
#include "leaf.h"

#include "msg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    PAGE_BYTES = 1 << 20,
    KEEP = 1 << 20,
    RAW_BYTES = 128 << 20, /* of a row group: readers take it into memory as a whole */
};
static const char MAGIC[4] = {'P', 'A', 'R', '1'};

struct parquet {
    size_t row_group_bytes;
    const struct parquet_column *columns;
    size_t ncolumns;
    struct buf firsts;   /* size_t per column: its first leaf */
    struct leaf *leaves; /* kept from file to file, more than nleaves perhaps */
    size_t nleaves, leaves_made;
    struct page_maker maker;
    struct buf dict_page;
    struct buf row_groups; /* the footer's part about them, encoded */
    struct buf footer;
    size_t nrow_groups;
    uint64_t rows, group_rows;
    size_t gathered; /* bytes in all leaves */
    bool page_full;  /* there is a page to close after this row */
    size_t raw;      /* bytes of the row group before compression, in closed pages */
    uint64_t offset; /* bytes written */
    parquet_write *write;
    void *arg;
};

struct parquet *parquet_new(size_t row_group_bytes)
{
    struct parquet *p = mem_alloc(sizeof *p);
    p->row_group_bytes = row_group_bytes;
    p->maker.zstd = ZSTD_createCCtx();
    if (!p->maker.zstd)
        msg_die(EX_TEMPFAIL, "out of memory");
    return p;
}

void parquet_free(struct parquet *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->leaves_made; i++)
        leaf_free(&p->leaves[i]);
    free(p->leaves);
    ZSTD_freeCCtx(p->maker.zstd);
    buf_free(&p->firsts);
    buf_free(&p->maker.body);
    buf_free(&p->maker.compressed);
    buf_free(&p->maker.indices);
    buf_free(&p->dict_page);
    buf_free(&p->row_groups);
    buf_free(&p->footer);
    free(p);
}

static int out(struct parquet *p, const void *data, size_t len)
{
    if (len > 0 && p->write(p->arg, data, len) != 0)
        return -1;
    p->offset += len;
    return 0;
}

static struct leaf *leaf_of(struct parquet *p, size_t column)
{
    assert(column < p->ncolumns);
    size_t first;
    memcpy(&first, p->firsts.data + column * sizeof first, sizeof first);
    return &p->leaves[first];
}

int parquet_open(struct parquet *p, const struct parquet_column *columns, size_t ncolumns,
                 parquet_write *write, void *arg)
{
    p->columns = columns;
    p->ncolumns = ncolumns;
    p->firsts.len = 0;
    p->nleaves = 0;
    for (size_t i = 0; i < ncolumns; i++) {
        bytes_put(&p->firsts, &p->nleaves, sizeof p->nleaves);
        p->nleaves += columns[i].shape == PARQUET_MAP ? 2 : 1;
    }
    if (p->nleaves > p->leaves_made) {
        p->leaves = mem_realloc(p->leaves, p->nleaves * sizeof *p->leaves);
        memset(p->leaves + p->leaves_made, 0, (p->nleaves - p->leaves_made) * sizeof *p->leaves);
        p->leaves_made = p->nleaves;
    }
    for (size_t i = 0; i < ncolumns; i++) {
        struct leaf *l = leaf_of(p, i);
        if (columns[i].shape == PARQUET_SCALAR) {
            leaf_begin_file(l, &columns[i], 1, 0);
        } else if (columns[i].shape == PARQUET_LIST) {
            leaf_begin_file(l, &columns[i], 3, 1);
        } else {
            leaf_begin_file(l, &columns[i], 2, 1);
            leaf_begin_file(l + 1, &columns[i], 3, 1);
        }
    }
    bytes_reset(&p->maker.body, KEEP);
    bytes_reset(&p->maker.compressed, KEEP);
    bytes_reset(&p->maker.indices, KEEP);
    p->row_groups.len = 0;
    p->nrow_groups = 0;
    p->rows = 0;
    p->group_rows = 0;
    p->gathered = 0;
    p->page_full = false;
    p->raw = 0;
    p->offset = 0;
    p->write = write;
    p->arg = arg;
    return out(p, MAGIC, sizeof MAGIC);
}

/* ---- rows ---- */

/* Put into one leaf and keep count of what is gathered. A page ends between two rows: not all
 * readers take one that begins within a row. */
static void put(struct parquet *p, struct leaf *l, const union parquet_value *v)
{
    size_t before = l->page_bytes;
    leaf_put(l, p->group_rows, v);
    p->gathered += l->page_bytes - before;
    p->page_full |= l->page_bytes >= PAGE_BYTES;
}

void parquet_put(struct parquet *p, size_t column, const union parquet_value *v)
{
    put(p, leaf_of(p, column), v);
}

static void put_null(struct parquet *p, struct leaf *l, unsigned def)
{
    leaf_put_null(l, p->group_rows, def);
    p->gathered++;
}

void parquet_put_empty(struct parquet *p, size_t column)
{
    struct leaf *l = leaf_of(p, column);
    put_null(p, l, 1);
    if (p->columns[column].shape == PARQUET_MAP)
        put_null(p, l + 1, 1);
}

void parquet_put_null_element(struct parquet *p, size_t column)
{
    put_null(p, leaf_of(p, column), 2);
}

void parquet_put_entry(struct parquet *p, size_t column, const union parquet_value *key,
                       const union parquet_value *value)
{
    struct leaf *l = leaf_of(p, column);
    if (value->bytes.data)
        put(p, l + 1, value);
    else
        put_null(p, l + 1, 2);
    put(p, l, key);
}

static int end_page(struct parquet *p, struct leaf *l)
{
    if (l->page_bytes > PAGE_MAX) {
        errno = EFBIG;
        return -1;
    }
    p->gathered -= leaf_memory(l);
    p->raw += l->page_bytes;
    leaf_end_page(l, p->group_rows, &p->maker);
    p->gathered += leaf_memory(l);
    return 0;
}

static int write_leaf(struct parquet *p, struct leaf *l, size_t column, struct footer_chunk *chunk)
{
    if (end_page(p, l) != 0)
        return -1;
    p->dict_page.len = 0;
    leaf_end_chunk(l, &p->maker, &p->dict_page);
    chunk->leaf = l;
    chunk->column = &p->columns[column];
    chunk->offset = p->offset;
    chunk->dict_bytes = p->dict_page.len;
    if (out(p, p->dict_page.data, p->dict_page.len) != 0 ||
        out(p, l->pages.data, l->pages.len) != 0)
        return -1;
    return 0;
}

static int write_row_group(struct parquet *p)
{
    struct footer_group g;
    footer_begin_group(&g, &p->row_groups, p->nleaves);
    for (size_t i = 0; i < p->ncolumns; i++) {
        struct leaf *l = leaf_of(p, i);
        size_t n = p->columns[i].shape == PARQUET_MAP ? 2 : 1;
        for (size_t k = 0; k < n; k++) {
            struct footer_chunk chunk = {.second = k == 1};
            if (write_leaf(p, &l[k], i, &chunk) != 0)
                return -1;
            footer_put_chunk(&g, &chunk);
            leaf_begin_chunk(&l[k]);
        }
    }
    footer_end_group(&g, p->group_rows);
    p->nrow_groups++;
    p->group_rows = 0;
    p->gathered = 0;
    p->raw = 0;
    return 0;
}

static int end_full_pages(struct parquet *p)
{
    p->page_full = false;
    for (size_t i = 0; i < p->nleaves; i++)
        if (p->leaves[i].page_bytes >= PAGE_BYTES && end_page(p, &p->leaves[i]) != 0)
            return -1;
    return 0;
}

int parquet_end_row(struct parquet *p)
{
    p->rows++;
    p->group_rows++;
    if (p->page_full && end_full_pages(p) != 0)
        return -1;
    bool full = p->gathered >= p->row_group_bytes || p->raw >= RAW_BYTES;
    return full ? write_row_group(p) : 0;
}

int parquet_close(struct parquet *p)
{
    if (p->group_rows > 0 && write_row_group(p) != 0)
        return -1;
    p->footer.len = 0;
    footer_put(&p->footer, p->columns, p->ncolumns, p->rows, &p->row_groups, p->nrow_groups);
    bytes_put_le(&p->footer, p->footer.len, 4);
    bytes_put(&p->footer, MAGIC, sizeof MAGIC);
    return out(p, p->footer.data, p->footer.len);
}
