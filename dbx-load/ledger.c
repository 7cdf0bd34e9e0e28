#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fail.h"
#include "figures.h"
#include "msg.h"
#include "state.h"
#include "unfinished.h"

void ledger_set(char **field, const char *value)
{
    char *copy = value ? mem_strdup(value) : NULL; /* value may be the field itself */

    free(*field);
    *field = copy;
}

/* ------------------------------------------------------------------ reading */

static _Noreturn void damaged(const struct ledger *l, const struct state_line *line)
{
    fail(EX_DATAERR, "the state has a line that is not understood: %s dir=%s", line->key, l->dir);
}

static uint64_t number(const struct ledger *l, const struct state_line *line, unsigned word)
{
    char *end;
    uint64_t n = strtoull(line->word[word], &end, 10);

    if (end == line->word[word] || *end)
        damaged(l, line);
    return n;
}

static lsn_t position(const struct ledger *l, const struct state_line *line, unsigned word)
{
    lsn_t lsn;

    if (!lsn_parse(line->word[word], &lsn))
        damaged(l, line);
    return lsn;
}

/* The step that words 0 to 2 of a line name. */
static struct step *step_of(const struct ledger *l, const struct state_line *line)
{
    uint64_t batch = number(l, line, 1), step = number(l, line, 2);

    for (struct batch *b = l->batches; b; b = b->next)
        if (b->number == batch && !strcmp(b->run, line->word[0]) && step < b->nsteps)
            return &b->steps[step];
    damaged(l, line);
}

/* The steps that are left of a batch: their numbers, with commas between them. */
static void read_left(const struct ledger *l, const struct state_line *line, struct batch *b)
{
    const char *p = line->word[4];
    char *end;

    for (unsigned i = 0; i < b->nsteps; i++)
        b->steps[i].done = true;
    for (; *p; p = *end ? end + 1 : end) {
        unsigned long step = strtoul(p, &end, 10);
        if (end == p || (*end && *end != ',') || step >= b->nsteps)
            damaged(l, line);
        b->steps[step].done = false;
    }
}

static void read_batch(struct ledger *l, const struct state_line *line)
{
    uint64_t n = number(l, line, 1), steps = number(l, line, 3);
    lsn_t lsn = position(l, line, 2);
    struct batch *b =
        steps ? batch_load(l->dir, line->word[0], n) : batch_new(line->word[0], n, lsn);

    if (b->number != n || b->nsteps != steps || b->lsn != lsn)
        fail(EX_DATAERR, "a batch's manifest is not the one that the state means dir=%s", l->dir);
    for (unsigned i = 0; i < b->nsteps; i++)
        b->steps[i].unsure = true;
    b->acknowledged = !strcmp(line->key, "behind");
    if (b->acknowledged)
        read_left(l, line, b);
    ledger_add(l, b);
}

static void release(const char *text)
{
    free((void *)(uintptr_t)text); /* owned, though const for everybody else */
}

static void read_line(struct ledger *l, const struct state_line *line)
{
    const char *key = line->key;
    char *const *word = line->word;

    if (!strcmp(key, "source")) {
        ledger_set(&l->source.system, word[0]);
        ledger_set(&l->source.database, word[1]);
        ledger_set(&l->source.slot, word[2]);
        ledger_set(&l->source.publications, word[3]);
    } else if (!strcmp(key, "target")) {
        ledger_set(&l->host, word[0]);
        ledger_set(&l->catalog, word[1]);
        ledger_set(&l->namespace, word[2]);
        ledger_set(&l->staging, word[3]);
    } else if (!strcmp(key, "run")) {
        ledger_set(&l->run, word[0]);
        l->open = !strcmp(word[1], "open");
    } else if (!strcmp(key, "prepared")) {
        l->prepared = position(l, line, 0);
    } else if (!strcmp(key, "applied")) {
        l->applied = position(l, line, 0);
    } else if (!strcmp(key, "loaded")) {
        ledger_set(&l->loaded_run, word[0]);
        l->loaded = number(l, line, 1);
    } else if (!strcmp(key, "batch") || !strcmp(key, "behind")) {
        read_batch(l, line);
    } else if (!strcmp(key, "done")) {
        step_of(l, line)->done = true;
    } else if (!strcmp(key, "begun")) {
        step_of(l, line)->begun = true;
    } else if (!strcmp(key, "statement") || !strcmp(key, "shaping")) {
        ledger_set(&step_of(l, line)->statement, word[3]);
        step_of(l, line)->shaping = !strcmp(key, "shaping");
    } else if (!strcmp(key, "version")) {
        step_of(l, line)->version = (int64_t)number(l, line, 3);
    } else if (!strcmp(key, "snapshot")) {
        struct snapshot s = {.oid = (uint32_t)number(l, line, 0),
                             .attempt = number(l, line, 1),
                             .lsn = position(l, line, 2),
                             .schema = word[3],
                             .table = word[4],
                             .relfilenode = (uint32_t)number(l, line, 5),
                             .mode = *word[6] ? word[6] : MODE_USUAL,
                             .target = *word[7] ? word[7] : NULL};
        ledger_note_snapshot(l, &s);
    } else if (!strcmp(key, "context")) {
        ledger_note_context(l, word[0], word[1]);
    } else if (!strcmp(key, "error")) {
        l->error_time = (int64_t)number(l, line, 0);
        ledger_set(&l->error, word[1]);
    } else if (!unfinished_read(l, line)) {
        damaged(l, line);
    }
}

