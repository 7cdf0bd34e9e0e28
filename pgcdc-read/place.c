#include "place.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static bool fits(const struct place_column *c, const struct place_attribute *a)
{
    if (a->layout && c->layout && a->layout != c->layout)
        return false;
    return !a->name || (a->type == c->type && a->typmod == c->typmod && !strcmp(a->name, c->name));
}

/*
 * ways[i][j]: in how many ways the columns from i on can be placed on the attributes from j on; 2
 * stands for any more.
 */
bool place_columns(const struct place_column *columns, unsigned ncolumns,
                   const struct place_attribute *attributes, unsigned nattributes, int *attnums)
{
    size_t width = nattributes + 1;
    unsigned char *ways = mem_alloc((ncolumns + 1) * width), *last = ways + ncolumns * width;

    last[nattributes] = 1;
    for (unsigned j = nattributes; j-- > 0;)
        last[j] = attributes[j].kind != PLACE_MUST && last[j + 1];
    for (unsigned i = ncolumns; i-- > 0;)
        for (unsigned j = nattributes; j-- > 0;) {
            const unsigned char *here = ways + i * width + j, *next = here + width;
            unsigned n = attributes[j].kind == PLACE_MAY ? here[1] : 0;
            if (fits(&columns[i], &attributes[j]))
                n += next[1];
            ways[i * width + j] = n > 2 ? 2 : (unsigned char)n;
        }
    bool proven = *ways == 1;
    for (unsigned i = 0, j = 0; proven && i < ncolumns; j++) {
        if (attributes[j].kind == PLACE_MAY && ways[i * width + j + 1])
            continue; /* the one way leaves it out */
        attnums[i++] = attributes[j].attnum;
    }
    free(ways);
    return proven;
}
