#include "purge.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
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

void purge_done(struct load *load, struct batch *b)
{
    if (load->keep_staged || load->sink != SINK_WAREHOUSE)
        return;
    for (struct step *s = b->steps; s < b->steps + b->nsteps; s++)
        for (; s->done && s->nfiles; s->nfiles--) {
            char *path = purge_path(load, b->run, s->files[s->nfiles - 1]);
            delete_later(load, volume_delete(path));
            free(path);
        }
}

static bool is_needed(const struct load *load, const char *run, const char *name)
{
    for (const struct batch *b = load->ledger.batches; b; b = b->next) {
        if (strcmp(b->run, run) || batch_is_done(b))
            continue;
        if (!name)
            return true;
        for (unsigned i = 0; i < b->nsteps; i++)
            for (unsigned k = 0; !b->steps[i].done && k < b->steps[i].nfiles; k++)
                if (!strcmp(b->steps[i].files[k], name))
                    return true;
    }
    return false;
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

static void purge_run(struct load *load, const char *run)
{
    struct volume_list files;
    struct count count = {0};
    char *folder = mem_printf("%s/%s", load->staging, run);

    volume_list(load->http, folder, &files);
    for (size_t i = 0; i < files.n; i++) {
        if (files.entry[i].is_directory || is_needed(load, run, files.entry[i].name))
            continue;
        char *path = purge_path(load, run, files.entry[i].name);
        struct http_request *r = volume_delete(path);
        r->done = counted;
        r->arg = &count;
        count.left++;
        http_send(load->http, r);
        free(path);
    }
    if (count.left)
        http_wait(load->http, &count.done);
    if (!is_needed(load, run, NULL)) /* the folder has to be empty by then */
        delete_later(load, volume_delete_directory(folder));
    volume_list_free(&files);
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
