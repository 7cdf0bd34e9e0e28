/*
 * cdc-merge: rows become Parquet files, batches become table definitions and SQL.
 *
 * One loop: frames come from stdin and what they turn into goes to stdout. Nothing is kept from one
 * batch to the next but the shapes of the tables.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batches.h"
#include "cli.h"
#include "crc32.h"
#include "figures.h"
#include "filter.h"
#include "msg.h"
#include "state.h"

static const char help[] =
    "usage: cdc-merge --catalog C [OPTION]... < stream > stream\n"
    "Turns folded rows into Parquet files, and batches into table definitions and SQL.\n"
    "\n"
    "  --catalog C        the Unity Catalog that the tables go to\n"
    "  --volume C.S.V     the volume that files are staged in (C.pgcdc_internal.staging)\n"
    "  --namespace N      the tables' schemas: source (as in PostgreSQL), default:SCHEMA (one for\n"
    "                     all), or format:TEXT with ${schema} in it (source)\n"
    "  --prefix P         goes in front of every table's name\n"
    "  --numeric P,S      numeric without a precision becomes DECIMAL(P,S), not STRING\n"
    "  --json-type string|variant\n"
    "                     json and jsonb become STRING, or VARIANT (string)\n"
    "  --dropped-columns keep|drop\n"
    "                     what becomes of columns that the source has no more: they stay, as they\n"
    "                     are (keep); or they are dropped\n"
    "  --on-unrepresentable null|error\n"
    "                     a value that its column cannot hold becomes NULL, and its text is kept\n"
    "                     in _cdc_unrepresentable (null); or the pipeline stops\n"
    "  --json             JSON Lines on stdout, for eyes\n" CLI_HELP;

enum {
    CATALOG = CLI_OWN,
    VOLUME,
    NAMESPACE,
    PREFIX,
    NUMERIC,
    JSON_TYPE,
    DROPPED,
    ON_UNREPRESENTABLE
};

static const struct option options[] = {
    {"catalog", required_argument, NULL, CATALOG},
    {"volume", required_argument, NULL, VOLUME},
    {"namespace", required_argument, NULL, NAMESPACE},
    {"prefix", required_argument, NULL, PREFIX},
    {"numeric", required_argument, NULL, NUMERIC},
    {"json-type", required_argument, NULL, JSON_TYPE},
    {"dropped-columns", required_argument, NULL, DROPPED},
    {"on-unrepresentable", required_argument, NULL, ON_UNREPRESENTABLE},
    CLI_LONG,
    CLI_LONG_JSON,
    {0}};

struct settings {
    struct cli cli;
    const char *catalog;
    char *volume; /* /Volumes/C/S/V */
    struct tables tables;
    bool drop, strict;
};

/* ---- options ---- */

static bool is_name(const char *s, size_t len)
{
    bool good = len > 0 && len <= 255;
    for (size_t i = 0; i < len; i++)
        good = good && (unsigned char)s[i] > ' ' && s[i] != '.' && s[i] != '/' && s[i] != 0x7f;
    return good;
}

/* C.S.V to /Volumes/C/S/V */
static char *volume_path(const char *text)
{
    size_t c = strcspn(text, "."), s = text[c] ? strcspn(text + c + 1, ".") : 0;
    const char *schema = text + c + 1, *volume = schema + s + 1;
    if (!is_name(text, c) || !is_name(schema, s) || schema[s] != '.' ||
        !is_name(volume, strlen(volume)))
        msg_die(EX_USAGE, "--volume wants CATALOG.SCHEMA.VOLUME, not '%s'", text);
    return mem_printf("/Volumes/%.*s/%.*s/%s", (int)c, text, (int)s, schema, volume);
}

