#include "purge.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "unfinished.h"
#include "volume.h"

char *purge_path(const struct load *load, const char *run, const char *name)
{
    return mem_printf("%s/%s/%s", load->staging, run, name);
}

static void deleted(struct http_request *r)
{
    if (r->status / 100 != 2 && r->status != 404)
        msg_warn("a staged file could not be deleted; the next start tries again: %s",
                 http_reason(r));
    http_request_free(r);
}

static void delete_later(struct load *load, struct http_request *r)
{
    r->done = deleted;
    http_send(load->http, r);
}

/* ------------------------------------------------------------------ a folder, in the background */

enum { DELETIONS = 4 }; /* at once */

struct folder {
    struct load *load;
    char *path;
    struct volume_list files;
    size_t next;   /* to be deleted */
    unsigned open; /* deletions under way */
};

static void delete_some(struct folder *folder);

static void deleted_one(struct http_request *r)
{
    struct folder *folder = r->arg;

    deleted(r);
    folder->open--;
    delete_some(folder);
}

/* The folder has to be empty before it can go. */
static void delete_some(struct folder *folder)
{
    for (; folder->next < folder->files.n && folder->open < DELETIONS; folder->open++) {
        char *path = mem_printf("%s/%s", folder->path, folder->files.entry[folder->next++].name);
        struct http_request *r = volume_delete(path);
        r->done = deleted_one;
        r->arg = folder;
        http_send(folder->load->http, r);
        free(path);
    }
    if (folder->open)
        return;
    delete_later(folder->load, volume_delete_directory(folder->path));
    volume_list_free(&folder->files);
    free(folder->path);
    free(folder);
}

static void ask_page(struct folder *folder, const char *token);

static void listed(struct http_request *r)
{
    struct folder *folder = r->arg;
    char *token = volume_page(r, folder->path, &folder->files);

    token ? ask_page(folder, token) : delete_some(folder);
    free(token);
}

static void ask_page(struct folder *folder, const char *token)
{
    struct http_request *r = volume_ask_page(folder->path, token);

    r->done = listed;
    r->arg = folder;
    http_send(folder->load->http, r);
}

/* Takes the path. */
static void delete_folder(struct load *load, char *path)
{
    struct folder *folder = mem_alloc(sizeof *folder);

    folder->load = load;
    folder->path = path;
    ask_page(folder, NULL);
}

/* ------------------------------------------------------------------ what is loaded */

void purge_done(struct load *load, struct batch *b)
{
    if (load->keep_staged || load->sink != SINK_WAREHOUSE)
        return;
    for (struct step *s = b->steps; s < b->steps + b->nsteps; s++) {
        for (; s->done && s->nfolders; s->nfolders--)
            delete_folder(load, mem_printf("%s/%s", load->staging, s->folders[s->nfolders - 1]));
        for (; s->done && s->nfiles; s->nfiles--) {
            char *path = purge_path(load, b->run, s->files[s->nfiles - 1]);
            delete_later(load, volume_delete(path));
            free(path);
        }
    }
}

/* ------------------------------------------------------------------ what earlier runs left */

/* RUN/NAME; all of the run, if name is NULL. */
static bool is_path(const char *path, const char *run, const char *name)
{
    size_t n = strlen(run);

    return !strncmp(path, run, n) && path[n] == '/' && (!name || !strcmp(path + n + 1, name));
}

static bool needs(const struct step *s, const char *run, const char *name)
{
    for (unsigned k = 0; k < s->nfolders; k++)
        if (is_path(s->folders[k], run, name))
            return true;
    if (strcmp(s->batch->run, run) != 0)
        return false;
    for (unsigned k = 0; name && k < s->nfiles; k++)
        if (!strcmp(s->files[k], name))
            return true;
    return !name;
}

static bool is_needed(const struct load *load, const char *run, const char *name)
{
    for (const struct batch *b = load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++)
            if (!b->steps[i].done && needs(&b->steps[i], run, name))
                return true;
    return unfinished_needs(&load->ledger, run, name);
}

struct count {
    unsigned left;
    bool done;
};

static void counted(struct http_request *r)
{
    struct count *count = r->arg;

    count->done = !--count->left;
    deleted(r);
}

/* Deletes what is in a folder, with the folders there; of the run's own (else NULL) only what is
 * not needed. */
static void empty(struct load *load, const char *path, const char *run)
{
    struct volume_list files;
    struct count count = {0};

    volume_list(load->http, path, &files);
    for (size_t i = 0; i < files.n; i++) {
        const struct volume_entry *e = &files.entry[i];
        if (run && is_needed(load, run, e->name))
            continue;
        char *inner = mem_printf("%s/%s", path, e->name);
        if (e->is_directory)
            empty(load, inner, NULL);
        struct http_request *r =
            e->is_directory ? volume_delete_directory(inner) : volume_delete(inner);
        r->done = counted;
        r->arg = &count;
        count.left++;
        count.done = false; /* those before may have come while a folder in it was emptied */
        http_send(load->http, r);
        free(inner);
    }
    if (count.left)
        http_wait(load->http, &count.done);
    volume_list_free(&files);
}

static void purge_run(struct load *load, const char *run)
{
    char *folder = mem_printf("%s/%s", load->staging, run);

    empty(load, folder, run);
    if (!is_needed(load, run, NULL)) /* the folder has to be empty by then */
        delete_later(load, volume_delete_directory(folder));
    free(folder);
}

void purge_leftovers(struct load *load)
{
    struct volume_list runs;

    if (load->keep_staged)
        return;
    volume_list(load->http, load->staging, &runs);
    for (size_t i = 0; i < runs.n; i++)
        if (runs.entry[i].is_directory && strcmp(runs.entry[i].name, load->start.run))
            purge_run(load, runs.entry[i].name);
    volume_list_free(&runs);
}
