#include "crc32.h"

uint32_t crc32_of(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint32_t c = UINT32_MAX;

    /* bit by bit: state files and manifests are small, and written a few times a second */
    while (len--) {
        c ^= *p++;
        for (int i = 0; i < 8; i++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}
