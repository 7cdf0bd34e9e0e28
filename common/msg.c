#include "msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *program = "pgcdc";
static int verbosity;
static void (*die_hook)(int);

void msg_init(const char *name)
{
    program = name;
    setvbuf(stderr, NULL, _IOLBF, 4096);
}

const char *msg_program(void)
{
    return program;
}

void msg_verbosity(int change)
{
    verbosity += change;
}

static void say(const char *level, const char *fmt, va_list ap)
{
    char line[4096];
    int n = vsnprintf(line, sizeof line, fmt, ap);

    /* one message is one line, whatever a server put into its text */
    for (int i = 0; i < n && i < (int)sizeof line - 1; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    fprintf(stderr, "%s: %s%s\n", program, level, line);
}

#define SAY(level)       \
    va_list ap;          \
    va_start(ap, fmt);   \
    say(level, fmt, ap); \
    va_end(ap)

void msg_warn(const char *fmt, ...)
{
    if (verbosity < 0)
        return;
    SAY("warning: ");
}

void msg_info(const char *fmt, ...)
{
    if (verbosity < 1)
        return;
    SAY("");
}

void msg_debug(const char *fmt, ...)
{
    if (verbosity < 2)
        return;
    SAY("debug: ");
}

void msg_line(const char *fmt, ...)
{
    SAY("");
}

void msg_on_die(void (*hook)(int code))
{
    die_hook = hook;
}

void msg_exit(int code)
{
    void (*hook)(int) = die_hook;

    die_hook = NULL; /* a hook that fails must not come back here */
    if (hook)
        hook(code);
    exit(code);
}

void msg_die(int code, const char *fmt, ...)
{
    SAY("error: ");
    msg_exit(code);
}
