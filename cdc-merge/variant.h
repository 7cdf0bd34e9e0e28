/* variant: whether a JSON text becomes a VARIANT exactly, by parse_json() of Databricks and Spark
 * (common/variant/…/VariantBuilder.java). It does not where a key of an object comes twice; where a
 * number has more than 38 digits, or an exponent and is not the same in a DOUBLE; where a string
 * has half a surrogate pair; and where it is larger or deeper than all of them take. Spaces, the
 * order of keys and the zeros behind a number are nothing that a VARIANT has. */
#ifndef CDC_MERGE_VARIANT_H
#define CDC_MERGE_VARIANT_H

#include "convert.h"

enum {
    VARIANT_DEPTH_MAX = 500,
    VARIANT_SIZE_MAX = 16 << 20, /* of the VARIANT; what the text makes is estimated from above */
    VARIANT_NAME_MAX = 50000,    /* bytes of a key */
};

/* CONVERT_OK: it is exact. CONVERT_BAD: that is no JSON. */
enum convert_result variant_check(const char *text, size_t len, struct buf *scratch);

#endif
