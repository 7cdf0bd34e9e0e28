/* Log sequence numbers: 64-bit positions in PostgreSQL's WAL, written as two hexadecimal halves. */
#ifndef PGCDC_LSN_H
#define PGCDC_LSN_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t lsn_t; /* 0 is no LSN */

#define LSN_SIZE 18 /* bytes that lsn_format may write, with the NUL */

const char *lsn_format(char out[LSN_SIZE],
                       lsn_t lsn);            /* "16/B374D848", or "-" for 0; returns out */
bool lsn_parse(const char *text, lsn_t *lsn); /* takes what lsn_format writes */

/* lsn_format into a buffer that lives as long as the enclosing block, for messages */
#define LSN_TEXT(lsn) lsn_format((char[LSN_SIZE]){0}, lsn)

/* The two clocks: PostgreSQL counts microseconds from 2000-01-01, the stream from 1970-01-01. */
#define LSN_EPOCH_US INT64_C(946684800000000)

#endif
