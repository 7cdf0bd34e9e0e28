#include "lsn.h"

#include <stdio.h>
#include <string.h>

const char *lsn_format(char out[LSN_SIZE], lsn_t lsn)
{
    if (lsn)
        snprintf(out, LSN_SIZE, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    else
        strcpy(out, "-");
    return out;
}

static const char *half(const char *s, uint64_t *value)
{
    int n = 0;

    *value = 0;
    for (; n < 8; n++, s++) {
        int c = *s;
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : -1;
        if (d < 0)
            break;
        *value = *value << 4 | (unsigned)d;
    }
    return n ? s : NULL;
}

bool lsn_parse(const char *text, lsn_t *lsn)
{
    uint64_t high, low;

    if (!strcmp(text, "-")) {
        *lsn = 0;
        return true;
    }
    const char *s = half(text, &high);
    if (!s || *s != '/')
        return false;
    s = half(s + 1, &low);
    if (!s || *s)
        return false;
    *lsn = high << 32 | low;
    return true;
}
