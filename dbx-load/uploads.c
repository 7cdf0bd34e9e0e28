#include "uploads.h"

#include <stdlib.h>
#include <string.h>

#include "failpoint.h"
#include "figures.h"
#include "purge.h"
#include "volume.h"

enum { AT_ONCE = 4 };

struct upload {
    struct uploads *all;
    char *path; /* NULL: there is none */
    int file;
    uint64_t size;
    uint64_t number;
};

struct waiting_range {
    uint64_t upload; /* the last before it */
    uint32_t oid;
    uint64_t attempt;
    struct range range;
};

struct uploads {
    struct load *load;
    struct upload upload[AT_ONCE];
    unsigned open;
    uint64_t sent; /* so far: the number of the last one */
    size_t nranges;
    struct waiting_range *ranges; /* in their order */
};

struct uploads *uploads_new(struct load *load)
{
    struct uploads *u = mem_alloc(sizeof *u);

    u->load = load;
    return u;
}

void uploads_free(struct uploads *u)
{
    free(u->ranges);
    free(u);
}

unsigned uploads_open(const struct uploads *u)
{
    return u->open;
}

bool uploads_want(const struct uploads *u)
{
    return u->open < AT_ONCE;
}

/* ------------------------------------------------------------------ ranges */

static void note_ranges(struct uploads *u)
{
    struct ledger *l = &u->load->ledger;
    uint64_t whole = u->sent;
    size_t n = 0;

    for (unsigned i = 0; i < AT_ONCE; i++)
        if (u->upload[i].path && u->upload[i].number <= whole)
            whole = u->upload[i].number - 1;
    while (n < u->nranges && u->ranges[n].upload <= whole) {
        unfinished_add(l, u->ranges[n].oid, u->ranges[n].attempt, &u->ranges[n].range);
        n++;
    }
    if (!n)
        return;
    u->nranges -= n;
    memmove(u->ranges, u->ranges + n, u->nranges * sizeof *u->ranges);
    ledger_save(l);
}

void uploads_add_range(struct uploads *u, uint32_t oid, uint64_t attempt, const struct range *range)
{
    u->ranges = mem_realloc(u->ranges, (u->nranges + 1) * sizeof *u->ranges);
    u->ranges[u->nranges++] = (struct waiting_range){u->sent, oid, attempt, *range};
    note_ranges(u);
}

/* ------------------------------------------------------------------ files */

static void uploaded(struct http_request *request)
{
    struct upload *one = request->arg;
    struct uploads *u = one->all;

    if (request->status / 100 != 2)
        http_fail(request, "uploading to the staging volume", VOLUME_RIGHT(one->path));
    figures_staged(request->size);
    http_request_free(request);
    FAILPOINT("after-upload");
    load_figures[LOAD_UPLOADS].value = --u->open;
    free(one->path);
    one->path = NULL;
    note_ranges(u);
}

static void put(struct upload *one)
{
    struct http_request *request = volume_put(one->path, one->file, one->size);

    FAILPOINT("before-upload");
    request->done = uploaded;
    request->arg = one;
    http_send(one->all->load->http, request);
}

static void folder_made(struct http_request *request)
{
    struct upload *one = request->arg;

    if (request->status / 100 != 2)
        http_fail(request, "making a folder in the staging volume", VOLUME_RIGHT(one->path));
    http_request_free(request);
    put(one);
}

static void make_folder(struct upload *one)
{
    char *folder = mem_printf("%.*s", (int)(strrchr(one->path, '/') - one->path), one->path);
    struct http_request *request = volume_make_directory(folder);

    request->done = folder_made;
    request->arg = one;
    http_send(one->all->load->http, request);
    free(folder);
}

void uploads_send(struct uploads *u, const char *name, int file, uint64_t size)
{
    struct upload *one = u->upload;

    while (one->path)
        one++;
    load_figures[LOAD_UPLOADS].value = ++u->open;
    *one = (struct upload){.all = u,
                           .path = purge_path(u->load, u->load->start.run, name),
                           .file = file,
                           .size = size,
                           .number = ++u->sent};
    strchr(name, '/') ? make_folder(one) : put(one);
}
