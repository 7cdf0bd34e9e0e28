#include "convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"

static bool is(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* An unsigned number of min to max digits; max is 18 at most, so it fits. */
static bool take_number(struct cursor *c, unsigned min, unsigned max, int64_t *v)
{
    unsigned n = 0, digit;
    *v = 0;
    for (; n < max && next_digit(c, &digit); n++)
        *v = *v * 10 + (int64_t)digit;
    return n >= min;
}

/* ---- numbers ---- */

static enum convert_result to_integer(struct cursor c, int64_t min, int64_t max, int64_t *out)
{
    bool negative = take(&c, '-');
    int64_t v = 0;
    unsigned digit;
    if (at_end(&c))
        return CONVERT_BAD;
    while (next_digit(&c, &digit)) { /* downwards: the lowest number has no positive twin */
        if (__builtin_mul_overflow(v, (int64_t)10, &v) ||
            __builtin_sub_overflow(v, (int64_t)digit, &v))
            return CONVERT_BAD;
    }
    if (!at_end(&c) || (!negative && v == INT64_MIN))
        return CONVERT_BAD;
    *out = negative ? v : -v;
    return *out < min || *out > max ? CONVERT_BAD : CONVERT_OK;
}

/* exponent: 0 to 37 */
static __int128 power_of_ten(unsigned exponent)
{
    __int128 v = 1;
    for (; exponent >= 9; exponent -= 9)
        v *= 1000000000;
    for (; exponent > 0; exponent--)
        v *= 10;
    return v;
}

/* Digits and point to an integer of `scale` digits behind the point. */
static enum convert_result to_decimal(struct cursor c, unsigned precision, unsigned scale,
                                      __int128 *out)
{
    if (is(c.p, (size_t)(c.end - c.p), "NaN"))
        return CONVERT_UNREPRESENTABLE;
    bool negative = take(&c, '-');
    if (is(c.p, (size_t)(c.end - c.p), "Infinity"))
        return CONVERT_UNREPRESENTABLE;
    __int128 v = 0, limit = power_of_ten(precision - 1); /* below it there is room for a digit */
    bool fits = true, any = false;
    unsigned digit, behind = 0;
    while (next_digit(&c, &digit)) {
        any = true;
        fits = fits && v < limit;
        if (fits)
            v = v * 10 + (int)digit;
    }
    if (take(&c, '.')) {
        while (next_digit(&c, &digit)) {
            any = true;
            if (behind == scale) {
                fits = fits && digit == 0;
                continue;
            }
            behind++;
            fits = fits && v < limit;
            if (fits)
                v = v * 10 + (int)digit;
        }
    }
    if (!any || !at_end(&c))
        return CONVERT_BAD;
    for (; fits && behind < scale; behind++) {
        fits = v < limit;
        if (fits)
            v *= 10;
    }
    if (!fits)
        return CONVERT_UNREPRESENTABLE;
    *out = negative ? -v : v;
    return CONVERT_OK;
}

/* strtod and strtof round correctly, each to its own type, but want a NUL behind the text and take
 * more than PostgreSQL prints. */
static enum convert_result to_floating(const char *text, size_t len, bool single,
                                       union parquet_value *out)
{
    char copy[64];
    bool negative = len > 0 && text[0] == '-';
    double v;
    if (is(text, len, "NaN")) {
        v = NAN;
    } else if (is(text + negative, len - negative, "Infinity")) {
        v = negative ? -INFINITY : INFINITY;
    } else {
        if (len == 0 || len >= sizeof copy)
            return CONVERT_BAD;
        memcpy(copy, text, len);
        copy[len] = '\0';
        if (copy[strspn(copy, "0123456789+-.eE")] != '\0')
            return CONVERT_BAD;
        char *end;
        if (single)
            out->f = strtof(copy, &end);
        else
            out->d = strtod(copy, &end);
        bool infinite = single ? isinf(out->f) : isinf(out->d);
        return end != copy + len || infinite ? CONVERT_BAD : CONVERT_OK;
    }
    if (single)
        out->f = (float)v;
    else
        out->d = v;
    return CONVERT_OK;
}

/* ---- dates and times ---- */

/* Days from 1970-01-01 in the proleptic Gregorian calendar. Counts in eras of 400 years, with the
 * year beginning in March so that the leap day comes last. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool day_exists(int64_t year, int64_t month, int64_t day)
{
    static const int8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= lengths[month - 1] + (month == 2 && leap);
}

static bool is_infinite(const struct cursor *c)
{
    const char *p = c->p;
    size_t len = (size_t)(c->end - p);
    return is(p, len, "infinity") || is(p, len, "-infinity");
}

/* Cut " BC" off the end. */
static bool take_bc(struct cursor *c)
{
    if (c->end - c->p < 3 || memcmp(c->end - 3, " BC", 3) != 0)
        return false;
    c->end -= 3;
    return true;
}

static bool take_date(struct cursor *c, bool bc, int64_t *days)
{
    int64_t year, month, day;
    if (!take_number(c, 4, 9, &year) || !take(c, '-') || !take_number(c, 2, 2, &month) ||
        !take(c, '-') || !take_number(c, 2, 2, &day))
        return false;
    if (bc)
        year = 1 - year; /* there is no year 0 between 1 BC and 1 */
    *days = days_from_civil(year, month, day);
    return day_exists(year, month, day);
}

static enum convert_result to_date(struct cursor c, int64_t *out)
{
    if (is_infinite(&c))
        return CONVERT_UNREPRESENTABLE;
    bool bc = take_bc(&c);
    if (!take_date(&c, bc, out) || !at_end(&c))
        return CONVERT_BAD;
    return *out < INT32_MIN || *out > INT32_MAX ? CONVERT_UNREPRESENTABLE : CONVERT_OK;
}

/* HH:MM:SS.ffffff */
static bool take_time(struct cursor *c, int64_t *micros)
{
    int64_t h, m, s, fraction = 0;
    if (!take_number(c, 2, 2, &h) || !take(c, ':') || !take_number(c, 2, 2, &m) || !take(c, ':') ||
        !take_number(c, 2, 2, &s) || h > 23 || m > 59 || s > 59)
        return false;
    if (take(c, '.')) {
        const char *begin = c->p;
        if (!take_number(c, 1, 6, &fraction))
            return false;
        for (ptrdiff_t n = c->p - begin; n < 6; n++)
            fraction *= 10;
    }
    *micros = ((h * 60 + m) * 60 + s) * 1000000 + fraction;
    return true;
}

/* +HH, +HH:MM or +HH:MM:SS, in seconds east of UTC */
static bool take_zone(struct cursor *c, int64_t *seconds)
{
    int64_t h, m = 0, s = 0;
    bool west = take(c, '-');
    if ((!west && !take(c, '+')) || !take_number(c, 2, 2, &h) ||
        (take(c, ':') && !take_number(c, 2, 2, &m)) || (take(c, ':') && !take_number(c, 2, 2, &s)))
        return false;
    *seconds = (h * 60 + m) * 60 + s;
    if (west)
        *seconds = -*seconds;
    return true;
}

static enum convert_result to_timestamp(struct cursor c, bool zoned, int64_t *out)
{
    int64_t days, micros, zone = 0;
    if (is_infinite(&c))
        return CONVERT_UNREPRESENTABLE;
    bool bc = take_bc(&c);
    if (!take_date(&c, bc, &days) || !take(&c, ' ') || !take_time(&c, &micros) ||
        (zoned && !take_zone(&c, &zone)) || !at_end(&c))
        return CONVERT_BAD;
    /* PostgreSQL counts from 2000 and so reaches 30 years further than a count from 1970. */
    __int128 v = (__int128)days * 86400000000 + micros - zone * 1000000;
    if (v > INT64_MAX || v < INT64_MIN)
        return CONVERT_UNREPRESENTABLE;
    *out = (int64_t)v;
    return CONVERT_OK;
}

/* ---- bytes ---- */

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    return -1;
}

