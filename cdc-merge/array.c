#include "array.h"

#include <string.h>

#include "bytes.h"

enum { DIMENSIONS_MAX = 6 }; /* MAXDIM */

struct array array_begin(const char *text, size_t len, char delimiter, struct buf *scratch)
{
    return (struct array){.text = {text, text + len}, .delimiter = delimiter, .scratch = scratch};
}

static bool take_integer(struct cursor *c)
{
    unsigned digit;
    take(c, '-');
    if (!next_digit(c, &digit))
        return false;
    while (next_digit(c, &digit))
        ;
    return true;
}

/* [2:4][1:3]= */
static bool take_bounds(struct array *a)
{
    struct cursor *c = &a->text;
    if (!is_next(c, '['))
        return true;
    a->bounds = true;
    while (take(c, '['))
        if (!take_integer(c) || !take(c, ':') || !take_integer(c) || !take(c, ']'))
            return false;
    return take(c, '=');
}

/* Behind the opening quote. */
static enum array_item take_quoted(struct array *a, const char **element, size_t *len)
{
    struct cursor *c = &a->text;
    const char *begin = c->p;
    while (!at_end(c) && *c->p != '"' && *c->p != '\\')
        c->p++;
    *element = begin;
    *len = (size_t)(c->p - begin);
    if (take(c, '"'))
        return ARRAY_ELEMENT;

    buf_clear(a->scratch);
    bytes_put(a->scratch, begin, *len);
    while (!at_end(c) && !is_next(c, '"')) {
        if (take(c, '\\') && at_end(c))
            return ARRAY_BAD;
        *bytes_add(a->scratch, 1) = (uint8_t)*c->p++;
    }
    *element = a->scratch->data;
    *len = a->scratch->len;
    return take(c, '"') ? ARRAY_ELEMENT : ARRAY_BAD;
}

/* What stands without quotes is not empty, and has nothing that reads as structure. */
static enum array_item take_bare(struct array *a, const char **element, size_t *len)
{
    struct cursor *c = &a->text;
    *element = c->p;
    while (!at_end(c) && *c->p != a->delimiter && *c->p != '}') {
        if (*c->p == '{' || *c->p == '"' || *c->p == '\\')
            return ARRAY_BAD;
        c->p++;
    }
    *len = (size_t)(c->p - *element);
    if (*len == 0)
        return ARRAY_BAD;
    return *len == 4 && memcmp(*element, "NULL", 4) == 0 ? ARRAY_NULL : ARRAY_ELEMENT;
}

static enum array_item take_element(struct array *a, const char **element, size_t *len)
{
    if (a->leaves == 0)
        a->leaves = a->depth;
    if (a->leaves != a->depth)
        return ARRAY_BAD;
    a->behind = true;
    return take(&a->text, '"') ? take_quoted(a, element, len) : take_bare(a, element, len);
}

enum array_item array_next(struct array *a, const char **element, size_t *len)
{
    struct cursor *c = &a->text;
    if (!a->opened) {
        if (!take_bounds(a) || !is_next(c, '{'))
            return ARRAY_BAD;
        a->opened = true;
        if (!a->bounds && c->end - c->p == 2 && c->p[1] == '}')
            return ARRAY_END;
    }
    for (;;) {
        if (!a->behind) {
            if (!take(c, '{'))
                return take_element(a, element, len);
            if (++a->depth > DIMENSIONS_MAX)
                return ARRAY_BAD;
        } else if (take(c, '}')) {
            if (--a->depth == 0)
                return at_end(c) ? ARRAY_END : ARRAY_BAD;
        } else if (take(c, a->delimiter)) {
            a->behind = false;
        } else {
            return ARRAY_BAD;
        }
    }
}

bool array_is_list(const struct array *a)
{
    return !a->bounds && a->leaves <= 1;
}

enum array_item array_next_of_vector(struct array *a, const char **element, size_t *len)
{
    struct cursor *c = &a->text;
    if (a->opened && take(c, ']'))
        return at_end(c) ? ARRAY_END : ARRAY_BAD;
    if (!take(c, a->opened ? ',' : '['))
        return ARRAY_BAD;
    a->opened = true;
    *element = c->p;
    while (!at_end(c) && *c->p != ',' && *c->p != ']')
        c->p++;
    *len = (size_t)(c->p - *element);
    return ARRAY_ELEMENT;
}
