#include "variant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "cursor.h"

enum { DECIMAL_DIGITS = 38, DOUBLE_DIGITS = 17, NUMBER_MAX = 64, EXPONENT_MAX = 9999 };

/* Bytes of a VARIANT at most: what a value has beside its content, a string or key beside its text,
 * an array or object beside its entries, and each of these beside its value. The dictionary of keys
 * has each key once, which is not reckoned with. */
enum { VALUE_COST = 2, STRING_COST = 5, CONTAINER_COST = 9, ENTRY_COST = 8 };

struct json {
    struct cursor text;
    struct buf *keys; /* uint64_t per key of the open objects: its hash */
    size_t size;
    unsigned depth;
    bool exact;
};

static bool take_value(struct json *j);

static void skip_spaces(struct cursor *c)
{
    while (!at_end(c) && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
}

static bool take_word(struct json *j, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(j->text.end - j->text.p) < len || memcmp(j->text.p, word, len) != 0)
        return false;
    j->text.p += len;
    j->size += VALUE_COST;
    return true;
}

/* ---- numbers ---- */

/* The digits from the first that is not 0 to the last, and the exponent of the first. */
struct digits {
    char digit[NUMBER_MAX];
    size_t n;
    long exponent;
};

static struct digits digits_of(const char *number)
{
    struct digits d = {.exponent = -1};
    bool behind = false;
    const char *p = number + (*number == '-');
    for (; *p && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            behind = true;
        } else if (d.n > 0 || *p != '0') {
            d.digit[d.n++] = *p;
            d.exponent += !behind;
        } else if (behind) {
            d.exponent--;
        }
    }
    long e = *p ? strtol(p + 1, NULL, 10) : 0;
    d.exponent += e > EXPONENT_MAX ? EXPONENT_MAX : e < -EXPONENT_MAX ? -EXPONENT_MAX : e;
    while (d.n > 0 && d.digit[d.n - 1] == '0')
        d.n--;
    return d;
}

/* A number with an exponent becomes a DOUBLE. It is exact if that, printed with as many digits, is
 * the same number. */
static bool is_double(const char *text, size_t len)
{
    char number[NUMBER_MAX], printed[NUMBER_MAX];
    if (len >= sizeof number)
        return false;
    memcpy(number, text, len);
    number[len] = '\0';
    struct digits want = digits_of(number);
    double v = strtod(number, NULL);
    if (want.n == 0)
        return true;
    if (want.n > DOUBLE_DIGITS || !isfinite(v) || v == 0)
        return false;
    snprintf(printed, sizeof printed, "%.*e", (int)want.n - 1, v);
    struct digits have = digits_of(printed);
    return have.n == want.n && have.exponent == want.exponent &&
           memcmp(have.digit, want.digit, have.n) == 0;
}

/* Steps over digits; returns how many, and counts in *significant those from the first that is not
 * 0, here or before. */
static size_t take_digits(struct cursor *c, size_t *significant)
{
    const char *begin = c->p;
    unsigned digit;
    while (next_digit(c, &digit))
        *significant += *significant > 0 || digit > 0;
    return (size_t)(c->p - begin);
}

static bool take_number(struct json *j)
{
    struct cursor *c = &j->text;
    const char *begin = c->p;
    size_t significant = 0, scale = 0, unused = 0;
    take(c, '-');
    bool zero = is_next(c, '0');
    size_t before = take_digits(c, &significant);
    if (before == 0 || (zero && before > 1))
        return false;
    if (take(c, '.') && (scale = take_digits(c, &significant)) == 0)
        return false;
    bool exact = significant <= DECIMAL_DIGITS && scale <= DECIMAL_DIGITS;
    if (take(c, 'e') || take(c, 'E')) {
        if (!take(c, '-'))
            take(c, '+');
        if (take_digits(c, &unused) == 0)
            return false;
        exact = is_double(begin, (size_t)(c->p - begin));
    }
    j->exact = j->exact && exact;
    j->size += VALUE_COST + (significant + scale <= 18 ? 8u : 16u);
    return true;
}

/* ---- strings ---- */

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = (char)(ch | 0x20);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* Behind \u */
static bool take_hex(struct cursor *c, uint32_t *v)
{
    *v = 0;
    if (c->end - c->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*c->p++);
        if (digit < 0)
            return false;
        *v = *v << 4 | (uint32_t)digit;
    }
    return true;
}

/* FNV-1a. Two keys with the same hash are taken for the same: then the document stays a text. */
static void hash(uint64_t *h, uint32_t byte)
{
    *h = (*h ^ byte) * 0x100000001b3u;
}

