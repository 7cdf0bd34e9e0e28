#include "stats.h"

#include <endian.h>
#include <math.h>

void stats_begin(struct stats *s)
{
    s->nulls = 0;
    s->nans = 0;
    s->any = false;
}

static void bound_ints(struct stats *s, int64_t min, int64_t max)
{
    if (!s->any || min < s->min.i)
        s->min.i = min;
    if (!s->any || max > s->max.i)
        s->max.i = max;
    s->any = true;
}

void stats_booleans(struct stats *s, const void *values, size_t n)
{
    if (n > 0)
        bound_ints(s, memchr(values, 0, n) ? 0 : 1, memchr(values, 1, n) ? 1 : 0);
}

void stats_int32(struct stats *s, const void *values, size_t n)
{
    const uint32_t *v = values;
    int32_t min = INT32_MAX, max = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t x = (int32_t)le32toh(v[i]);
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    if (n > 0)
        bound_ints(s, min, max);
}

void stats_int64(struct stats *s, const void *values, size_t n)
{
    const uint64_t *v = values;
    int64_t min = INT64_MAX, max = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        int64_t x = (int64_t)le64toh(v[i]);
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    if (n > 0)
        bound_ints(s, min, max);
}

void stats_double(struct stats *s, double v)
{
    if (isnan(v)) {
        s->nans++;
        return;
    }
    if (!s->any || v < s->min.d)
        s->min.d = v;
    if (!s->any || v > s->max.d)
        s->max.d = v;
    s->any = true;
}

void stats_decimal(struct stats *s, __int128 v)
{
    if (!s->any || v < s->min.decimal)
        s->min.decimal = v;
    if (!s->any || v > s->max.decimal)
        s->max.decimal = v;
    s->any = true;
}

/* Bytewise order of a value against a kept one, both cut to STATS_BYTES; of equal prefixes the cut
 * one is the greater. */
static int compare(const void *data, size_t len, bool cut, const struct stats_bound *b)
{
    int c = memcmp(data, b->data, len < b->len ? len : b->len);
    if (c == 0 && len != b->len)
        c = len < b->len ? -1 : 1;
    return c ? c : (int)cut - (int)b->cut;
}

static void keep(struct stats_bound *b, const void *data, size_t len, bool cut)
{
    if (len > 0)
        memcpy(b->data, data, len);
    b->len = len;
    b->cut = cut;
}

void stats_bytes(struct stats *s, const void *data, size_t len)
{
    bool cut = len > STATS_BYTES;
    if (cut)
        len = STATS_BYTES;
    if (len == 0)
        data = "";
    if (!s->any || compare(data, len, cut, &s->min.bytes) < 0)
        keep(&s->min.bytes, data, len, cut);
    if (!s->any || compare(data, len, cut, &s->max.bytes) > 0)
        keep(&s->max.bytes, data, len, cut);
    s->any = true;
}

/* Cut back to where a character begins, if the text ends inside one. */
static size_t whole_characters(const uint8_t *text, size_t len)
{
    size_t start = len;
    while (start > 0 && (text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return len; /* no UTF-8; any prefix is a bound */
    uint8_t lead = text[start - 1];
    size_t size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return len - (start - 1) < size ? start - 1 : len;
}

size_t stats_lower_bytes(const struct stats *s, bool utf8, uint8_t *out)
{
    const struct stats_bound *b = &s->min.bytes;
    size_t len = b->cut && utf8 ? whole_characters(b->data, b->len) : b->len;
    memcpy(out, b->data, len);
    return len;
}

bool stats_upper_bytes(const struct stats *s, bool utf8, uint8_t *out, size_t *len)
{
    const struct stats_bound *b = &s->max.bytes;
    size_t n = b->len;
    memcpy(out, b->data, n);
    if (b->cut) {
        /* In text only ASCII below DEL is raised, and what follows is dropped: it stays UTF-8. */
        uint8_t top = utf8 ? 0x7e : 0xfe;
        while (n > 0 && out[n - 1] > top)
            n--;
        if (n == 0)
            return false;
        out[n - 1]++;
    }
    *len = n;
    return true;
}
