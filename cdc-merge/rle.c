#include "rle.h"

#define NO_HEADER SIZE_MAX
/* A packed run's header is one byte, so that it can be filled in at the end: (groups << 1) | 1. */
#define MAX_GROUPS 63u

void rle_begin(struct rle *r, unsigned width)
{
    r->out.len = 0;
    r->width = width;
    r->repeats = 0;
    r->npending = 0;
    r->ngroups = 0;
    r->header = NO_HEADER;
}

static void end_packed_run(struct rle *r)
{
    if (r->header != NO_HEADER)
        r->out.data[r->header] = (char)(r->ngroups << 1 | 1);
    r->header = NO_HEADER;
    r->ngroups = 0;
}

static void pack_group(struct rle *r)
{
    if (r->ngroups == MAX_GROUPS)
        end_packed_run(r);
    if (r->header == NO_HEADER) {
        r->header = r->out.len;
        *bytes_add(&r->out, 1) = 0;
    }
    uint8_t *at = bytes_add(&r->out, r->width);
    uint64_t bits = 0;
    unsigned nbits = 0;
    for (unsigned i = 0; i < 8; i++) {
        bits |= (uint64_t)r->pending[i] << nbits;
        nbits += r->width;
        while (nbits >= 8) {
            *at++ = (uint8_t)bits;
            bits >>= 8;
            nbits -= 8;
        }
    }
    r->ngroups++;
    r->npending = 0;
    r->repeats = 0;
}

static void write_run(struct rle *r)
{
    end_packed_run(r);
    bytes_put_varint(&r->out, r->repeats << 1);
    bytes_put_le(&r->out, r->last, (r->width + 7) / 8);
    r->npending = 0;
    r->repeats = 0;
}

void rle_put_other(struct rle *r, uint32_t v)
{
    if (r->repeats > 0 && v == r->last) {
        r->repeats++;
        if (r->repeats >= 8)
            return; /* the 7 before are pending and this run replaces them */
    } else {
        if (r->repeats >= 8)
            write_run(r);
        r->last = v;
        r->repeats = 1;
    }
    r->pending[r->npending++] = v;
    if (r->npending == 8)
        pack_group(r);
}

void rle_put_many(struct rle *r, uint32_t v, uint64_t n)
{
    for (; n > 0 && (r->repeats < 8 || v != r->last); n--)
        rle_put_other(r, v);
    r->repeats += n;
}

void rle_finish(struct rle *r)
{
    if (r->repeats >= 8) {
        write_run(r);
    } else if (r->npending > 0) {
        while (r->npending < 8) /* padding: readers stop at the page's number of values */
            r->pending[r->npending++] = 0;
        pack_group(r);
    }
    end_packed_run(r);
}

void rle_free(struct rle *r)
{
    buf_free(&r->out);
}
