#include "progress.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "reading.h"
#include "run.h"
#include "state.h"

struct listed {
    uint32_t oid;
    uint64_t attempt; /* of the snapshot that was current, or under way */
    char *membership;
};

static const struct listed *find(const struct run *run, uint32_t oid)
{
    for (unsigned i = 0; i < run->progress.n; i++)
        if (run->progress.tables[i].oid == oid)
            return &run->progress.tables[i];
    return NULL;
}

static void take(struct progress *p, const struct state_line *line)
{
    struct listed l = {.oid = (uint32_t)strtoul(line->word[0], NULL, 10),
                       .attempt = strtoull(line->word[1], NULL, 10),
                       .membership = mem_strdup(line->word[2])};

    if (!l.oid || !l.attempt)
        msg_die(EX_DATAERR,
                "the state file of pgcdc-read holds a line that means nothing line=%s; "
                "see cdc-state(5)",
                line->key);
    p->tables = mem_realloc(p->tables, (p->n + 1) * sizeof *p->tables);
    p->tables[p->n++] = l;
}

void progress_read(struct run *run)
{
    struct progress *p = &run->progress;
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;

    p->exists = run->loop.state && state_read(run->loop.state, "read", &text);
    while (p->exists && state_next(&text, &at, &line))
        if (!strcmp(line.key, "table"))
            take(p, &line);
    buf_free(&text);
}

uint32_t progress_timeline(const struct run *run)
{
    struct buf text = {0};
    struct state_line line;
    uint32_t timeline = 0;
    size_t at = 0;

    if (!run->loop.state || !state_read(run->loop.state, "read", &text))
        return 0;
    while (state_next(&text, &at, &line))
        if (!strcmp(line.key, "timeline"))
            timeline = (uint32_t)strtoul(line.word[0], NULL, 10);
    buf_free(&text);
    return timeline;
}

bool progress_covers(const struct run *run, const struct table *table, uint64_t attempt)
{
    const struct listed *l = find(run, table->oid);

    return l && attempt >= l->attempt && catalog_same_membership(l->membership, table->membership);
}

static void add_table(struct buf *text, uint32_t oid, uint64_t attempt, const char *membership)
{
    char *number = mem_printf("%u", oid), *which = mem_printf("%llu", (unsigned long long)attempt);

    state_line(text, "table", number, which, membership, NULL);
    free(number);
    free(which);
}

/* A run that only reads tables passes on no changes: others are as current after it as before. */
static void add_untouched(struct buf *text, const struct run *run)
{
    for (unsigned i = 0; i < run->progress.n; i++) {
        const struct listed *l = &run->progress.tables[i];
        const struct table *table = catalog_find(run, l->oid);
        if (!table || !table->attempt)
            add_table(text, l->oid, l->attempt, l->membership);
    }
}

void progress_write(const struct run *run, lsn_t position)
{
    struct buf text = {0};

    if (!run->loop.state)
        return;
    char *timeline = mem_printf("%u", run->timeline);
    state_line(&text, "run", run->id, NULL);
    state_line(&text, "timeline", timeline, NULL);
    free(timeline);
    state_line(&text, "position", LSN_TEXT(position), NULL);
    reading_state(run, &text);
    for (const struct table *table = run->tables; table; table = table->hh.next)
        if (table->attempt)
            add_table(&text, table->oid, table->attempt, table->membership);
    if (run->arguments->snapshot == SNAPSHOT_ONLY)
        add_untouched(&text, run);
    state_write(run->loop.state, "read", &text);
    buf_free(&text);
}
