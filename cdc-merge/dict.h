/* dict: the distinct values of a column chunk, in order of first appearance.
 *
 * Values are byte strings in Parquet's plain encoding, and `values` holds them one behind the other
 * as a dictionary page wants them. */
#ifndef CDC_MERGE_DICT_H
#define CDC_MERGE_DICT_H

#include <stdbool.h>

#include "bytes.h"

struct dict {
    struct buf values;
    struct buf ends;  /* size_t per value: where it ends in `values` */
    struct buf slots; /* of the hash table, see dict.c */
    uint32_t count;
};

/* Forget all values, keeping the memory. To be called first, and again after dict_free. */
void dict_reset(struct dict *d);

/* The index of the value, which is added if it is new. */
uint32_t dict_index(struct dict *d, const void *value, size_t len);

/* Add the value if it is new, and one of a sample of the distinct values: one in `every`, a power
 * of two. */
bool dict_sample(struct dict *d, const void *value, size_t len, uint32_t every);

/* The bytes of a value. */
const uint8_t *dict_value(const struct dict *d, uint32_t index, size_t *len);

void dict_free(struct dict *d);

#endif
