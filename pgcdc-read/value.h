/* One column's value as it comes from PostgreSQL: its text, or the lack of it. */
#ifndef PGCDC_READ_VALUE_H
#define PGCDC_READ_VALUE_H

#include <stddef.h>

enum value_kind {
    VALUE_NULL,
    VALUE_TEXT,
    VALUE_UNCHANGED, /* TOASTed, not touched by an UPDATE, and not in the WAL */
};

struct value {
    enum value_kind kind;
    size_t len;
    const char *data; /* VALUE_TEXT: not NUL-terminated; belongs to whoever made the value */
};

#endif
