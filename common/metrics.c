#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "mem.h"
#include "msg.h"

#define INTERVAL 1000 /* ms between two writings */

static struct {
    const char *file; /* NULL: none is wanted */
    char *temporary;
    struct metric *all;
    void (*measure)(void *arg);
    void *arg;
    char *label;     /* pipeline="…"; NULL: not known yet, and nothing was written */
    int64_t written; /* clock_ms */
    bool warned;
    struct buf text;
} to;

/* Why the file cannot be replaced, or NULL. What is no file, as /dev/stdout, would be lost by it.
 */
static const char *problem(const char *file)
{
    const char *slash = strrchr(file, '/');
    struct stat st;

    if (!stat(file, &st) && !S_ISREG(st.st_mode))
        return "it exists, and is no regular file";
    char *folder = slash ? mem_printf("%.*s", (int)(slash - file) + 1, file) : mem_strdup(".");
    int error = access(folder, W_OK | X_OK) ? errno : 0;
    free(folder);
    return error ? strerror(error) : NULL;
}

unsigned metrics_check(const char *file)
{
    const char *why = file ? problem(file) : NULL;

    if (why)
        msg_line("FAIL the metrics cannot be written there: %s; name a file in a folder that this "
                 "user may write file=%s",
                 why, file);
    else if (file)
        msg_line("ok   the metrics can be written file=%s", file);
    return why != NULL;
}

/* ------------------------------------------------------------------ writing */

static void add_sample(struct buf *b, const struct metric *m)
{
    buf_printf(b, "%s{%s%s%s} ", m->name, to.label, m->label ? "," : "", m->label ? m->label : "");
    if (m->micro)
        buf_printf(b, "%" PRIu64 ".%06u\n", m->value / 1000000, (unsigned)(m->value % 1000000));
    else
        buf_printf(b, "%" PRIu64 "\n", m->value);
}

static bool replace(const struct buf *text)
{
    int fd = open(to.temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    ssize_t n = 0;

    if (fd < 0)
        return false;
    for (size_t at = 0; at < text->len && n >= 0; at += (size_t)n) {
        n = write(fd, text->data + at, text->len - at);
        if (n < 0 && errno == EINTR)
            n = 0;
    }
    return !close(fd) && n >= 0 && !rename(to.temporary, to.file);
}

static void write_all(void)
{
    const char *name = "";

    if (to.measure)
        to.measure(to.arg);
    buf_clear(&to.text);
    for (const struct metric *m = to.all; m->name; m++) {
        if (strcmp(m->name, name))
            buf_printf(&to.text, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       m->type == METRIC_COUNTER ? "counter" : "gauge");
        name = m->name;
        add_sample(&to.text, m);
    }
    to.written = clock_ms();
    if (replace(&to.text) || to.warned)
        return;
    to.warned = true;
    msg_warn("cannot write the metrics, going on without: %s file=%s", strerror(errno), to.file);
}

static void write_last(void)
{
    if (to.label)
        write_all();
}

/* ------------------------------------------------------------------ */

void metrics_open(const char *file, struct metric *all, void (*measure)(void *arg), void *arg)
{
    const char *why = file ? problem(file) : NULL;

    if (!file)
        return;
    if (why)
        msg_die(EX_CONFIG, "cannot write the metrics: %s file=%s", why, file);
    to.file = file;
    to.temporary = mem_printf("%s.tmp", file);
    to.all = all;
    to.measure = measure;
    to.arg = arg;
    atexit(write_last);
}

void metrics_begin(const char *pipeline)
{
    struct buf b = {0};

    if (!to.file)
        return;
    buf_str(&b, "pipeline=\"");
    for (; *pipeline; pipeline++) {
        if (strchr("\\\"\n", *pipeline))
            buf_char(&b, '\\');
        buf_char(&b, *pipeline == '\n' ? 'n' : *pipeline);
    }
    buf_char(&b, '"');
    buf_char(&b, '\0');
    to.label = b.data;
    write_all();
}

void metrics_tick(void)
{
    if (to.label && clock_ms() >= to.written + INTERVAL)
        write_all();
}

int metrics_timeout(int timeout)
{
    if (!to.label)
        return timeout;
    int64_t left = to.written + INTERVAL - clock_ms();
    if (left < 0)
        left = 0;
    return timeout < 0 || left < timeout ? (int)left : timeout;
}

bool metrics_wanted(void)
{
    return to.file != NULL;
}
