#include "staged.h"

#include <stdlib.h>
#include <string.h>

/* A longer text makes no good bound, only a long statement. */
enum { BOUND_TEXT_MAX = 128 };

/*
 * Keys fall into buckets, each with the hops that values of its keys may need: one for a value that
 * an earlier file may have, and one more each time it is carried on. Keys that share a bucket only
 * make that more.
 */
enum { BUCKETS = 1 << 14, MANY = UINT8_MAX };

struct staged_chains {
    uint8_t before[BUCKETS]; /* the newest file */
    uint8_t now[BUCKETS];
    uint8_t most;
};

struct staged *staged_of(struct staged **list, struct table *t)
{
    struct staged *last = NULL;
    for (; *list; list = &(*list)->next)
        if ((*list)->table == t)
            last = *list;
    if (last && last->shape == t->shape)
        return last;
    *list = mem_alloc(sizeof **list);
    (*list)->table = t;
    (*list)->shape = t->shape;
    return *list;
}

void staged_add_file(struct staged *s, char *name)
{
    if (s->folder) {
        free(name);
        if (s->nfiles)
            return;
        name = mem_strdup(s->folder);
    }
    s->files = mem_realloc(s->files, (s->nfiles + 1) * sizeof *s->files);
    struct staged_file *f = &s->files[s->nfiles++];
    if (s->chains)
        memcpy(s->chains->before, s->chains->now, BUCKETS);
    *f = (struct staged_file){.name = name};
}

/* A row that is gone stays so: of several TRUNCATEs the first after a row is the one that counts.
 */
static void end_files(struct staged *s, const struct staged_position *at)
{
    for (size_t i = 0; i < s->nfiles; i++) {
        if (s->files[i].ended)
            continue;
        s->files[i].ended = true;
        s->files[i].end = *at;
    }
    if (!s->cleared)
        s->clear = *at;
    s->cleared = true;
}

void staged_clear(struct staged *s, const struct staged_position *at)
{
    if (s->shape->soft) {
        end_files(s, at);
        return;
    }
    s->first_file = s->nfiles;
    s->cleared = true;
    s->clear = *at;
    memset(s->unchanged, 0, sizeof s->unchanged);
    s->removes = false;
    s->copies = false;
    s->added = 0;
    for (unsigned i = 0; i < STAGED_BOUNDS; i++)
        s->bounds[i].any = s->bounds[i].useless = false;
}

void staged_carry(struct staged *s, uint64_t key, uint64_t carried)
{
    s->files[s->nfiles - 1].carries = true;
    if (s->nfiles == 1) /* there is nothing before it */
        return;
    struct staged_chains *c = s->chains;
    if (!c) {
        c = s->chains = mem_alloc(sizeof *c);
        memset(c->before, 1, BUCKETS);
        memset(c->now, 1, BUCKETS);
    }
    uint8_t hops = c->before[carried % BUCKETS];
    if (hops > c->most)
        c->most = hops;
    if (hops < MANY && c->now[key % BUCKETS] <= hops)
        c->now[key % BUCKETS] = (uint8_t)(hops + 1);
}

size_t staged_hops(const struct staged *s, bool hashes_tell)
{
    size_t files = 0; /* that carry, and have one before them */
    for (size_t i = s->first_file + 1; i < s->nfiles; i++)
        files += s->files[i].carries;
    if (!hashes_tell || !s->chains || s->chains->most == MANY || files < s->chains->most)
        return files;
    return s->chains->most;
}

static void bound_number(struct staged_bounds *b, __int128 v)
{
    if (!b->any || v < b->min)
        b->min = v;
    if (!b->any || v > b->max)
        b->max = v;
    b->any = true;
}

static int compare(const struct buf *a, const char *data, size_t len)
{
    int c = memcmp(a->data, data, a->len < len ? a->len : len);
    return c ? c : (a->len > len) - (a->len < len);
}

static void set(struct buf *b, const char *data, size_t len)
{
    buf_clear(b);
    buf_add(b, data, len);
}

static void bound_text(struct staged_bounds *b, const char *data, size_t len)
{
    if (len > BOUND_TEXT_MAX || memchr(data, '\0', len)) {
        b->useless = true;
        return;
    }
    if (!b->any || compare(&b->min_text, data, len) > 0)
        set(&b->min_text, data, len);
    if (!b->any || compare(&b->max_text, data, len) < 0)
        set(&b->max_text, data, len);
    b->any = true;
}

void staged_bound(struct staged *s, unsigned number, const struct parquet_column *c,
                  const union parquet_value *v)
{
    if (number >= STAGED_BOUNDS)
        return;
    struct staged_bounds *b = &s->bounds[number];
    if (c->shape != PARQUET_SCALAR) {
        b->useless = true;
        return;
    }
    switch (c->type) {
    case PARQUET_INT16:
    case PARQUET_INT32:
    case PARQUET_INT64:
    case PARQUET_DATE:
    case PARQUET_TIMESTAMP:
        bound_number(b, v->i);
        break;
    case PARQUET_DECIMAL:
        bound_number(b, v->decimal);
        break;
    case PARQUET_STRING:
        bound_text(b, v->bytes.data, v->bytes.len);
        break;
    default:
        b->useless = true;
    }
}

uint64_t staged_rows(const struct staged *s)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < s->nfiles; i++)
        rows += s->files[i].rows;
    return rows;
}

void staged_free(struct staged **list)
{
    for (struct staged *s = *list, *next; s; s = next) {
        next = s->next;
        for (size_t i = 0; i < s->nfiles; i++)
            free(s->files[i].name);
        free(s->files);
        for (size_t i = 0; i < s->nearlier; i++)
            free(s->earlier[i]);
        free(s->earlier);
        free(s->folder);
        for (unsigned i = 0; i < STAGED_BOUNDS; i++) {
            buf_free(&s->bounds[i].min_text);
            buf_free(&s->bounds[i].max_text);
        }
        free(s->chains);
        free(s->defaults);
        free(s);
    }
    *list = NULL;
}