void ledger_read(struct ledger *l, const char *dir)
{
    struct buf text = {0};
    struct state_line line;
    size_t at = 0;

    memset(l, 0, sizeof *l);
    l->dir = dir;
    l->exists = state_read(dir, "load", &text);
    if (l->exists)
        while (state_next(&text, &at, &line))
            read_line(l, &line);
    buf_free(&text);
}

/* ------------------------------------------------------------------ writing */

static void step_lines(struct buf *text, const struct step *s, const char *batch)
{
    const char *run = s->batch->run;
    char step[24], version[24];

    snprintf(step, sizeof step, "%u", s->index);
    if (s->done) {
        if (!s->batch->acknowledged)
            state_line(text, "done", run, batch, step, NULL);
        return;
    }
    if (s->begun)
        state_line(text, "begun", run, batch, step, NULL);
    if (s->version >= 0) {
        snprintf(version, sizeof version, "%lld", (long long)s->version);
        state_line(text, "version", run, batch, step, version, NULL);
    }
    if (s->statement)
        state_line(text, s->shaping ? "shaping" : "statement", run, batch, step, s->statement,
                   NULL);
}

static void batch_lines(struct buf *text, const struct batch *b)
{
    char number[24], steps[24];
    struct buf left = {0};

    snprintf(number, sizeof number, "%llu", (unsigned long long)b->number);
    snprintf(steps, sizeof steps, "%u", b->nsteps);
    /* there may be many that are behind: they are a line each */
    for (unsigned i = 0; b->acknowledged && i < b->nsteps; i++)
        if (!b->steps[i].done)
            buf_printf(&left, "%s%u", left.len ? "," : "", i);
    state_line(text, b->acknowledged ? "behind" : "batch", b->run, number, LSN_TEXT(b->lsn), steps,
               left.data, NULL);
    for (unsigned i = 0; i < b->nsteps; i++)
        step_lines(text, &b->steps[i], number);
    buf_free(&left);
}

void ledger_save(const struct ledger *l)
{
    const struct source *src = &l->source;
    struct buf text = {0};
    unsigned batches = 0;
    char n[24];

    if (src->system)
        state_line(&text, "source", src->system, src->database, src->slot, src->publications, NULL);
    if (l->host)
        state_line(&text, "target", l->host, l->catalog, l->namespace, l->staging, NULL);
    if (l->run)
        state_line(&text, "run", l->run, l->open ? "open" : "recovering", LSN_TEXT(l->prepared),
                   NULL);
    state_line(&text, "prepared", LSN_TEXT(l->prepared), NULL);
    state_line(&text, "applied", LSN_TEXT(l->applied), NULL);
    if (l->loaded_run) {
        snprintf(n, sizeof n, "%llu", (unsigned long long)l->loaded);
        state_line(&text, "loaded", l->loaded_run, n, NULL);
    }
    for (const struct batch *b = l->batches; b; b = b->next, batches++)
        batch_lines(&text, b);
    for (unsigned i = 0; i < l->nsnapshots; i++) {
        const struct snapshot *s = &l->snapshots[i];
        char oid[24], file[24];
        snprintf(oid, sizeof oid, "%u", s->oid);
        snprintf(n, sizeof n, "%llu", (unsigned long long)s->attempt);
        snprintf(file, sizeof file, "%u", s->relfilenode);
        state_line(&text, "snapshot", oid, n, LSN_TEXT(s->lsn), s->schema, s->table, file, s->mode,
                   s->target, NULL);
    }
    unfinished_lines(l, &text);
    for (unsigned i = 0; i < l->ncontexts; i++)
        state_line(&text, "context", l->contexts[i].cluster, l->contexts[i].id, NULL);
    if (l->error) {
        snprintf(n, sizeof n, "%lld", (long long)l->error_time);
        state_line(&text, "error", n, l->error, NULL);
    }
    state_write(l->dir, "load", &text);
    buf_free(&text);
    load_figures[LOAD_BATCHES_LEFT].value = batches;
    load_figures[LOAD_PREPARED].value = l->prepared;
    load_figures[LOAD_APPLIED].value = l->applied;
}

