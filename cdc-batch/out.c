#include "out.h"

#include "msg.h"

#define OUT_WAITING ((size_t)256 << 10)

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

void out_relieve(struct stream_out *out)
{
    if (stream_pending(out) > OUT_WAITING)
        out_flush(out);
}
