#include "hstore.h"

#include <string.h>

#include "bytes.h"

struct hstore hstore_begin(const char *text, size_t len, struct buf *key, struct buf *value)
{
    return (struct hstore){.text = {text, text + len}, .key = key, .value = value};
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0)
        return false;
    c->p += len;
    return true;
}

/* A text in quotes. */
static bool take_quoted(struct cursor *c, struct buf *out)
{
    buf_clear(out);
    if (!take(c, '"'))
        return false;
    while (!at_end(c) && !is_next(c, '"')) {
        if (take(c, '\\') && at_end(c))
            return false;
        *bytes_add(out, 1) = (uint8_t)*c->p++;
    }
    return take(c, '"');
}

static bool in_order(const struct buf *before, const struct buf *key)
{
    if (before->len != key->len)
        return before->len < key->len;
    return key->len > 0 && memcmp(before->data, key->data, key->len) < 0;
}

enum hstore_item hstore_next(struct hstore *h, bool *null)
{
    struct cursor *c = &h->text;
    if (at_end(c))
        return HSTORE_END;
    if (h->any && !take_word(c, ", "))
        return HSTORE_BAD;

    /* the buffer of the value that was taken away becomes that of the key */
    struct buf before = *h->key;
    *h->key = *h->value;
    *h->value = before;
    if (!take_quoted(c, h->key) || (h->any && !in_order(h->value, h->key)) || !take_word(c, "=>"))
        return HSTORE_BAD;
    h->any = true;
    *null = take_word(c, "NULL");
    return *null || take_quoted(c, h->value) ? HSTORE_PAIR : HSTORE_BAD;
}
