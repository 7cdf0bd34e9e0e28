#include "copytext.h"

#include <string.h>

/* What stands after a backslash. COPY TO writes no octal or hexadecimal escapes. */
static int unescape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    default:
        return c;
    }
}

static bool decode(char *field, size_t len, struct value *v)
{
    *v = (struct value){.kind = VALUE_TEXT, .data = field, .len = len};
    char *from = memchr(field, '\\', len), *end = field + len;
    if (!from)
        return true;
    if (len == 2 && field[1] == 'N') {
        *v = (struct value){.kind = VALUE_NULL};
        return true;
    }
    char *to = from;
    while (from < end) {
        char c = *from++;
        if (c == '\\') {
            if (from == end)
                return false;
            c = (char)unescape(*from++);
        }
        *to++ = c;
    }
    v->len = (size_t)(to - field);
    return true;
}

bool copytext_split(char *line, size_t len, struct value *values, unsigned n)
{
    char *end = line + len;

    if (len && end[-1] == '\n')
        end--;
    if (n == 0) /* a table without columns: an empty line */
        return line == end;
    for (unsigned i = 0; i < n; i++) {
        char *tab = memchr(line, '\t', (size_t)(end - line));
        if ((tab != NULL) != (i + 1 < n))
            return false;
        char *stop = tab ? tab : end;
        if (!decode(line, (size_t)(stop - line), &values[i]))
            return false;
        line = stop + 1;
    }
    return true;
}
