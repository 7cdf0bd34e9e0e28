/* For tests of code that ends the program when it refuses something. Include after cmocka's. */
#ifndef PGCDC_TEST_DIES_H
#define PGCDC_TEST_DIES_H

#include <sanitizer/lsan_interface.h>
#include <setjmp.h>
#include <stdio.h>

#include "msg.h"

static jmp_buf dies_escape;
static int dies_code;

static void dies_hook(int code)
{
    dies_code = code;
    longjmp(dies_escape, 1);
}

/* The exit code with which run(arg) ends the program, or -1 if it returns. What it says is not
 * shown, and what it had allocated is lost, as it would be. */
static int exit_code_of(void (*run)(const void *), const void *arg)
{
    static FILE *nowhere;
    FILE *shown = stderr;

    if (!nowhere)
        nowhere = fopen("/dev/null", "w");
    dies_code = -1;
    msg_on_die(dies_hook);
    __lsan_disable();
    stderr = nowhere;
    if (!setjmp(dies_escape))
        run(arg);
    stderr = shown;
    __lsan_enable();
    msg_on_die(NULL);
    return dies_code;
}

#endif
