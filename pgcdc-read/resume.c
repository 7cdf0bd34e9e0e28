#include "resume.h"

#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "shape.h"

#define AGE_MAX \
    (UINT64_C(1) << 30) /* of xmins, so that those of 32 bits still tell what is newer */

struct resume {
    unsigned n;
    struct load_unfinished *attempts; /* copies: dbx-load's file is read again and again */
};

static uint64_t hash_text(uint64_t hash, const char *text)
{
    do
        hash = fnv_step(hash, (unsigned char)*text);
    while (*text++);
    return hash;
}

uint64_t resume_stamp(const struct table *table, uint32_t timeline)
{
    uint64_t hash = FNV_START ^ table->stamp ^ (uint64_t)timeline << 32;

    hash = hash_text(hash, table->membership);
    hash = hash_text(hash, table->columns);
    return hash_text(hash, table->filter ? table->filter : "");
}

static struct load_unfinished copy(const struct load_unfinished *u)
{
    struct load_unfinished c = *u;

    c.run = mem_strdup(u->run);
    c.ranges = mem_alloc((u->nranges + 1) * sizeof *c.ranges);
    memcpy(c.ranges, u->ranges, u->nranges * sizeof *c.ranges);
    return c;
}

struct resume *resume_new(const struct load *l, const struct table *table, uint64_t horizon,
                          uint64_t stamp)
{
    struct resume *r = mem_alloc(sizeof *r);
    bool good = table->shape->relation->nkey > 0;

    r->attempts = mem_alloc((l->nunfinished + 1) * sizeof *r->attempts);
    for (unsigned i = 0; i < l->nunfinished; i++) {
        const struct load_unfinished *u = &l->unfinished[i];
        if (u->oid != table->oid)
            continue;
        good = good && u->stamp == stamp && u->horizon <= horizon && horizon - u->horizon < AGE_MAX;
        r->attempts[r->n++] = copy(u);
    }
    if (good && r->n)
        return r;
    resume_free(r);
    return NULL;
}

void resume_free(struct resume *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->n; i++) {
        free(r->attempts[i].run);
        free(r->attempts[i].ranges);
    }
    free(r->attempts);
    free(r);
}

unsigned resume_attempts(const struct resume *r)
{
    return r ? r->n : 0;
}

const struct load_unfinished *resume_attempt(const struct resume *r, unsigned i)
{
    return &r->attempts[i];
}

uint64_t resume_horizon(const struct resume *r, uint64_t file, uint64_t from, uint64_t to)
{
    for (unsigned i = resume_attempts(r); i-- > 0;)
        for (unsigned k = 0; k < r->attempts[i].nranges; k++) {
            const struct load_range *range = &r->attempts[i].ranges[k];
            if (range->file == file && from < to && range->from <= from && to <= range->to)
                return r->attempts[i].horizon;
        }
    return 0;
}
