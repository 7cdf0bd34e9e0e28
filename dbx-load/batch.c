#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32.h"
#include "fail.h"
#include "mp.h"
#include "msg.h"
#include "quote.h"
#include "state.h"

bool batch_name_is_safe(const char *name)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);

    return len && len <= 200 && strspn(name, bytes) == len && *name != '.' && *name != '-';
}

bool batch_path_is_safe(const char *path)
{
    const char *slash = strchr(path, '/');
    char *folder = mem_printf("%.*s", slash ? (int)(slash - path) : 0, path);
    bool safe = slash && batch_name_is_safe(folder) && batch_name_is_safe(slash + 1);

    free(folder);
    return safe;
}

struct batch *batch_new(const char *run, uint64_t number, lsn_t lsn)
{
    struct batch *b = mem_alloc(sizeof *b);

    b->run = arena_copy(&b->arena, run, strlen(run) + 1);
    b->number = number;
    b->lsn = lsn;
    return b;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < b->nsteps; i++)
        free(b->steps[i].statement);
    arena_free(&b->arena);
    free(b);
}

const char *step_property(const struct step *s, const char *key)
{
    for (unsigned i = 0; i < s->nproperties; i++)
        if (!strcmp(s->properties[i].key, key))
            return s->properties[i].value;
    return NULL;
}

const char *step_mode(const struct step *s)
{
    const char *mode = step_property(s, PROPERTY_MODE);

    return mode ? mode : MODE_USUAL;
}

bool batch_is_done(const struct batch *b)
{
    for (unsigned i = 0; i < b->nsteps; i++)
        if (!b->steps[i].done)
            return false;
    return true;
}

/* ------------------------------------------------------------------ the frame */

