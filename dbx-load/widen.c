#include "widen.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool widen_is_same(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == ' ')
            a++;
        while (*b == ' ')
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
    }
}

static bool is_decimal(const char *type, int *precision, int *scale)
{
    int end = 0;

    return !strncasecmp(type, "decimal", 7) &&
           sscanf(type + 7, " ( %d , %d )%n", precision, scale, &end) == 2 && end &&
           (!type[7 + end] || type[7 + end] == '>');
}

const char *widen_element(const char *type)
{
    return strncasecmp(type, "array<", 6) ? NULL : type + 6;
}

/* Of texts that go on behind the type, as an array's element does. */
static bool is(const char *type, const char *name)
{
    size_t len = strlen(name);

    return !strncasecmp(type, name, len) && (!type[len] || type[len] == '>');
}

bool widen_is_possible(const char *from, const char *to)
{
    static const struct {
        const char *from, *to;
    } known[] = {
        {"smallint", "int"}, {"smallint", "bigint"}, {"smallint", "double"},    {"int", "bigint"},
        {"int", "double"},   {"float", "double"},    {"date", "timestamp_ntz"},
    };
    /* into a DECIMAL with at least so many digits before the point */
    static const struct {
        const char *from;
        int digits;
    } integers[] = {{"smallint", 10}, {"int", 10}, {"bigint", 20}};
    int p, s, p0, s0;

    if (widen_element(from) && widen_element(to))
        return widen_is_possible(widen_element(from), widen_element(to));
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (is(from, known[i].from) && is(to, known[i].to))
            return true;
    if (!is_decimal(to, &p, &s))
        return false;
    for (unsigned i = 0; i < sizeof integers / sizeof *integers; i++)
        if (is(from, integers[i].from))
            return p - s >= integers[i].digits;
    return is_decimal(from, &p0, &s0) && s >= s0 && p - s >= p0 - s0;
}
