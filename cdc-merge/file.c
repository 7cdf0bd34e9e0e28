#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "figures.h"
#include "msg.h"

enum {
    ROW_GROUP_BYTES = 16 << 20,
    DATA_BYTES = 128 << 10, /* of a data frame, at most */
};

struct file {
    struct parquet *parquet;
    struct stream_out *out;
    const char *name, *source;
    uint64_t rows, size;
    struct buf data; /* of the file, not yet sent */
};

struct file *file_new(struct stream_out *out)
{
    struct file *f = mem_alloc(sizeof *f);
    f->parquet = parquet_new(ROW_GROUP_BYTES);
    f->out = out;
    return f;
}

void file_free(struct file *f)
{
    parquet_free(f->parquet);
    buf_free(&f->data);
    free(f);
}

struct parquet *file_parquet(struct file *f)
{
    return f->parquet;
}

void file_flush(struct stream_out *out)
{
    if (!stream_flush(out))
        msg_exit(EX_TEMPFAIL); /* whoever is gone has said why */
}

static void send_data(struct file *f)
{
    if (f->data.len == 0)
        return;
    pack_bin(stream_frame(f->out, "data", 1), f->data.data, f->data.len);
    stream_done(f->out);
    f->size += f->data.len;
    buf_clear(&f->data);
    file_flush(f->out);
}

/* The sink of the Parquet writer: it comes in small pieces, and goes in larger ones. */
static int write_data(void *arg, const void *data, size_t len)
{
    struct file *f = arg;
    for (const char *p = data; len > 0;) {
        size_t room = DATA_BYTES - f->data.len, n = len < room ? len : room;
        bytes_put(&f->data, p, n);
        if (f->data.len == DATA_BYTES)
            send_data(f);
        p += n;
        len -= n;
    }
    return 0;
}

void file_open(struct file *f, const char *name, const struct parquet_column *columns,
               size_t ncolumns, const char *source)
{
    f->name = name;
    f->source = source;
    f->rows = 0;
    f->size = 0;
    pack_str(stream_frame(f->out, "file", 1), name);
    stream_done(f->out);
    /* its result is the sink's, which does not fail but ends the program */
    parquet_open(f->parquet, columns, ncolumns, write_data, f);
}

static _Noreturn void die_of_size(const struct file *f)
{
    msg_die(EX_DATAERR, "a row of %s is too large for Parquet: %s", f->source, strerror(errno));
}

void file_end_row(struct file *f)
{
    f->rows++;
    if (parquet_end_row(f->parquet) != 0)
        die_of_size(f);
}

uint64_t file_close(struct file *f)
{
    if (parquet_close(f->parquet) != 0)
        die_of_size(f);
    send_data(f);
    msgpack_packer *pk = stream_frame(f->out, "file-end", 3);
    pack_str(pk, f->name);
    msgpack_pack_uint64(pk, f->size);
    msgpack_pack_uint64(pk, f->rows);
    stream_done(f->out);
    merge_figures[MERGE_FILES].value++;
    merge_figures[MERGE_ROWS].value += f->rows;
    merge_figures[MERGE_BYTES].value += f->size;
    return f->rows;
}

static int write_buf(void *arg, const void *data, size_t len)
{
    buf_add(arg, data, len);
    return 0;
}

void file_permit(struct buf *file)
{
    static const struct parquet_column column = {.name = "_permit", .type = PARQUET_INT32};
    struct parquet *p = parquet_new(ROW_GROUP_BYTES);
    parquet_open(p, &column, 1, write_buf, file);
    parquet_put(p, 0, &(union parquet_value){.i = 1});
    parquet_end_row(p);
    parquet_close(p);
    parquet_free(p);
}
