#include "value.h"

#include <string.h>

#include "array.h"
#include "bytes.h"
#include "hstore.h"
#include "variant.h"

enum { TEXT_SHOWN = 60 };

struct place {
    struct parquet *parquet; /* NULL: only look whether all of it can be put */
    size_t column;
};

static enum convert_result convert_scalar(struct value_scratch *s, const struct target_column *c,
                                          const char *text, size_t len, union parquet_value *v)
{
    if (c->variant) {
        enum convert_result result = variant_check(text, len, &s->scalar);
        if (result != CONVERT_OK)
            return result;
    }
    return convert(&c->parquet, text, len, &s->scalar, v);
}

static enum convert_result walk_list(struct value_scratch *s, struct place to,
                                     const struct target_column *c, const char *text, size_t len)
{
    struct array a = array_begin(text, len, c->delimiter, &s->first);
    enum convert_result result = CONVERT_OK;
    bool any = false;
    for (;;) {
        const char *element;
        size_t n;
        union parquet_value v;
        switch (c->form == FORM_VECTOR ? array_next_of_vector(&a, &element, &n)
                                       : array_next(&a, &element, &n)) {
        case ARRAY_BAD:
            return CONVERT_BAD;
        case ARRAY_END:
            if (to.parquet && !any)
                parquet_put_empty(to.parquet, to.column);
            return array_is_list(&a) ? result : CONVERT_UNREPRESENTABLE;
        case ARRAY_NULL:
            if (to.parquet)
                parquet_put_null_element(to.parquet, to.column);
            break;
        case ARRAY_ELEMENT:
            switch (convert_scalar(s, c, element, n, &v)) {
            case CONVERT_BAD:
                return CONVERT_BAD;
            case CONVERT_UNREPRESENTABLE:
                result = CONVERT_UNREPRESENTABLE; /* what follows may still be no array */
                break;
            case CONVERT_OK:
                if (to.parquet)
                    parquet_put(to.parquet, to.column, &v);
            }
        }
        any = true;
    }
}

static union parquet_value bytes_of(const struct buf *b)
{
    return (union parquet_value){.bytes = {b->len > 0 ? b->data : "", b->len}};
}

static enum convert_result walk_map(struct value_scratch *s, struct place to,
                                    const struct target_column *c, const char *text, size_t len)
{
    (void)c;
    struct hstore h = hstore_begin(text, len, &s->first, &s->second);
    static const union parquet_value nothing;
    bool null;
    enum hstore_item item;
    while ((item = hstore_next(&h, &null)) == HSTORE_PAIR) {
        union parquet_value key = bytes_of(&s->first),
                            value = null ? nothing : bytes_of(&s->second);
        if (to.parquet)
            parquet_put_entry(to.parquet, to.column, &key, &value);
    }
    if (to.parquet && !h.any)
        parquet_put_empty(to.parquet, to.column);
    return item == HSTORE_END ? CONVERT_OK : CONVERT_BAD;
}

enum convert_result value_put_checked(struct value_scratch *s, struct parquet *to, size_t column,
                                      const struct target_column *c, const char *text, size_t len,
                                      union parquet_value *scalar)
{
    enum convert_result result;
    if (c->form == FORM_SCALAR) {
        result = convert_scalar(s, c, text, len, scalar);
        if (result == CONVERT_OK)
            parquet_put(to, column, scalar);
        return result;
    }
    /* Twice, for what is put cannot be taken back. */
    enum convert_result (*walk)(struct value_scratch *, struct place, const struct target_column *,
                                const char *, size_t) =
        c->form == FORM_HSTORE ? walk_map : walk_list;
    result = walk(s, (struct place){NULL, column}, c, text, len);
    return result == CONVERT_OK ? walk(s, (struct place){to, column}, c, text, len) : result;
}

void value_show(struct buf *b, const char *text, size_t len)
{
    size_t shown = len;
    if (len > TEXT_SHOWN)
        for (shown = TEXT_SHOWN; shown > 0 && (text[shown] & 0xc0) == 0x80;)
            shown--;
    buf_add(b, text, shown);
    buf_str(b, shown < len ? "…" : "");
}

static bool is_special(char c)
{
    return c == '\\' || (c >= '\b' && c <= '\r');
}

void value_put_copy(struct buf *line, const char *text, size_t len)
{
    static const char letters[] = "btnvfr"; /* from \b on */
    for (size_t i = 0, begin = 0; i <= len; i++) {
        if (i < len && !is_special(text[i]))
            continue;
        bytes_put(line, text + begin, i - begin);
        begin = i + 1;
        if (i == len)
            break;
        *bytes_add(line, 1) = '\\';
        *bytes_add(line, 1) = text[i] == '\\' ? '\\' : (uint8_t)letters[text[i] - '\b'];
    }
}

void value_scratch_free(struct value_scratch *s)
{
    buf_free(&s->scalar);
    buf_free(&s->first);
    buf_free(&s->second);
}
