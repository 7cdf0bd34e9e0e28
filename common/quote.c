#include "quote.h"

#include <string.h>

static void doubled(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '`')
            buf_char(b, '`');
        buf_char(b, *s);
    }
}

void quote_name(struct buf *b, const char *name)
{
    buf_char(b, '`');
    doubled(b, name);
    buf_char(b, '`');
}

void quote_table(struct buf *b, const char *catalog, const char *schema, const char *table)
{
    quote_name(b, catalog);
    buf_char(b, '.');
    quote_name(b, schema);
    buf_char(b, '.');
    quote_name(b, table);
}

void quote_text(struct buf *b, const char *text, size_t len)
{
    buf_char(b, '\'');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'' || text[i] == '\\')
            buf_char(b, '\\');
        if (text[i] == '$') /* ${…} is a variable of Spark's, wherever it stands */
            buf_str(b, "\\u0024");
        else
            buf_char(b, text[i]);
    }
    buf_char(b, '\'');
}

void quote_path(struct buf *b, const char *path)
{
    doubled(b, path);
}