static void parse_numeric(const char *text, struct types_options *types)
{
    char *end;
    long precision = strtol(text, &end, 10), scale = -1;
    if (*end == ',')
        scale = strtol(end + 1, &end, 10);
    if (*end || precision < 1 || precision > 38 || scale < 0 || scale > precision)
        msg_die(EX_USAGE,
                "--numeric wants a precision from 1 to 38 and a scale from 0 to it, "
                "such as 38,9, not '%s'",
                text);
    types->numeric_precision = (uint8_t)precision;
    types->numeric_scale = (uint8_t)scale;
}

/* One of two words: whether it is the second. */
static bool parse_choice(const char *option, const char *first, const char *second,
                         const char *text)
{
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
        msg_die(EX_USAGE, "--%s wants %s or %s, not '%s'", option, first, second, text);
    return strcmp(text, second) == 0;
}

static void parse(struct settings *s, int argc, char **argv)
{
    const char *volume = NULL;
    int c;
    while ((c = getopt_long(argc, argv, CLI_SHORT, options, NULL)) != -1) {
        if (c == CATALOG)
            s->catalog = optarg;
        else if (c == VOLUME)
            volume = optarg;
        else if (c == NAMESPACE)
            s->tables.names.namespace = optarg;
        else if (c == PREFIX)
            s->tables.names.prefix = optarg;
        else if (c == NUMERIC)
            parse_numeric(optarg, &s->tables.types);
        else if (c == JSON_TYPE)
            s->tables.types.json_variant = parse_choice("json-type", "string", "variant", optarg);
        else if (c == DROPPED)
            s->drop = parse_choice("dropped-columns", "keep", "drop", optarg);
        else if (c == ON_UNREPRESENTABLE)
            s->strict = parse_choice("on-unrepresentable", "null", "error", optarg);
        else
            cli_option(&s->cli, c, help);
    }
    cli_no_operands(argc, argv);
    if (!s->catalog)
        msg_die(EX_USAGE, "--catalog is missing; see cdc-merge --help");
    if (!is_name(s->catalog, strlen(s->catalog)))
        msg_die(EX_USAGE, "--catalog wants the name of a catalog, not '%s'", s->catalog);
    if (!tables_namespace_is_valid(s->tables.names.namespace))
        msg_die(EX_USAGE, "--namespace wants source, default:SCHEMA or format:TEXT, not '%s'",
                s->tables.names.namespace);
    char *standard = mem_printf("%s.pgcdc_internal.staging", s->catalog);
    s->volume = volume_path(volume ? volume : standard);
    free(standard);
}

/* ---- the stream ---- */

struct stage {
    const struct settings *settings;
    struct tables tables;
    struct start start; /* run is NULL before it came */
    struct batches *batches;
    char *staging;
    struct filter filter;
    struct stream_out *out;
};

static struct stream_out *to_fail;

static void on_die(int code)
{
    stream_fail(to_fail, code);
}

static void send_target(const struct stage *s)
{
    struct buf permit = {0};
    file_permit(&permit);
    msgpack_packer *pk = stream_frame(s->out, "target", 1);
    msgpack_pack_map(pk, 4);
    pack_str(pk, "catalog");
    pack_str(pk, s->settings->catalog);
    pack_str(pk, "namespace");
    pack_str(pk, s->tables.names.namespace);
    pack_str(pk, "staging");
    pack_str(pk, s->staging);
    pack_str(pk, "permit");
    pack_bin(pk, permit.data, permit.len);
    stream_done(s->out);
    buf_free(&permit);
}

/* Pipelines of one name may share a volume (people follow the same guide), but not a folder in it:
 * each takes what it finds there for its own. */
static char *staging_folder(const struct stage *s)
{
    const struct source *source = &s->start.source;
    const struct table_names *names = &s->tables.names;
    char *who = mem_printf("%s %s %s %s %s %s", source->system, source->database, source->slot,
                           s->settings->catalog, names->namespace, names->prefix);
    char *folder = mem_printf("%s/%s-%08x", s->settings->volume, s->start.pipeline,
                              crc32_of(who, strlen(who)));

    free(who);
    return folder;
}

