#include "row.h"

#include <stdlib.h>

#include "mem.h"

/* Whether a text of so many bytes is packed in as few as possible. */
static bool is_shortest(size_t packed, size_t len)
{
    return packed - len == (len < 32 ? 1 : len < 256 ? 2 : len < 65536 ? 3 : 5);
}

const char *row_open(struct row *r, struct mp values, unsigned n)
{
    struct mp_token t;

    r->raw.p = values.p;
    if (mp_next(&values, &t) != 1 || t.type != MP_ARRAY)
        return "a row has to be an array";
    if (t.len != n)
        return "a row has not as many columns as the last relation frame of its table";
    if (r->room < n) {
        r->cells = mem_realloc(r->cells, n * sizeof *r->cells);
        r->room = n;
    }
    r->n = n;
    r->unchanged = false;
    for (unsigned i = 0; i < n; i++) {
        struct cell *c = &r->cells[i];
        const unsigned char *begin = values.p;
        if (mp_next(&values, &t) != 1)
            return "a row ends too early";
        *c = (struct cell){CELL_NULL, true, t.data, t.len, {begin, values.p}};
        if (t.type == MP_STR) {
            c->kind = CELL_TEXT;
            c->shortest = is_shortest((size_t)(values.p - begin), t.len);
        } else if (t.type == MP_EXT && t.ext == MP_EXT_UNCHANGED && !t.len) {
            c->kind = CELL_UNCHANGED;
            r->unchanged = true;
        } else if (t.type != MP_NIL) {
            return "a value has to be a string, nil or unchanged";
        }
    }
    r->raw.end = values.p;
    return NULL;
}

void row_free(struct row *r)
{
    free(r->cells);
    *r = (struct row){0};
}
