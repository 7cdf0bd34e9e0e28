/*
 * MessagePack shown as JSON, for eyes (--json). Not meant to be read back: binary data is shown as
 * {"bytes": N}, an unchanged value as {"unchanged": true}.
 */
#ifndef PGCDC_JSON_H
#define PGCDC_JSON_H

#include "mem.h"
#include "mp.h"

/* Appends the object and a newline. */
void json_line(struct buf *b, struct mp object);

/* Appends a JSON string, quotes included. */
void json_text(struct buf *b, const char *s, size_t len);

#endif
