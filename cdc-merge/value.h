/* value: one value of a column of the source, from PostgreSQL's text into a Parquet column of the
 * same type, or a list, or a map. */
#ifndef CDC_MERGE_VALUE_H
#define CDC_MERGE_VALUE_H

#include "convert.h"
#include "types.h"

/* What conversions need beside the value. Zero-initialize it. */
struct value_scratch {
    struct buf scalar, first, second;
};

/* For value_put: of JSON that becomes a VARIANT, of lists and of maps. */
enum convert_result value_put_checked(struct value_scratch *s, struct parquet *to, size_t column,
                                      const struct target_column *c, const char *text, size_t len,
                                      union parquet_value *scalar);

/* Put the value into a column of the file's current row: as a whole, if that is CONVERT_OK, else
 * nothing of it. *scalar is what was put, if it is neither a list nor a map. Inline, because it
 * runs for every value. */
static inline enum convert_result value_put(struct value_scratch *s, struct parquet *to,
                                            size_t column, const struct target_column *c,
                                            const char *text, size_t len,
                                            union parquet_value *scalar)
{
    if (c->form != FORM_SCALAR || c->variant)
        return value_put_checked(s, to, column, c, text, len, scalar);
    enum convert_result result = convert(&c->parquet, text, len, &s->scalar, scalar);
    if (result == CONVERT_OK)
        parquet_put(to, column, scalar);
    return result;
}

/* For messages: no more of a value than a line bears, in whole characters. */
void value_show(struct buf *b, const char *text, size_t len);

/* A field of a line of COPY: what would read as its structure is escaped. */
void value_put_copy(struct buf *line, const char *text, size_t len);

void value_scratch_free(struct value_scratch *s);

#endif
