#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "failpoint.h"
#include "msg.h"
#include "purge.h"

enum { PRICE = 2 }; /* steps that a table which is behind does for each that it gets */

struct steps *steps_new(struct load *load)
{
    struct steps *s = mem_alloc(sizeof *s);

    s->load = load;
    return s;
}

void steps_free(struct steps *s)
{
    struct table *t, *next;

    if (!s)
        return;
    HASH_ITER(hh, s->tables, t, next)
    {
        HASH_DEL(s->tables, t);
        table_free(t);
    }
    free(s);
}

/* ------------------------------------------------------------------ all tables */

static struct table *table_of(struct steps *s, struct step *step)
{
    if (!step->table) {
        struct table *new = table_new(step), *known;
        HASH_FIND_STR(s->tables, new->name, known);
        if (known) {
            table_free(new);
        } else {
            new->steps = s;
            HASH_ADD_KEYPTR(hh, s->tables, new->name, strlen(new->name), new);
            known = new;
        }
        step->table = known;
    }
    return step->table;
}

/* Whether the shape of the one is older than that of the other. */
static bool is_older(const struct step *a, const struct step *b)
{
    if (a->relation.lsn != b->relation.lsn)
        return a->relation.lsn < b->relation.lsn;
    return a->relation.seq != b->relation.seq ? a->relation.seq < b->relation.seq : a->oid < b->oid;
}

/* Whether of two tables the one, whose shape is older, comes first: they have one name there, or
 * both get new names, and may want each other's. */
static bool are_in_order(struct steps *s, struct step *older, const struct step *step)
{
    const struct ledger *l = &s->load->ledger;
    const struct table *there = table_of(s, older);

    return is_older(older, step) &&
           (there == step->table ||
            (apply_old_name(l, step, step->table->name) && apply_old_name(l, older, there->name)));
}

/* Whether a step that is not done has to come before this one: of the same table, whatever its name
 * there, or of another in the order of the source. */
static bool comes_later(struct steps *s, const struct step *step)
{
    bool before = true;

    for (struct batch *b = s->load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++) {
            struct step *o = &b->steps[i];
            before &= o != step;
            if (o->done || o == step)
                continue;
            if (o->oid == step->oid ? before : are_in_order(s, o, step))
                return true;
        }
    return false;
}

/* Whether a snapshot has to wait because another table has its name there, which an older step,
 * that may be still to come if there are changes at all, renames. If there is none, the other was
 * dropped in the source. */
static bool waits_for_name(const struct steps *s, const struct step *step)
{
    const struct ledger *l = &s->load->ledger;
    const struct snapshot *other =
        step->batch->is_snapshot ? ledger_snapshot_in(l, step->table->name, step->oid) : NULL;

    if (!other)
        return false;
    if (l->prepared && l->prepared < step->batch->snapshot.lsn)
        return true;
    for (const struct batch *b = l->batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps; i++) {
            const struct step *o = &b->steps[i];
            if (!o->done && o->oid == other->oid && is_older(o, step))
                return true;
        }
    return false;
}

/* Whether one more job may go to a table that is behind: one is kept for the others. */
static bool has_job_for_behind(const struct steps *s)
{
    unsigned n = 1;

    for (const struct table *t = s->tables; t; t = t->hh.next)
        n += t->step && t->step->batch->acknowledged;
    return n == 1 || n < s->load->jobs;
}

/* The first step that may begin: it waits for no other step. */
static struct step *next_step(struct steps *s)
{
    bool behind = has_job_for_behind(s);

    for (struct batch *b = s->load->ledger.batches; b; b = b->next)
        for (unsigned i = 0; i < b->nsteps && (behind || !b->acknowledged); i++) {
            struct step *step = &b->steps[i];
            if (!step->done && !table_of(s, step)->step && !comes_later(s, step) &&
                !waits_for_name(s, step))
                return step;
        }
    return NULL;
}

void steps_start(struct steps *s)
{
    struct step *step, *begun[JOBS_MAX];
    unsigned n = 0;

    while (s->busy < s->load->jobs && (step = next_step(s))) {
        s->busy++;
        step->begun = true;
        step->table->step = step;
        begun[n++] = step;
    }
    if (n)
        ledger_save(&s->load->ledger);
    for (unsigned i = 0; i < n; i++)
        apply_step(begun[i]->table);
}

bool steps_busy(const struct steps *s)
{
    return s->busy > 0;
}

/* ------------------------------------------------------------------ acknowledging */

/* Whether the table has steps left in batches that are acknowledged. */
static bool is_behind(const struct ledger *l, uint32_t oid)
{
    for (const struct batch *b = l->batches; b; b = b->next)
        for (unsigned i = 0; b->acknowledged && i < b->nsteps; i++)
            if (!b->steps[i].done && b->steps[i].oid == oid)
                return true;
    return false;
}

/* Whether the batch need not wait for the step: it is done, or of a table whose snapshot is being
 * applied. */
static bool is_free(const struct ledger *l, const struct step *step)
{
    if (step->done || step->batch->is_snapshot)
        return true;
    for (const struct batch *b = l->batches; b != step->batch; b = b->next)
        if (b->is_snapshot && b->snapshot.oid == step->oid && !batch_is_done(b))
            return true;
    return false;
}

/* A table that is behind may stay so as long as it gains on what is left to it. */
static bool can_be_acknowledged(struct steps *s, const struct batch *b)
{
    const struct ledger *l = &s->load->ledger;

    for (unsigned i = 0; i < b->nsteps; i++) {
        struct step *step = &b->steps[i];
        if (!is_free(l, step) && !(is_behind(l, step->oid) && table_of(s, step)->credit >= PRICE))
            return false;
    }
    for (unsigned i = 0; i < b->nsteps; i++)
        if (!is_free(l, &b->steps[i]))
            b->steps[i].table->credit -= PRICE;
    return true;
}

static void forget(struct load *load, struct batch *b)
{
    msg_info("loaded batch=%llu steps=%u applied=%s", (unsigned long long)b->number, b->nsteps,
             LSN_TEXT(load->ledger.applied));
    if (b->nsteps)
        batch_forget(b, load->ledger.dir);
    batch_free(b);
}

bool steps_acknowledge(struct steps *s)
{
    struct ledger *l = &s->load->ledger;
    struct batch *done = NULL, **tail = &done, **at = &l->batches, *b;
    bool first = true, any = false;

    while ((b = *at)) {
        if (!b->acknowledged && first && (first = can_be_acknowledged(s, b))) {
            ledger_acknowledge(l, b);
            any = true;
        }
        if (b->acknowledged && batch_is_done(b)) {
            *at = b->next;
            b->next = NULL;
            *tail = b;
            tail = &b->next;
            any = true;
        } else {
            at = &b->next;
        }
    }
    if (!any)
        return false;
    ledger_save(l);
    for (b = l->batches; b; b = b->next)
        if (b->acknowledged)
            purge_done(s->load, b);
    while ((b = done)) {
        done = b->next;
        purge_done(s->load, b);
        forget(s->load, b);
    }
    return true;
}

/* ------------------------------------------------------------------ a step is done */

void steps_ended(struct steps *s, struct table *t, const struct step *step)
{
    bool whole = batch_is_done(step->batch);

    t->credit = is_behind(&s->load->ledger, step->oid) ? t->credit + 1 : 0;
    s->busy--;
    if (!steps_acknowledge(s))
        ledger_save(&s->load->ledger);
    if (!whole)
        FAILPOINT("between-tables");
    steps_start(s);
}
