#include "names.h"

#include <locale.h>
#include <wctype.h>

#include "msg.h"

/* The next character; a byte that begins none stands for itself. *p is not at the NUL. */
static wint_t next_character(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    unsigned more = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : *s >= 0xc0 ? 1 : 0, n = 0;
    wint_t c = more ? *s & (0x3fu >> more) : *s;

    for (; n < more && (s[n + 1] & 0xc0) == 0x80; n++)
        c = c << 6 | (s[n + 1] & 0x3f);
    *p += n + 1;
    return n == more ? c : *s;
}

/* To upper case first: letters such as Greek's two small sigmas have one capital. */
static wint_t fold(wint_t c)
{
    static locale_t unicode;

    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    if (!unicode && !(unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL)))
        msg_die(EX_CONFIG, "the locale C.UTF-8 is missing, which compares names; install it");
    return towlower_l(towupper_l(c, unicode), unicode);
}

bool names_equal(const char *a, const char *b)
{
    while (*a && *b)
        if (fold(next_character(&a)) != fold(next_character(&b)))
            return false;
    return !*a && !*b;
}
