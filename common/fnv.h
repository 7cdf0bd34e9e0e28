/* The hash FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/, a step at a time from FNV_START. A
 * step that is not a byte, such as 256, can mark where a text ends. */
#ifndef PGCDC_FNV_H
#define PGCDC_FNV_H

#include <stdint.h>

#define FNV_START UINT64_C(14695981039346656037)

static inline uint64_t fnv_step(uint64_t hash, uint64_t step)
{
    return (hash ^ step) * UINT64_C(1099511628211);
}

#endif
