/* thrift: writes structs in the Thrift compact protocol, as Parquet's page headers and footer are.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 *
 * Fields of a struct are written in ascending order of id. Nothing here fails. */
#ifndef CDC_MERGE_THRIFT_H
#define CDC_MERGE_THRIFT_H

#include "bytes.h"

#include <stdbool.h>

/* Types as they stand in field and list headers. */
enum thrift_type {
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_STRUCT = 12,
};

struct thrift {
    struct buf *out;
    int depth;
    int last[8]; /* id of the last field written, per open struct */
};

/* Begin the outermost struct, appended to `out`; thrift_end closes it. */
struct thrift thrift_begin(struct buf *out);

/* Begin a struct: as the field `id`, or as the next element of a list. */
void thrift_struct(struct thrift *t, int id);
void thrift_element(struct thrift *t);
void thrift_end(struct thrift *t);

void thrift_bool(struct thrift *t, int id, bool v);
void thrift_i8(struct thrift *t, int id, int8_t v);
void thrift_i32(struct thrift *t, int id, int32_t v);
void thrift_i64(struct thrift *t, int id, int64_t v);
void thrift_binary(struct thrift *t, int id, const void *data, size_t len);
void thrift_string(struct thrift *t, int id, const char *s);

/* Begin a list of n elements; write them with thrift_element … thrift_end, or the two below. */
void thrift_list(struct thrift *t, int id, enum thrift_type element, size_t n);
void thrift_item_i32(struct thrift *t, int32_t v);
void thrift_item_string(struct thrift *t, const char *s);

#endif
