#include "fail.h"

#include "mem.h"
#include "msg.h"

#include <stdarg.h>
#include <stdio.h>

static void (*recorder)(void *arg, const char *text);
static void *recorder_arg;

void fail_record(void (*function)(void *arg, const char *text), void *arg)
{
    recorder = function;
    recorder_arg = arg;
}

void fail(int code, const char *fmt, ...)
{
    char text[2000];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (recorder)
        recorder(recorder_arg, text);
    msg_die(code, "%s", text);
}
