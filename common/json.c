#include "json.h"

#include <string.h>

void json_text(struct buf *b, const char *s, size_t len)
{
    buf_char(b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_str(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\u%04x", c);
        else
            buf_char(b, (char)c);
    }
    buf_char(b, '"');
}

static void value(struct buf *b, struct mp *c)
{
    struct mp_token t;

    if (mp_next(c, &t) != 1)
        return;
    switch (t.type) {
    case MP_NIL:
    case MP_FLOAT: /* no frame has one */
        buf_str(b, "null");
        break;
    case MP_BOOL:
        buf_str(b, t.u ? "true" : "false");
        break;
    case MP_UINT:
        buf_printf(b, "%llu", (unsigned long long)t.u);
        break;
    case MP_INT:
        buf_printf(b, "%lld", (long long)t.i);
        break;
    case MP_STR:
        json_text(b, t.data, t.len);
        break;
    case MP_BIN:
        buf_printf(b, "{\"bytes\":%zu}", t.len);
        break;
    case MP_EXT:
        buf_str(b, "{\"unchanged\":true}");
        break;
    case MP_ARRAY:
        buf_char(b, '[');
        for (size_t i = 0; i < t.len; i++) {
            if (i)
                buf_char(b, ',');
            value(b, c);
        }
        buf_char(b, ']');
        break;
    case MP_MAP:
        buf_char(b, '{');
        for (size_t i = 0; i < t.len; i++) {
            if (i)
                buf_char(b, ',');
            value(b, c);
            buf_char(b, ':');
            value(b, c);
        }
        buf_char(b, '}');
        break;
    }
}

void json_line(struct buf *b, struct mp object)
{
    value(b, &object);
    buf_char(b, '\n');
}
