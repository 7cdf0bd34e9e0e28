/* cursor: what is left to read of a text that PostgreSQL printed. Every read is checked before it
 * happens. */
#ifndef CDC_MERGE_CURSOR_H
#define CDC_MERGE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

struct cursor {
    const char *p, *end;
};

static inline bool at_end(const struct cursor *c)
{
    return c->p == c->end;
}

static inline bool is_next(const struct cursor *c, char ch)
{
    return !at_end(c) && *c->p == ch;
}

/* Step over this character, if it is next. */
static inline bool take(struct cursor *c, char ch)
{
    if (!is_next(c, ch))
        return false;
    c->p++;
    return true;
}

static inline bool next_digit(struct cursor *c, unsigned *digit)
{
    if (at_end(c) || *c->p < '0' || *c->p > '9')
        return false;
    *digit = (unsigned)(*c->p++ - '0');
    return true;
}

#endif
