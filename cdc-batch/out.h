/* Writing: blocking, in pieces of bounded size. */
#ifndef CDC_BATCH_OUT_H
#define CDC_BATCH_OUT_H

#include "stream.h"

/* Writes all that waits. Exits quietly with 75 if downstream is gone: it has said why. */
void out_flush(struct stream_out *out);

/* The same if much waits. Call between frames of a part. */
void out_relieve(struct stream_out *out);

#endif
