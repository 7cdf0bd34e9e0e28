#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>

#include "msg.h"

#define TEXT_SIZE 1024

void verdict_pass(const struct verdicts *v, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (v->report)
        msg_line("ok   %s", text);
}

void verdict_note(const struct verdicts *v, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (v->report)
        msg_line("note %s", text);
}

void verdict_fail(struct verdicts *v, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!v->report)
        msg_die(EX_CONFIG, "%s", text);
    msg_line("FAIL %s", text);
    v->failures++;
}

void verdict_lost(struct verdicts *v, bool *anew, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!anew)
        verdict_fail(v, "%s, changes are lost: --on-slot-loss resnapshot reads all tables again",
                     text);
    else if (v->report)
        verdict_pass(v, "%s, changes are lost: all tables will be read again", text);
    else if (!*anew)
        msg_warn("%s, changes are lost: reading all tables again", text);
    if (anew)
        *anew = true;
}
