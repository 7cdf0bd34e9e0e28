#include "shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "shape.h"
#include "state.h"

/* ------------------------------------------------------------------ reading */

static _Noreturn void bad(const struct state_line *line)
{
    msg_die(EX_DATAERR,
            "the state file of pgcdc-read with the shapes of tables holds a line that means "
            "nothing line=%s; see cdc-state(5)",
            line->key);
}

static uint32_t number(const struct state_line *line, unsigned word)
{
    char *end;
    unsigned long long v = strtoull(line->word[word], &end, 10);

    if (!*line->word[word] || *end || v > UINT32_MAX)
        bad(line);
    return (uint32_t)v;
}

static int attnum(const struct state_line *line, unsigned word)
{
    uint32_t v = number(line, word);

    if (v > INT16_MAX)
        bad(line);
    return (int)v;
}

static lsn_t position(const struct state_line *line, unsigned word)
{
    lsn_t lsn;

    if (!lsn_parse(line->word[word], &lsn))
        bad(line);
    return lsn;
}

static void take_table(struct table *table, const struct state_line *line)
{
    struct relation *r = mem_alloc(sizeof *r);
    struct shape *s = mem_alloc(sizeof *s);

    *r = (struct relation){.oid = table->oid,
                           .lsn = position(line, 1),
                           .identity = *line->word[2],
                           .relfilenode = number(line, 4),
                           .schema = mem_strdup(line->word[5]),
                           .table = mem_strdup(line->word[6])};
    *s = (struct shape){.relation = r, .highest = attnum(line, 3)};
    shape_replace(table, s);
}

static void take_column(struct table *table, const struct state_line *line)
{
    struct relation *r = table->shape ? table->shape->relation : NULL;

    if (!r)
        bad(line);
    r->columns = mem_realloc(r->columns, (r->ncolumns + 1) * sizeof *r->columns);
    struct column *c = &r->columns[r->ncolumns++];
    *c = (struct column){.attnum = attnum(line, 1),
                         .oid = number(line, 2),
                         .base = number(line, 3),
                         .elem = number(line, 4),
                         .typmod = (int32_t)strtol(line->word[5], NULL, 10),
                         .key = !strcmp(line->word[6], "key"),
                         .name = mem_strdup(line->word[7])};
    r->nkey += c->key;
}

static void take_catalog(struct table *table, const struct state_line *line)
{
    struct attributes *a = mem_alloc(sizeof *a);

    *a = (struct attributes){.exists = true,
                             .relfilenode = number(line, 1),
                             .identity = *line->word[2],
                             .primary_since = position(line, 3),
                             .primary = *line->word[4] == '-' ? NULL : mem_strdup(line->word[4])};
    attributes_free(table->attributes);
    table->attributes = a;
}

static void take_attributes(struct table *table, const struct state_line *line)
{
    struct attributes *a = table->attributes;
    int first = attnum(line, 1), last = attnum(line, 2);

    if (!a || !first || last < first || (a->n && a->list[a->n - 1].attnum >= first))
        bad(line);
    a->list = mem_realloc(a->list, (a->n + (size_t)(last - first) + 1) * sizeof *a->list);
    for (int i = first; i <= last; i++)
        a->list[a->n++] =
            (struct attribute){.attnum = i, .xmin = number(line, 3), .since = position(line, 4)};
}

static void take_unsettled(struct table *table, const struct state_line *line)
{
    if (!table->attributes)
        bad(line);
    table->attributes->unsettled = true;
}

void shapes_read(struct run *run)
{
    static const struct {
        const char *key;
        unsigned words;
        void (*take)(struct table *table, const struct state_line *line);
    } kinds[] = {
        {"table", 7, take_table},         {"column", 8, take_column},
        {"catalog", 5, take_catalog},     {"attributes", 5, take_attributes},
        {"unsettled", 1, take_unsettled},
    };
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;

    if (!run->loop.state || !state_read(run->loop.state, "shapes", &text))
        return;
    char *whole = mem_strdup(text.data);
    for (size_t from = 0; state_next(&text, &at, &line); from = at)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            if (strcmp(line.key, kinds[i].key) != 0)
                continue;
            if (line.words != kinds[i].words)
                bad(&line);
            struct table *table = catalog_find(run, number(&line, 0));
            if (table)
                kinds[i].take(table, &line);
            else
                buf_add(&run->others, whole + from, at - from);
        }
    free(whole);
    buf_free(&text);
}

