#include "directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create.h"
#include "fail.h"
#include "msg.h"
#include "spool.h"
#include "stream.h"

static _Noreturn void cannot(const char *what, const char *path)
{
    fail(errno == ENOSPC ? EX_TEMPFAIL : EX_CONFIG, "cannot %s: %s path=%s", what, strerror(errno),
         path);
}

static void make(const char *path)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        cannot("make the folder", path);
}

static int create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0)
        cannot("make the file", path);
    return fd;
}

void directory_close(int fd)
{
    if (fsync(fd) || close(fd))
        fail(EX_TEMPFAIL, "cannot write a file: %s", strerror(errno));
}

static void write_file(char *path, const void *data, size_t len)
{
    int fd = create(path);

    spool_write(fd, data, len);
    directory_close(fd);
    free(path);
}

int directory_file(const struct load *load, const char *name)
{
    char *path = mem_printf("%s/%s/%s", load->directory, load->start.run, name);
    char *slash = strchr(name, '/') ? strrchr(path, '/') : NULL;

    if (slash) { /* the folder of a snapshot */
        *slash = '\0';
        make(path);
        *slash = '/';
    }
    int fd = create(path);
    free(path);
    return fd;
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) || close(fd))
        cannot("write the folder", path);
}

void directory_sync(const struct load *load, uint32_t oid, uint64_t attempt)
{
    char *path = mem_printf("%s/%s/%u-%llu", load->directory, load->start.run, oid,
                            (unsigned long long)attempt);

    if (!access(path, F_OK)) /* else no file has come */
        sync_folder(path);
    free(path);
}

/* Deletes the statements and manifests of batches that the state does not have as loaded. */
static void forget_unacknowledged(const struct load *load)
{
    const struct ledger *l = &load->ledger;

    if (!l->run)
        return;
    uint64_t loaded = l->loaded_run && !strcmp(l->run, l->loaded_run) ? l->loaded : 0;
    char *path = mem_printf("%s/%s", load->directory, l->run);
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char *rest;
        unsigned long long n = strtoull(e->d_name, &rest, 10);
        const char *dot = strrchr(rest, '.');
        if (rest != e->d_name && *rest == '-' && n > loaded && dot &&
            (!strcmp(dot, ".sql") || !strcmp(dot, ".json")))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    free(path);
}

void directory_open(struct load *load)
{
    const char *run = load->start.run;
    char *path = mem_printf("%s/%s", load->directory, run);

    make(load->directory);
    make(path);
    forget_unacknowledged(load);
    write_file(mem_printf("%s/permit-%s.parquet", load->directory, run), load->permit.data,
               load->permit.len);
    load->permit_path = mem_printf("%s/permit-%s.parquet", load->staging, run);
    sync_folder(load->directory);
    free(path);
}

/* Frees the statement. */
static void write_sql(const struct load *load, const struct step *s, char *text, const char *what)
{
    write_file(mem_printf("%s/%s/%06llu-%03u-%s.sql", load->directory, load->start.run,
                          (unsigned long long)s->batch->number, s->index, what),
               text, strlen(text));
    free(text);
}

void directory_batch(const struct load *load, struct batch *b, struct frame *f)
{
    char *folder = mem_printf("%s/%s", load->directory, load->start.run);
    char *path = mem_printf("%s/%06llu-manifest.json", folder, (unsigned long long)b->number);

    if (b->is_snapshot)
        directory_sync(load, b->snapshot.oid, b->snapshot.attempt);
    for (unsigned i = 0; i < b->nsteps; i++) {
        struct step *s = &b->steps[i];
        if (s->create.n)
            write_sql(load, s, create_sql(load, s), "create");
        if (s->apply.n)
            write_sql(load, s, batch_sql(&s->apply, load->permit_path), "apply");
        s->done = true;
    }
    sync_folder(folder);
    int fd = create(path);
    struct stream_out *out = stream_out_new(fd, true);
    stream_forward(out, f);
    if (!stream_flush(out))
        cannot("write the file", path);
    stream_out_free(out);
    directory_close(fd);
    sync_folder(folder);
    free(path);
    free(folder);
}

/* Frees the statement. */
static void show_sql(char *text, const char *when)
{
    printf("-- %s\n%s;\n", when, text);
    free(text);
}

void directory_show(const struct load *load, const struct batch *b)
{
    if (b->is_snapshot)
        printf("-- batch %llu: snapshot of %s.%s at %s\n", (unsigned long long)b->number,
               b->snapshot.schema, b->snapshot.table, LSN_TEXT(b->snapshot.lsn));
    else
        printf("-- batch %llu: changes up to %s\n", (unsigned long long)b->number,
               LSN_TEXT(b->lsn));
    for (unsigned i = 0; i < b->nsteps; i++) {
        const struct step *s = &b->steps[i];
        printf("-- %s to %s.%s.%s: %llu rows in %u files\n", s->source, s->catalog, s->schema,
               s->name, (unsigned long long)s->rows, s->nfiles);
        if (s->create.n)
            show_sql(create_sql(load, s), "where the table does not exist");
        if (s->apply.n)
            show_sql(batch_sql(&s->apply, load->permit_path),
                     s->create.n ? "where it exists" : "apply");
        else
            printf("-- only its columns change\n");
    }
    if (fflush(stdout))
        msg_die(EX_TEMPFAIL, "stdout is closed");
}