static enum convert_result to_binary(const char *text, size_t len, struct buf *scratch,
                                     union parquet_value *out)
{
    if (len < 2 || len % 2 != 0 || memcmp(text, "\\x", 2) != 0)
        return CONVERT_BAD;
    buf_clear(scratch);
    buf_reserve(scratch, len / 2);
    for (size_t i = 2; i < len; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return CONVERT_BAD;
        scratch->data[scratch->len++] = (char)(high << 4 | low);
    }
    out->bytes.data = scratch->data;
    out->bytes.len = scratch->len;
    return CONVERT_OK;
}

enum convert_result convert(const struct parquet_column *column, const char *text, size_t len,
                            struct buf *scratch, union parquet_value *out)
{
    struct cursor c = {text, text + len};
    switch (column->type) {
    case PARQUET_BOOLEAN:
        out->i = is(text, len, "t");
        return out->i || is(text, len, "f") ? CONVERT_OK : CONVERT_BAD;
    case PARQUET_INT16:
        return to_integer(c, INT16_MIN, INT16_MAX, &out->i);
    case PARQUET_INT32:
        return to_integer(c, INT32_MIN, INT32_MAX, &out->i);
    case PARQUET_INT64:
        return to_integer(c, INT64_MIN, INT64_MAX, &out->i);
    case PARQUET_DATE:
        return to_date(c, &out->i);
    case PARQUET_TIMESTAMP:
        return to_timestamp(c, true, &out->i);
    case PARQUET_TIMESTAMP_NTZ:
        return to_timestamp(c, false, &out->i);
    case PARQUET_FLOAT:
        return to_floating(text, len, true, out);
    case PARQUET_DOUBLE:
        return to_floating(text, len, false, out);
    case PARQUET_DECIMAL:
        return to_decimal(c, column->precision, column->scale, &out->decimal);
    case PARQUET_BINARY:
        return to_binary(text, len, scratch, out);
    case PARQUET_STRING:
        break;
    }
    out->bytes.data = text;
    out->bytes.len = len;
    return CONVERT_OK;
}