void ledger_free(struct ledger *l)
{
    struct batch *b;

    while ((b = l->batches)) {
        l->batches = b->next;
        batch_free(b);
    }
    for (unsigned i = 0; i < l->nsnapshots; i++) {
        const struct snapshot *s = &l->snapshots[i];
        const char *const texts[] = {s->schema, s->table, s->mode, s->target};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            release(texts[k]);
    }
    char **owned[] = {
        &l->source.system, &l->source.database, &l->source.slot, &l->source.publications,
        &l->host,          &l->catalog,         &l->namespace,   &l->staging,
        &l->run,           &l->loaded_run,      &l->error};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(*owned[i]);
    ledger_forget_contexts(l);
    free(l->snapshots);
    unfinished_forget(l, 0);
    free(l->unfinished);
    memset(l, 0, sizeof *l);
}

void ledger_add(struct ledger *l, struct batch *b)
{
    struct batch **at = &l->batches;

    while (*at)
        at = &(*at)->next;
    *at = b;
}

void ledger_acknowledge(struct ledger *l, struct batch *b)
{
    b->acknowledged = true;
    if (b->lsn > l->applied)
        l->applied = b->lsn;
    ledger_set(&l->loaded_run, b->run);
    l->loaded = b->number;
    load_figures[LOAD_BATCHES].value++;
    load_figures[LOAD_ACKNOWLEDGED].value = (uint64_t)clock_us();
}

struct snapshot *ledger_snapshot(const struct ledger *l, uint32_t oid)
{
    for (unsigned i = 0; i < l->nsnapshots; i++)
        if (l->snapshots[i].oid == oid)
            return &l->snapshots[i];
    return NULL;
}

const struct snapshot *ledger_snapshot_of(const struct ledger *l, const char *source)
{
    for (unsigned i = 0; i < l->nsnapshots; i++) {
        const struct snapshot *s = &l->snapshots[i];
        size_t n = strlen(s->schema);
        if (!strncmp(source, s->schema, n) && source[n] == '.' && !strcmp(source + n + 1, s->table))
            return s;
    }
    return NULL;
}

struct snapshot *ledger_snapshot_in(const struct ledger *l, const char *target, uint32_t oid)
{
    for (unsigned i = 0; i < l->nsnapshots; i++) {
        struct snapshot *s = &l->snapshots[i];
        if (s->oid != oid && s->target && !strcmp(s->target, target))
            return s;
    }
    return NULL;
}

static void set(const char **text, const char *to)
{
    const char *was = *text;

    *text = to ? mem_strdup(to) : NULL;
    release(was);
}

void ledger_note_snapshot(struct ledger *l, const struct snapshot *s)
{
    struct snapshot *known = ledger_snapshot(l, s->oid);

    if (!known) {
        l->snapshots = mem_realloc(l->snapshots, (l->nsnapshots + 1) * sizeof *l->snapshots);
        known = &l->snapshots[l->nsnapshots++];
        *known = (struct snapshot){.oid = s->oid};
        set(&known->schema, s->schema);
        set(&known->table, s->table);
        set(&known->target, s->target);
    }
    known->relfilenode = s->relfilenode;
    known->attempt = s->attempt;
    known->lsn = s->lsn;
    set(&known->mode, s->mode);
}

void ledger_note_place(struct ledger *l, struct snapshot *s, const char *source, const char *target)
{
    const char *dot = strrchr(source, '.');
    char *schema = mem_printf("%.*s", dot ? (int)(dot - source) : 0, source);

    for (struct snapshot *other; (other = ledger_snapshot_in(l, target, s->oid));)
        set(&other->target, NULL);
    set(&s->schema, schema);
    set(&s->table, dot ? dot + 1 : source);
    set(&s->target, target);
    free(schema);
}

void ledger_note_context(struct ledger *l, const char *cluster, const char *id)
{
    l->contexts = mem_realloc(l->contexts, (l->ncontexts + 1) * sizeof *l->contexts);
    l->contexts[l->ncontexts++] =
        (struct ledger_context){.cluster = mem_strdup(cluster), .id = mem_strdup(id)};
}

void ledger_forget_contexts(struct ledger *l)
{
    while (l->ncontexts) {
        l->ncontexts--;
        free(l->contexts[l->ncontexts].cluster);
        free(l->contexts[l->ncontexts].id);
    }
    free(l->contexts);
    l->contexts = NULL;
}

void ledger_record_error(void *ledger, const char *text)
{
    struct ledger *l = ledger;

    l->error_time = clock_us();
    ledger_set(&l->error, text);
    ledger_save(l);
}
