#include "unfinished.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "msg.h"

static struct unfinished *add(struct ledger *l, const struct unfinished *u, const char *run)
{
    l->unfinished = mem_realloc(l->unfinished, (l->nunfinished + 1) * sizeof *l->unfinished);
    struct unfinished *new = &l->unfinished[l->nunfinished++];
    *new = *u;
    new->run = mem_strdup(run);
    return new;
}

static void release(struct unfinished *u)
{
    free(u->run);
    free(u->ranges);
}

void unfinished_forget(struct ledger *l, uint32_t oid)
{
    unsigned n = 0;

    for (unsigned i = 0; i < l->nunfinished; i++)
        if (oid && l->unfinished[i].oid != oid)
            l->unfinished[n++] = l->unfinished[i];
        else
            release(&l->unfinished[i]);
    l->nunfinished = n;
}

static bool is_begun(const struct ledger *l, uint32_t oid)
{
    for (unsigned i = 0; i < l->nunfinished; i++)
        if (l->unfinished[i].oid == oid && !strcmp(l->unfinished[i].run, l->run))
            return true;
    return false;
}

bool unfinished_forget_others(struct ledger *l)
{
    unsigned n = l->nunfinished;

    for (unsigned i = 0; i < l->nunfinished;)
        if (is_begun(l, l->unfinished[i].oid))
            i++;
        else
            unfinished_forget(l, l->unfinished[i].oid);
    return l->nunfinished < n;
}

/* Whether the attempt is the next that the frame goes on from; then it is taken out. */
static bool is_next(const struct unfinished *u, struct frame *f, unsigned *left)
{
    struct frame peek = *f;
    size_t len;

    if (!*left || frame_array(&peek) != 3)
        return false;
    const char *run = frame_str(&peek, &len);
    if (strlen(u->run) != len || memcmp(u->run, run, len) || frame_uint(&peek) != u->attempt)
        return false;
    frame_uint(&peek); /* its layout */
    *f = peek;
    --*left;
    return true;
}

void unfinished_begin(struct ledger *l, struct frame *f)
{
    struct unfinished u = {.oid = (uint32_t)frame_uint(f)};
    unsigned n = 0;

    u.attempt = frame_uint(f);
    frame_uint(f); /* LSN and time */
    frame_int(f);
    u.horizon = frame_uint(f);
    u.stamp = frame_uint(f);
    unsigned left = frame_array(f);
    for (unsigned i = 0; i < l->nunfinished; i++)
        if (l->unfinished[i].oid != u.oid || is_next(&l->unfinished[i], f, &left))
            l->unfinished[n++] = l->unfinished[i];
        else
            release(&l->unfinished[i]);
    l->nunfinished = n;
    if (left)
        frame_bad(f, "a snapshot goes on from an attempt of which nothing is known");
    u.layout = frame_uint(f);
    add(l, &u, l->run);
}

static char *folder_of(const struct unfinished *u)
{
    return mem_printf("%" PRIu32 "-%" PRIu64, u->oid, u->attempt);
}

void unfinished_file(struct ledger *l, const char *path)
{
    for (unsigned i = 0; i < l->nunfinished; i++) {
        struct unfinished *u = &l->unfinished[i];
        char *folder = folder_of(u);
        size_t n = strlen(folder);
        if (!strcmp(u->run, l->run) && !strncmp(path, folder, n) && path[n] == '/')
            u->has_files = true;
        free(folder);
    }
}

/* Ranges of a file are read in order, but for those that several connections read at once. */
void unfinished_add(struct ledger *l, uint32_t oid, uint64_t attempt, const struct range *range)
{
    struct unfinished *u = l->unfinished, *end = u + l->nunfinished;
    struct range whole = *range;
    unsigned n = 0;

    while (u < end && (u->oid != oid || u->attempt != attempt))
        u++;
    if (u == end || !u->has_files)
        return;
    for (unsigned i = 0; i < u->nranges; i++) {
        const struct range *r = &u->ranges[i];
        if (r->file != whole.file || r->to < whole.from || r->from > whole.to) {
            u->ranges[n++] = *r;
            continue;
        }
        whole.from = r->from < whole.from ? r->from : whole.from;
        whole.to = r->to > whole.to ? r->to : whole.to;
    }
    u->ranges = mem_realloc(u->ranges, (n + 1) * sizeof *u->ranges);
    u->ranges[n] = whole;
    u->nranges = n + 1;
}

bool unfinished_needs(const struct ledger *l, const char *run, const char *folder)
{
    bool needs = false;

    for (unsigned i = 0; i < l->nunfinished && !needs; i++) {
        if (!l->unfinished[i].nranges)
            continue;
        char *name = folder_of(&l->unfinished[i]);
        needs = !strcmp(l->unfinished[i].run, run) && (!folder || !strcmp(name, folder));
        free(name);
    }
    return needs;
}

/* ------------------------------------------------------------------ the state */

void unfinished_lines(const struct ledger *l, struct buf *text)
{
    for (const struct unfinished *u = l->unfinished; u < l->unfinished + l->nunfinished; u++) {
        if (!u->nranges)
            continue;
        buf_printf(text,
                   "unfinished %" PRIu32 " %" PRIu64 " %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                   u->oid, u->attempt, u->run, u->horizon, u->stamp, u->layout);
        for (unsigned i = 0; i < u->nranges; i++)
            buf_printf(text, "range %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", u->ranges[i].file,
                       u->ranges[i].from, u->ranges[i].to);
    }
}

static uint64_t number(const struct ledger *l, const struct state_line *line, unsigned word)
{
    char *end;
    uint64_t n = strtoull(line->word[word], &end, 10);

    if (end == line->word[word] || *end)
        fail(EX_DATAERR, "the state has a line that is not understood: %s dir=%s", line->key,
             l->dir);
    return n;
}

bool unfinished_read(struct ledger *l, const struct state_line *line)
{
    if (!strcmp(line->key, "unfinished")) {
        struct unfinished u = {.oid = (uint32_t)number(l, line, 0),
                               .attempt = number(l, line, 1),
                               .horizon = number(l, line, 3),
                               .stamp = number(l, line, 4),
                               .layout = number(l, line, 5),
                               .has_files = true};
        add(l, &u, line->word[2]);
        return true;
    }
    if (strcmp(line->key, "range") != 0)
        return false;
    struct range r = {number(l, line, 0), number(l, line, 1), number(l, line, 2)};
    const struct unfinished *last = l->unfinished + l->nunfinished - 1;
    if (!l->nunfinished)
        fail(EX_DATAERR, "the state has a range of no snapshot dir=%s", l->dir);
    unfinished_add(l, last->oid, last->attempt, &r);
    return true;
}
