/* CRC-32 (IEEE 802.3, as in gzip; Python: zlib.crc32). */
#ifndef PGCDC_CRC32_H
#define PGCDC_CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const void *data, size_t len);

#endif
