/* footer: what a Parquet file says about itself at its end: schema, row groups, column chunks.
 * (FileMetaData and below in parquet.thrift.) For parquet.c. */
#ifndef CDC_MERGE_FOOTER_H
#define CDC_MERGE_FOOTER_H

#include "leaf.h"
#include "thrift.h"

struct footer_chunk {
    const struct leaf *leaf;
    const struct parquet_column *column;
    bool second;       /* the values of a map, not its keys */
    uint64_t offset;   /* of the chunk in the file */
    size_t dict_bytes; /* size of the dictionary page at its begin, 0 if there is none */
};

/* One row group, encoded as its chunks are written. */
struct footer_group {
    struct thrift thrift;
    uint64_t offset, compressed, uncompressed;
    bool any;
};

void footer_begin_group(struct footer_group *g, struct buf *out, size_t nchunks);
void footer_put_chunk(struct footer_group *g, const struct footer_chunk *c);
void footer_end_group(struct footer_group *g, uint64_t rows);

/* Append the footer. `groups` are the row groups, encoded by the calls above. */
void footer_put(struct buf *out, const struct parquet_column *columns, size_t ncolumns,
                uint64_t rows, const struct buf *groups, size_t ngroups);

#endif