static void take_start(struct stage *s, struct frame *f)
{
    const struct settings *settings = s->settings;
    start_unpack(f, &s->start);
    s->staging = staging_folder(s);
    if (s->start.check) {
        s->start.failures += filter_check(&s->filter);
        start_pack(s->out, &s->start);
    } else {
        filter_begin(&s->filter, s->start.run);
        metrics_begin(s->start.pipeline);
        stream_forward(s->out, f);
    }
    send_target(s);
    struct batches_options o = {settings->catalog, s->staging, settings->drop, settings->strict};
    s->batches = batches_new(&o, &s->start, &s->tables, s->out);
    file_flush(s->out);
}

static void write_progress(struct stage *s, bool now)
{
    lsn_t lsn;
    if (!s->batches || s->start.check)
        return;
    uint64_t batch = batches_last(s->batches, &lsn);
    filter_progress(&s->filter, batch, lsn, now);
}

/* False: that was the end of the stream. */
static bool take(struct stage *s, struct frame *f)
{
    if (s->start.run && batches_take(s->batches, f))
        return true;
    if (frame_is(f, "fail"))
        filter_upstream_failed(f);
    if (!s->start.run) {
        take_start(s, f);
        return true;
    }
    if (!frame_is(f, "end"))
        frame_bad(f, "a frame that this stage does not know; is cdc-batch before it, of the same "
                     "release?");
    if (s->start.check)
        msg_line("ok   every table has a name and types in Databricks tables=%u",
                 HASH_COUNT(s->tables.all));
    stream_forward(s->out, f);
    file_flush(s->out);
    write_progress(s, true);
    return false;
}

enum { TICK_MS = 1000 }; /* at least this often the lock of dbx-load is looked at */

/* Wait until stdin is readable: true. */
static bool wait_for_input(struct stage *s)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = STDOUT_FILENO}};
    int n = poll(fds, 2, TICK_MS);
    if (fds[1].revents & (POLLERR | POLLNVAL) || (n == 0 && filter_loader_gone(&s->filter)))
        msg_exit(EX_TEMPFAIL); /* whoever is gone has said why */
    return n > 0 && fds[0].revents != 0;
}

static void run(struct stage *s, struct stream_in *in)
{
    bool readable = false;
    for (;;) {
        struct frame frame;
        switch (stream_read(in, &frame, readable)) {
        case STREAM_FRAME:
            readable = false;
            if (!take(s, &frame))
                return;
            write_progress(s, false);
            break;
        case STREAM_WAIT:
            file_flush(s->out);
            write_progress(s, false);
            metrics_tick();
            readable = wait_for_input(s);
            break;
        case STREAM_EOF:
        case STREAM_TRUNCATED:
            filter_upstream_died(in);
        }
    }
}

int main(int argc, char **argv)
{
    struct settings settings = {.tables.names = {.namespace = "source", .prefix = ""}};
    cli_init(&settings.cli, "cdc-merge");
    parse(&settings, argc, argv);
    struct stage stage = {
        .settings = &settings,
        .tables = settings.tables,
        .filter = {.dir = settings.cli.state, .stage = "merge", .metrics = settings.cli.metrics}};
    if (settings.cli.check) {
        free(settings.volume);
        return filter_check(&stage.filter) ? EX_CONFIG : EX_OK;
    }
    metrics_open(settings.cli.metrics, merge_figures, NULL, NULL);
    stop_install();
    stage.out = stream_out_new(STDOUT_FILENO, settings.cli.json);
    to_fail = stage.out;
    msg_on_die(on_die);
    struct stream_in *in = stream_in_new(STDIN_FILENO);
    run(&stage, in);
    int code = stage.start.check && stage.start.failures ? EX_CONFIG : EX_OK;
    if (!stage.start.check)
        filter_wait_for_downstream(&stage.filter);

    stream_in_free(in);
    batches_free(stage.batches);
    tables_free(&stage.tables);
    start_free(&stage.start);
    filter_free(&stage.filter);
    free(stage.staging);
    free(settings.volume);
    stream_out_free(stage.out);
    return code;
}
