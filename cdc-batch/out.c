#include "out.h"

#include <poll.h>
#include <unistd.h>

#include "msg.h"

#define WAITING ((size_t)16 << 20) /* bytes of parts that may wait */

void out_gone(void)
{
    msg_info("the stage after this one is gone");
    msg_exit(EX_TEMPFAIL);
}

void out_flush(struct stream_out *out)
{
    if (!stream_flush(out))
        out_gone();
}

static void write_some(struct stream_out *out)
{
    if (!stream_flush_some(out))
        out_gone();
}

void out_write(struct stream_out *out)
{
    write_some(out);
    while (stream_pending(out) > WAITING) {
        poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        write_some(out);
    }
}

void out_relieve(struct stream_out *out)
{
    if (!stream_push(out))
        out_gone();
    if (stream_pending(out) > WAITING)
        out_write(out);
}