static void hash_character(uint64_t *h, uint32_t ch)
{
    if (ch < 0x80) {
        hash(h, ch);
        return;
    }
    unsigned more = ch < 0x800 ? 1 : ch < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
    hash(h, leads[more] | ch >> (6 * more));
    while (more-- > 0)
        hash(h, 0x80 | (ch >> (6 * more) & 0x3f));
}

/* Behind a backslash. */
static bool take_escape(struct json *j, uint64_t *h)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    struct cursor *c = &j->text;
    uint32_t ch, low;
    if (at_end(c))
        return false;
    if (!take(c, 'u')) {
        const char *found = memchr(letters, *c->p++, sizeof letters - 1);
        if (found)
            hash(h, (uint8_t)meant[found - letters]);
        return found != NULL;
    }
    if (!take_hex(c, &ch))
        return false;
    if (ch >= 0xd800 && ch < 0xdc00 && c->end - c->p >= 2 && c->p[0] == '\\' && c->p[1] == 'u') {
        struct cursor ahead = {c->p + 2, c->end};
        if (!take_hex(&ahead, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000) {
            *c = ahead;
            ch = 0x10000 + ((ch - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    if (ch >= 0xd800 && ch < 0xe000)
        j->exact = false; /* half a pair */
    hash_character(h, ch);
    return true;
}

/* The hash is that of what the string means. */
static bool take_string(struct json *j, uint64_t *h)
{
    struct cursor *c = &j->text;
    const char *begin = c->p;
    *h = 0xcbf29ce484222325u;
    if (!take(c, '"'))
        return false;
    while (!at_end(c) && !is_next(c, '"')) {
        if (take(c, '\\')) {
            if (!take_escape(j, h))
                return false;
        } else if ((unsigned char)*c->p < ' ') {
            return false;
        } else {
            hash(h, (uint8_t)*c->p++);
        }
    }
    j->size += STRING_COST + (size_t)(c->p - begin);
    return take(c, '"');
}

/* ---- arrays and objects ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Whether a key comes twice among those from this offset on, which go. */
static bool end_keys(struct json *j, size_t from)
{
    size_t n = (j->keys->len - from) / sizeof(uint64_t);
    if (n < 2) {
        j->keys->len = from;
        return false;
    }
    char *keys = j->keys->data + from;
    bool twice = false;
    qsort(keys, n, sizeof(uint64_t), compare);
    for (size_t i = 1; i < n; i++)
        twice =
            twice || compare(keys + (i - 1) * sizeof(uint64_t), keys + i * sizeof(uint64_t)) == 0;
    j->keys->len = from;
    return twice;
}

static bool take_key(struct json *j)
{
    const char *begin = j->text.p;
    uint64_t h;
    if (!take_string(j, &h))
        return false;
    j->exact = j->exact && j->text.p - begin <= VARIANT_NAME_MAX;
    bytes_put(j->keys, &h, sizeof h);
    skip_spaces(&j->text);
    return take(&j->text, ':');
}

/* Behind the opening brace or bracket. */
static bool take_container(struct json *j, char close)
{
    struct cursor *c = &j->text;
    size_t keys = j->keys->len;
    bool any = false;
    if (++j->depth > VARIANT_DEPTH_MAX)
        return false;
    for (skip_spaces(c); !take(c, close); skip_spaces(c)) {
        if (any && !take(c, ','))
            return false;
        skip_spaces(c);
        if (close == '}' && !take_key(j))
            return false;
        if (!take_value(j))
            return false;
        j->size += ENTRY_COST;
        any = true;
    }
    if (close == '}' && end_keys(j, keys))
        j->exact = false;
    j->size += CONTAINER_COST;
    j->depth--;
    return true;
}

static bool take_value(struct json *j)
{
    struct cursor *c = &j->text;
    uint64_t h;
    skip_spaces(c);
    if (take(c, '{'))
        return take_container(j, '}');
    if (take(c, '['))
        return take_container(j, ']');
    if (is_next(c, '"'))
        return take_string(j, &h);
    return take_word(j, "true") || take_word(j, "false") || take_word(j, "null") || take_number(j);
}

enum convert_result variant_check(const char *text, size_t len, struct buf *scratch)
{
    struct json j = {.text = {text, text + len}, .keys = scratch, .exact = true};
    buf_clear(scratch);
    bool whole = take_value(&j);
    if (!whole && j.depth > VARIANT_DEPTH_MAX)
        return CONVERT_UNREPRESENTABLE;
    skip_spaces(&j.text);
    if (!whole || !at_end(&j.text))
        return CONVERT_BAD;
    return j.exact && j.size <= VARIANT_SIZE_MAX ? CONVERT_OK : CONVERT_UNREPRESENTABLE;
}
