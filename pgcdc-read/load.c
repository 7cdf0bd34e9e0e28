#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "state.h"

static void clear(struct load *l)
{
    free(l->source.system);
    free(l->source.database);
    free(l->source.slot);
    free(l->source.publications);
    free(l->run);
    free(l->snapshots);
    for (unsigned i = 0; i < l->nunfinished; i++) {
        free(l->unfinished[i].run);
        free(l->unfinished[i].ranges);
    }
    free(l->unfinished);
    *l = (struct load){0};
}

static _Noreturn void bad(const char *key)
{
    msg_die(EX_DATAERR,
            "the state file of dbx-load holds a line that means nothing line=%s; see "
            "cdc-state(5)",
            key);
}

static lsn_t lsn_of(const struct state_line *line, unsigned word)
{
    lsn_t lsn = 0;

    if (!lsn_parse(line->word[word], &lsn))
        bad(line->key);
    return lsn;
}

static uint64_t number(const struct state_line *line, unsigned word)
{
    char *end;
    uint64_t v = strtoull(line->word[word], &end, 10);

    if (!*line->word[word] || *end)
        bad(line->key);
    return v;
}

static void add_snapshot(struct load *l, const struct state_line *line)
{
    l->snapshots = mem_realloc(l->snapshots, (l->nsnapshots + 1) * sizeof *l->snapshots);
    l->snapshots[l->nsnapshots++] = (struct load_snapshot){
        .oid = (uint32_t)number(line, 0), .attempt = number(line, 1), .lsn = lsn_of(line, 2)};
}

static void add_unfinished(struct load *l, const struct state_line *line)
{
    l->unfinished = mem_realloc(l->unfinished, (l->nunfinished + 1) * sizeof *l->unfinished);
    l->unfinished[l->nunfinished++] = (struct load_unfinished){.oid = (uint32_t)number(line, 0),
                                                               .attempt = number(line, 1),
                                                               .run = mem_strdup(line->word[2]),
                                                               .horizon = number(line, 3),
                                                               .stamp = number(line, 4),
                                                               .layout = number(line, 5)};
}

/* Of the attempt before it. */
static void add_range(struct load *l, const struct state_line *line)
{
    if (!l->nunfinished)
        bad(line->key);
    struct load_unfinished *u = &l->unfinished[l->nunfinished - 1];
    u->ranges = mem_realloc(u->ranges, (u->nranges + 1) * sizeof *u->ranges);
    u->ranges[u->nranges++] = (struct load_range){
        .file = number(line, 0), .from = number(line, 1), .to = number(line, 2)};
}

static void take(struct load *l, const struct state_line *line)
{
    const char *key = line->key;

    if (!strcmp(key, "source")) {
        if (line->words < 3)
            bad(key);
        l->source = (struct source){.system = mem_strdup(line->word[0]),
                                    .database = mem_strdup(line->word[1]),
                                    .slot = mem_strdup(line->word[2]),
                                    .publications = mem_strdup(line->word[3])};
    } else if (!strcmp(key, "run")) {
        l->run = mem_strdup(line->word[0]);
        l->open = !strcmp(line->word[1], "open");
        if (l->open)
            l->open_lsn = lsn_of(line, 2);
    } else if (!strcmp(key, "prepared")) {
        l->prepared = lsn_of(line, 0);
    } else if (!strcmp(key, "applied")) {
        l->applied = lsn_of(line, 0);
    } else if (!strcmp(key, "batch") || !strcmp(key, "behind")) {
        l->batches++;
    } else if (!strcmp(key, "snapshot")) {
        add_snapshot(l, line);
    } else if (!strcmp(key, "unfinished")) {
        add_unfinished(l, line);
    } else if (!strcmp(key, "range")) {
        add_range(l, line);
    }
}

void load_read(struct load *l, const char *dir)
{
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;

    clear(l);
    l->exists = state_read(dir, "load", &text);
    while (l->exists && state_next(&text, &at, &line))
        take(l, &line);
    buf_free(&text);
}

const struct load_snapshot *load_find(const struct load *l, uint32_t oid)
{
    for (unsigned i = 0; i < l->nsnapshots; i++)
        if (l->snapshots[i].oid == oid)
            return &l->snapshots[i];
    return NULL;
}