/* ------------------------------------------------------------------ writing */

#define WORDS 128 /* bytes that numbers, positions and flags of a line take at most */

static void add_shape(struct buf *text, const struct shape *s)
{
    const struct relation *r = s->relation;
    char words[WORDS];

    snprintf(words, sizeof words, "table %u %s %c %d %u", r->oid, LSN_TEXT(r->lsn), r->identity,
             s->highest, r->relfilenode);
    state_line(text, words, r->schema, r->table, NULL);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        const struct column *c = &r->columns[i];
        snprintf(words, sizeof words, "column %u %d %u %u %u %d %s", r->oid, c->attnum, c->oid,
                 c->base, c->elem, c->typmod, c->key ? "key" : "-");
        state_line(text, words, c->name, NULL);
    }
}

/* Neighbours with the same history, mostly those that came with the table, share a line. */
static void add_attributes(struct buf *text, uint32_t oid, const struct attributes *a)
{
    char words[WORDS];

    snprintf(words, sizeof words, "catalog %u %u %c %s", oid, a->relfilenode, a->identity,
             LSN_TEXT(a->primary_since));
    state_line(text, words, a->primary ? a->primary : "-", NULL);
    for (unsigned i = 0, next; i < a->n; i = next) {
        const struct attribute *first = &a->list[i];
        for (next = i + 1; next < a->n && a->list[next].xmin == first->xmin &&
                           a->list[next].since == first->since &&
                           a->list[next].attnum == first->attnum + (int)(next - i);)
            next++;
        snprintf(words, sizeof words, "attributes %u %d %d %u %s", oid, first->attnum,
                 first->attnum + (int)(next - i) - 1, first->xmin, LSN_TEXT(first->since));
        state_line(text, words, NULL);
    }
}

/* What the attributes are may have to be written to the stream again, though they don't change. */
static void add_unsettled(struct buf *text, uint32_t oid)
{
    char words[WORDS];

    snprintf(words, sizeof words, "unsettled %u", oid);
    state_line(text, words, NULL);
}

/* Forgets the shapes that no run can come back to. True: there were some. */
static bool forget_older(struct table *table, lsn_t prepared)
{
    for (struct shape *s = table->shape; s && s->older; s = s->older) {
        if (s->relation->lsn >= prepared)
            continue;
        shape_free(s->older);
        s->older = NULL;
        return true;
    }
    return false;
}

static bool settle(struct run *run)
{
    bool news = false;

    for (struct table *table = run->tables; table; table = table->hh.next)
        news |= forget_older(table, run->loop.load.prepared);
    return news;
}

static void write_file(const struct run *run)
{
    struct buf text = {0};

    for (const struct table *table = run->tables; table; table = table->hh.next) {
        const struct shape *s = table->shape;
        const struct attributes *a = table->attributes;
        if (!s || !a || !a->exists || a->rewritten) /* it has to be read again */
            continue;
        bool unsettled = table->settle || s->older || a->unsettled;
        while (s->older)
            s = s->older;
        add_shape(&text, s);
        add_attributes(&text, table->oid, a);
        if (unsettled)
            add_unsettled(&text, table->oid);
    }
    if (run->arguments->snapshot == SNAPSHOT_ONLY) /* they are as current after it as before */
        buf_add(&text, run->others.data, run->others.len);
    state_write(run->loop.state, "shapes", &text);
    buf_free(&text);
}

void shapes_write(struct run *run)
{
    if (!run->loop.state)
        return;
    settle(run);
    write_file(run);
}

void shapes_note(struct run *run)
{
    if (run->loop.state && settle(run))
        write_file(run);
}
