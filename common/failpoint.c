#include "failpoint.h"

#ifdef PGCDC_FAILPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void failpoint(const char *name)
{
    static int passed;
    const char *wanted = getenv("CDC_FAILPOINT");
    size_t n = strlen(name);

    if (!wanted || strncmp(wanted, name, n) || (wanted[n] && wanted[n] != ':'))
        return;
    if (++passed >= (wanted[n] ? atoi(wanted + n + 1) : 1))
        kill(getenv("CDC_FAILPOINT_GROUP") ? 0 : getpid(), SIGKILL);
}
#endif
