#include "backlog.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "msg.h"

#define BLOCK ((size_t)64 << 10) /* bytes written and read at once */

/* Each message has its length before it. First come those in memory, then those in the file, of
 * which the last are in the block that is yet to be written. */
struct backlog {
    const char *dir;
    size_t memory;
    struct buf first; /* in memory */
    int file;         /* -1: none */
    struct buf block; /* to be written, or read and yet to be taken */
    uint64_t size;    /* of the file */
    uint64_t read;    /* of it */
    size_t at;        /* taken of first, and then of block */
    bool behind;      /* first is taken */
};

struct backlog *backlog_new(const char *dir, size_t memory)
{
    struct backlog *b = mem_alloc(sizeof *b);

    *b = (struct backlog){.dir = dir, .memory = memory, .file = -1};
    return b;
}

void backlog_free(struct backlog *b)
{
    if (!b)
        return;
    if (b->file >= 0)
        close(b->file);
    buf_free(&b->first);
    buf_free(&b->block);
    free(b);
}

/* ------------------------------------------------------------------ the file */

static void open_file(struct backlog *b)
{
    char *path = mem_printf("%s/backlog.XXXXXX", b->dir);

    b->file = mkostemp(path, 0);
    if (b->file < 0)
        msg_die(EX_TEMPFAIL, "cannot make a temporary file: %s dir=%s", strerror(errno), b->dir);
    unlink(path);
    free(path);
}

static void write_block(struct backlog *b)
{
    size_t done = 0;

    while (done < b->block.len) {
        ssize_t n =
            pwrite(b->file, b->block.data + done, b->block.len - done, (off_t)(b->size + done));
        if (n < 0 && errno != EINTR)
            msg_die(EX_TEMPFAIL, "cannot put changes aside: %s dir=%s", strerror(errno), b->dir);
        if (n > 0)
            done += (size_t)n;
    }
    b->size += done;
    buf_clear(&b->block);
}

/* Has at least n bytes of the file ready behind what is taken. */
static void read_block(struct backlog *b, size_t n)
{
    if (b->block.len - b->at >= n)
        return;
    buf_drop(&b->block, b->at);
    b->at = 0;
    size_t wanted = b->size - b->read < BLOCK ? (size_t)(b->size - b->read) : BLOCK;
    if (wanted < n - b->block.len)
        wanted = n - b->block.len;
    buf_reserve(&b->block, wanted);
    while (b->block.len < n) {
        ssize_t got = pread(b->file, b->block.data + b->block.len, wanted, (off_t)b->read);
        if (got == 0 || (got < 0 && errno != EINTR))
            msg_die(EX_TEMPFAIL, "cannot read what was put aside: %s",
                    got ? strerror(errno) : "the file ends early");
        if (got > 0) {
            b->block.len += (size_t)got;
            b->read += (uint64_t)got;
            wanted -= (size_t)got;
        }
    }
}

/* ------------------------------------------------------------------ messages */

void backlog_put(struct backlog *b, const void *data, size_t len)
{
    struct buf *to = &b->first;

    if (b->file < 0 && b->first.len + sizeof len + len > b->memory)
        open_file(b);
    if (b->file >= 0) {
        to = &b->block;
        if (to->len >= BLOCK)
            write_block(b);
    }
    buf_add(to, &len, sizeof len);
    buf_add(to, data, len);
}

static void start_over(struct backlog *b)
{
    if (b->file >= 0)
        close(b->file);
    b->file = -1;
    b->size = b->read = b->at = 0;
    b->behind = false;
    buf_clear(&b->first);
    buf_clear(&b->block);
}

bool backlog_take(struct backlog *b, char **data, size_t *len)
{
    struct buf *from = &b->first;

    if (!b->behind && b->at == b->first.len) {
        b->behind = true;
        b->at = 0;
        if (b->file >= 0)
            write_block(b);
    }
    if (b->behind) {
        from = &b->block;
        if (b->at == b->block.len && b->read == b->size) {
            start_over(b);
            return false;
        }
        read_block(b, sizeof *len);
        memcpy(len, from->data + b->at, sizeof *len);
        read_block(b, sizeof *len + *len);
    }
    memcpy(len, from->data + b->at, sizeof *len);
    *data = from->data + b->at + sizeof *len;
    b->at += sizeof *len + *len;
    return true;
}
