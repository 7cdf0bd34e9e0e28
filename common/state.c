#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32.h"
#include "failpoint.h"
#include "msg.h"

#define HEADER "pgcdc-state 1\n"
#define SUM_SIZE (sizeof "sum 01234567\n" - 1)

static char *path_of(const char *dir, const char *name, const char *suffix)
{
    return mem_printf("%s/%s%s", dir, name, suffix);
}

void state_lock(const char *dir, const char *stage)
{
    if (mkdir(dir, 0700) && errno != EEXIST)
        msg_die(EX_CONFIG, "cannot make the state folder: %s dir=%s", strerror(errno), dir);
    char *path = path_of(dir, stage, ".lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        msg_die(EX_CONFIG, "cannot use the state folder: %s file=%s", strerror(errno), path);
    /* who looks whether a lock is free holds it for a moment: try for a fifth of a second */
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
        if (tries == 20)
            msg_die(EX_TEMPFAIL,
                    "another %s is at work with this state folder; stop it, or give this pipeline "
                    "a folder of its own dir=%s",
                    msg_program(), dir);
        usleep(10000);
    }
    free(path); /* the descriptor stays open: the lock lives as long as the process */
}

bool state_lock_is_free(const char *dir, const char *stage)
{
    char *path = path_of(dir, stage, ".lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);

    free(path);
    if (fd < 0)
        return true;
    bool is_free = !flock(fd, LOCK_SH | LOCK_NB);
    close(fd);
    return is_free;
}

void state_line(struct buf *text, const char *key, ...)
{
    va_list ap;
    const char *word;

    buf_str(text, key);
    va_start(ap, key);
    while ((word = va_arg(ap, const char *))) {
        buf_char(text, ' ');
        for (; *word; word++) {
            unsigned char c = (unsigned char)*word;
            if (c <= ' ' || c == '%' || c == 0x7f)
                buf_printf(text, "%%%02X", c);
            else
                buf_char(text, *word);
        }
    }
    va_end(ap);
    buf_char(text, '\n');
}

static _Noreturn void write_failed(const char *path)
{
    msg_die(EX_TEMPFAIL, "cannot write the state: %s file=%s", strerror(errno), path);
}

void state_replace(const char *dir, const char *name, const void *data, size_t len)
{
    char *path = path_of(dir, name, ""), *temp = path_of(dir, name, ".tmp");
    const char *p = data;

    char *slash = strrchr(path, '/');
    *slash = '\0';
    if (mkdir(path, 0700) && errno != EEXIST)
        write_failed(path);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || folder < 0)
        write_failed(temp);
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR)
            write_failed(temp);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    FAILPOINT("state-written");
    if (fsync(fd) || close(fd))
        write_failed(temp);
    FAILPOINT("state-synced");
    if (rename(temp, path))
        write_failed(path);
    FAILPOINT("state-renamed");
    if (fsync(folder) || close(folder))
        write_failed(path);
    free(temp);
    free(path);
}

void state_write(const char *dir, const char *stage, const struct buf *text)
{
    struct buf b = {0};

    buf_str(&b, HEADER);
    buf_add(&b, text->data, text->len);
    buf_printf(&b, "sum %08x\n", crc32_of(b.data, b.len));
    state_replace(dir, stage, b.data, b.len);
    buf_free(&b);
}

bool state_read(const char *dir, const char *stage, struct buf *text)
{
    char *path = path_of(dir, stage, "");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char sum[SUM_SIZE + 1];
    ssize_t n = 0;

    buf_clear(text);
    if (fd < 0) {
        if (errno != ENOENT)
            msg_die(EX_CONFIG, "cannot read the state: %s file=%s", strerror(errno), path);
        free(path);
        return false;
    }
    do {
        text->len += (size_t)n;
        buf_reserve(text, 4096);
        n = read(fd, text->data + text->len, 4096);
    } while (n > 0);
    close(fd);
    text->data[text->len] = '\0';
    size_t header = sizeof HEADER - 1;
    bool good = n == 0 && text->len >= header + SUM_SIZE && !memcmp(text->data, HEADER, header) &&
                strlen(text->data) == text->len;
    if (good) {
        snprintf(sum, sizeof sum, "sum %08x\n", crc32_of(text->data, text->len - SUM_SIZE));
        good = !memcmp(text->data + text->len - SUM_SIZE, sum, SUM_SIZE);
    }
    if (!good)
        msg_die(EX_DATAERR,
                "a state file is damaged or of another release; put it back from a copy, or remove "
                "the whole folder to read all tables anew file=%s",
                path);
    text->len -= SUM_SIZE;
    buf_drop(text, header);
    text->data[text->len] = '\0';
    free(path);
    return true;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void decode(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            *to++ = (char)(hex(s[1]) << 4 | hex(s[2]));
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

bool state_next(struct buf *text, size_t *at, struct state_line *line)
{
    static char empty[] = "";

    if (*at >= text->len)
        return false;
    char *s = text->data + *at;
    size_t n = strcspn(s, "\n");
    s[n] = '\0';
    *at += n + 1;

    *line = (struct state_line){.key = s};
    for (unsigned i = 0; i < STATE_WORDS; i++)
        line->word[i] = empty;
    for (s = strchr(s, ' '); s && line->words < STATE_WORDS; s = strchr(s, ' ')) {
        *s++ = '\0';
        line->word[line->words++] = s;
    }
    if (s)
        *s = '\0';
    /* only now that all are cut: a decoded word may hold spaces */
    for (unsigned i = 0; i < line->words; i++)
        decode(line->word[i]);
    return true;
}

int state_watch(const char *dir)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (fd >= 0 && inotify_add_watch(fd, dir, IN_MOVED_TO) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void state_watch_drain(int fd)
{
    char buf[4096];

    while (fd >= 0 && read(fd, buf, sizeof buf) > 0)
        ;
}
