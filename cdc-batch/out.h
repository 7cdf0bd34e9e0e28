/* Writing. What the next stage does not take at once waits, within bounds, while more is read: both
 * have work then. */
#ifndef CDC_BATCH_OUT_H
#define CDC_BATCH_OUT_H

#include "stream.h"

/* Downstream is gone: exits with 75, quietly, since it has said why. */
_Noreturn void out_gone(void);

/* Writes all that waits. */
void out_flush(struct stream_out *out);

/* Writes what the next stage takes now, and more where too much waits. */
void out_write(struct stream_out *out);

/* The same, if it is worth while. Call between frames of a part. */
void out_relieve(struct stream_out *out);

#endif