static const char *text(struct batch *b, struct frame *f)
{
    size_t len;
    const char *s = frame_str(f, &len);

    if (memchr(s, '\0', len))
        frame_bad(f, "a text in it contains a NUL byte");
    char *copy = arena_alloc(&b->arena, len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

/* Room for n things, zeroed. An element takes at least one byte, so n is no more than came. */
static void *room(struct batch *b, struct frame *f, unsigned n, size_t size)
{
    if (n > mp_size(f->body))
        frame_bad(f, "it says that it has more elements than bytes");
    void *p = arena_alloc(&b->arena, n * size + 1);
    memset(p, 0, n * size);
    return p;
}

static const char **texts(struct batch *b, struct frame *f, unsigned *n)
{
    *n = frame_array(f);
    const char **list = room(b, f, *n, sizeof *list);

    for (unsigned i = 0; i < *n; i++)
        list[i] = text(b, f);
    return list;
}

static bool is(const char *key, size_t len, const char *name)
{
    return strlen(name) == len && !memcmp(key, name, len);
}

static void unpack_columns(struct batch *b, struct frame *f, struct step *s)
{
    s->ncolumns = frame_array(f);
    s->columns = room(b, f, s->ncolumns, sizeof *s->columns);
    for (unsigned i = 0; i < s->ncolumns; i++) {
        unsigned n = frame_array(f);
        if (n < 3)
            frame_bad(f, "a column is not name, type and attnum");
        s->columns[i].name = text(b, f);
        s->columns[i].type = text(b, f);
        s->columns[i].attnum = (int)(frame_uint(f) & 0xffff);
        if (n > 3)
            s->columns[i].comment = text(b, f);
        for (unsigned k = 4; k < n; k++)
            frame_any(f);
    }
}

static void unpack_defaults(struct batch *b, struct frame *f, struct step *s)
{
    size_t len;

    for (unsigned n = frame_map(f); n; n--) {
        const char *key = frame_str(f, &len);
        if (is(key, len, "file")) {
            s->defaults_file = text(b, f);
        } else if (is(key, len, "columns")) {
            s->ndefaults = frame_array(f);
            s->defaults = room(b, f, s->ndefaults, sizeof *s->defaults);
            for (unsigned i = 0; i < s->ndefaults; i++) {
                if (frame_array(f) != 3)
                    frame_bad(f, "a default is not attnum, expression and text");
                s->defaults[i].attnum = (int)(frame_uint(f) & 0xffff);
                s->defaults[i].expression = text(b, f);
                s->defaults[i].text = text(b, f);
            }
        } else {
            frame_any(f);
        }
    }
    if (!s->defaults_file || !batch_name_is_safe(s->defaults_file))
        frame_bad(f, "defaults lack their file, or it has an unsafe name");
}

static void unpack_properties(struct batch *b, struct frame *f, struct step *s)
{
    s->nproperties = frame_map(f);
    s->properties = room(b, f, s->nproperties, sizeof *s->properties);
    for (unsigned i = 0; i < s->nproperties; i++) {
        s->properties[i].key = text(b, f);
        s->properties[i].value = text(b, f);
    }
}

static void unpack_written(struct frame *f, struct step *s)
{
    unsigned n = frame_array(f);

    if (n != 1 && n != 2)
        frame_bad(f, "the rows that are written are not the least and the most");
    s->least = frame_uint(f);
    s->most = n == 2 ? frame_uint(f) : UINT64_MAX;
}

static void unpack_step(struct batch *b, struct frame *f, struct step *s)
{
    size_t len;

    s->most = UINT64_MAX;
    for (unsigned n = frame_map(f); n; n--) {
        const char *key = frame_str(f, &len);
        if (is(key, len, "table")) {
            if (frame_array(f) != 3)
                frame_bad(f, "a table is not catalog, schema and name");
            s->catalog = text(b, f);
            s->schema = text(b, f);
            s->name = text(b, f);
        } else if (is(key, len, "source")) {
            s->source = text(b, f);
        } else if (is(key, len, "comment")) {
            s->comment = text(b, f);
        } else if (is(key, len, "oid")) {
            s->oid = (uint32_t)frame_uint(f);
        } else if (is(key, len, "relation")) {
            if (frame_array(f) != 2)
                frame_bad(f, "the position of a relation is not LSN and ordinal");
            s->relation.lsn = frame_uint(f);
            s->relation.seq = frame_uint(f);
        } else if (is(key, len, "dropped")) {
            s->drops = !strcmp(text(b, f), "drop");
        } else if (is(key, len, "defaults")) {
            unpack_defaults(b, f, s);
        } else if (is(key, len, "columns")) {
            unpack_columns(b, f, s);
        } else if (is(key, len, "key")) {
            s->key = texts(b, f, &s->nkey);
        } else if (is(key, len, "properties")) {
            unpack_properties(b, f, s);
        } else if (is(key, len, "files")) {
            s->files = texts(b, f, &s->nfiles);
        } else if (is(key, len, "folders")) {
            s->folders = texts(b, f, &s->nfolders);
        } else if (is(key, len, "rows")) {
            s->rows = frame_uint(f);
        } else if (is(key, len, "create")) {
            s->create.text = texts(b, f, &s->create.n);
        } else if (is(key, len, "apply")) {
            s->apply.text = texts(b, f, &s->apply.n);
        } else if (is(key, len, "written")) {
            unpack_written(f, s);
        } else {
            frame_any(f);
        }
    }
    if (!s->name || !s->source || !s->oid || !s->ncolumns)
        frame_bad(f, "a step lacks its table, source, oid or columns");
    for (unsigned i = 0; i < s->nfiles; i++)
        if (!batch_name_is_safe(s->files[i]))
            frame_bad(f, "the name of a file has other bytes than letters, digits, . _ and -");
    for (unsigned i = 0; i < s->nfolders; i++)
        if (!batch_path_is_safe(s->folders[i]))
            frame_bad(f, "the path of a folder has other bytes than letters, digits, . _ and -");
}

static void unpack_snapshot(struct batch *b, struct frame *f)
{
    size_t len;

    b->is_snapshot = true;
    for (unsigned n = frame_map(f); n; n--) {
        const char *key = frame_str(f, &len);
        if (is(key, len, "oid"))
            b->snapshot.oid = (uint32_t)frame_uint(f);
        else if (is(key, len, "attempt"))
            b->snapshot.attempt = frame_uint(f);
        else if (is(key, len, "lsn"))
            b->snapshot.lsn = frame_uint(f);
        else if (is(key, len, "schema"))
            b->snapshot.schema = text(b, f);
        else if (is(key, len, "table"))
            b->snapshot.table = text(b, f);
        else if (is(key, len, "relfilenode"))
            b->snapshot.relfilenode = (uint32_t)frame_uint(f);
        else
            frame_any(f);
    }
    if (!b->snapshot.schema || !b->snapshot.table || !b->snapshot.lsn)
        frame_bad(f, "a snapshot lacks its table or lsn");
}

struct batch *batch_unpack(struct frame *f, const char *run)
{
    struct batch *b = batch_new(run, 0, 0);
    size_t len;

    for (unsigned n = frame_map(f); n; n--) {
        const char *key = frame_str(f, &len);
        if (is(key, len, "batch")) {
            b->number = frame_uint(f);
        } else if (is(key, len, "from")) {
            b->from = frame_uint(f);
        } else if (is(key, len, "lsn")) {
            b->lsn = frame_uint(f);
        } else if (is(key, len, "snapshot")) {
            unpack_snapshot(b, f);
        } else if (is(key, len, "steps")) {
            b->nsteps = frame_array(f);
            b->steps = room(b, f, b->nsteps, sizeof *b->steps);
            for (unsigned i = 0; i < b->nsteps; i++) {
                struct step *s = &b->steps[i];
                s->batch = b;
                s->index = i;
                s->version = -1;
                unpack_step(b, f, s);
            }
        } else {
            frame_any(f);
        }
    }
    if (!b->number || (!b->lsn && !b->is_snapshot))
        frame_bad(f, "a batch lacks its number or lsn");
    if (b->is_snapshot) {
        b->from = b->lsn = 0;
        b->snapshot.mode = b->nsteps ? step_mode(b->steps) : MODE_USUAL;
    }
    return b;
}

/* ------------------------------------------------------------------ the manifest */

static char *manifest_name(const char *run, uint64_t number)
{
    return mem_printf("batches/%s-%llu", run, (unsigned long long)number);
}

void batch_save(const struct batch *b, const char *dir, const struct frame *f)
{
    char *name = manifest_name(b->run, b->number);
    struct buf bytes = {0};
    size_t len = mp_size(f->whole);
    uint32_t crc = crc32_of(f->whole.p, len);
    unsigned char sum[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                            (unsigned char)(crc >> 8), (unsigned char)crc};

    buf_add(&bytes, f->whole.p, len);
    buf_add(&bytes, sum, sizeof sum);
    state_replace(dir, name, bytes.data, bytes.len);
    buf_free(&bytes);
    free(name);
}

static void read_whole(const char *path, struct buf *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        fail(EX_DATAERR, "the state names a batch whose manifest cannot be read: %s file=%s",
             strerror(errno), path);
    do {
        buf_reserve(bytes, 65536);
        n = read(fd, bytes->data + bytes->len, 65536);
        bytes->len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    close(fd);
}

/* The frame in these bytes; false if there is none or the sum is wrong. */
static bool manifest_open(const struct buf *bytes, struct frame *f)
{
    const unsigned char *p = (const unsigned char *)bytes->data;
    struct mp_token t;

    memset(f, 0, sizeof *f);
    if (bytes->len < 5)
        return false;
    size_t len = bytes->len - 4;
    uint32_t sum = (uint32_t)p[len] << 24 | (uint32_t)p[len + 1] << 16 | (uint32_t)p[len + 2] << 8 |
                   p[len + 3];
    f->whole = f->body = (struct mp){p, p + len};
    struct mp end = f->whole;
    if (crc32_of(p, len) != sum || mp_skip(&end, len, NULL) != 1 || end.p != p + len)
        return false;
    if (mp_next(&f->body, &t) != 1 || t.type != MP_ARRAY || t.len < 2)
        return false;
    f->elements = (unsigned)t.len - 1;
    if (mp_next(&f->body, &t) != 1 || t.type != MP_STR || t.len != 4 || memcmp(t.data, "load", 4))
        return false;
    memcpy(f->type_buf, "load", 5);
    f->type = f->type_buf;
    return true;
}

struct batch *batch_load(const char *dir, const char *run, uint64_t number)
{
    char *name = manifest_name(run, number), *path = mem_printf("%s/%s", dir, name);
    struct buf bytes = {0};
    struct frame f;

    read_whole(path, &bytes);
    if (!manifest_open(&bytes, &f))
        fail(EX_DATAERR,
             "a batch's manifest is damaged; restore the state folder, or move it away "
             "to read the tables again file=%s",
             path);
    struct batch *b = batch_unpack(&f, run);
    buf_free(&bytes);
    free(path);
    free(name);
    return b;
}

void batch_forget(const struct batch *b, const char *dir)
{
    char *name = manifest_name(b->run, b->number), *path = mem_printf("%s/%s", dir, name);

    if (unlink(path) && errno != ENOENT)
        msg_warn("cannot delete a manifest: %s file=%s", strerror(errno), path);
    free(path);
    free(name);
}

void batch_forget_others(const struct batch *list, const char *dir)
{
    char *folder = mem_printf("%s/batches", dir);
    DIR *d = opendir(folder);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        bool wanted = *e->d_name == '.';
        for (const struct batch *b = list; b && !wanted; b = b->next) {
            char *name = manifest_name(b->run, b->number);
            wanted = !strcmp(strchr(name, '/') + 1, e->d_name);
            free(name);
        }
        if (!wanted)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    free(folder);
}

char *batch_sql(const struct fragments *f, const char *permit)
{
    struct buf b = {0};

    for (unsigned i = 0; i < f->n; i++) {
        if (i)
            quote_path(&b, permit);
        buf_str(&b, f->text[i]);
    }
    return b.data ? b.data : mem_strdup("");
}
