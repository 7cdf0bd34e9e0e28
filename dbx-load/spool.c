#include "spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "mem.h"
#include "msg.h"

int spool_open(const char *dir)
{
    char *path = mem_printf("%s/spool.XXXXXX", dir);
    int fd = mkostemp(path, 0);

    if (fd < 0)
        fail(EX_TEMPFAIL, "cannot make a temporary file: %s dir=%s", strerror(errno), dir);
    unlink(path);
    free(path);
    return fd;
}

void spool_write(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR)
            fail(EX_TEMPFAIL, "cannot write a file: %s", strerror(errno));
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}
