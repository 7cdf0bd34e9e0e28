/* Writing: blocking, in pieces of bounded size. */
#ifndef CDC_BATCH_OUT_H
#define CDC_BATCH_OUT_H

#include "stream.h"

/* Downstream is gone: exits with 75, quietly, since it has said why. */
_Noreturn void out_gone(void);

/* Writes all that waits, or out_gone. */
void out_flush(struct stream_out *out);

/* The same if much waits. Call between frames of a part. */
void out_relieve(struct stream_out *out);

#endif
