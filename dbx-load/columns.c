#include "columns.h"

#include <stdlib.h>
#include <string.h>

#include "colmap.h"
#include "fail.h"
#include "msg.h"
#include "names.h"
#include "widen.h"

/* A column of ours: of the definition, of the property, or both. */
struct item {
    int attnum;                       /* 0: an earlier table's */
    const char *noted;                /* its name in the property; NULL: it is not there */
    bool dropped, adding;             /* what the property says of it */
    bool back;                        /* it was dropped, and is wanted again */
    const struct load_column *wanted; /* of the definition; NULL: the source has it no more */
    const struct load_column *at;     /* which one of the table it is; NULL: none */
    const char *name;                 /* what it is to be called there; NULL: it is to go */
};

struct work {
    const struct columns_have *have;
    const struct step *step;
    struct arena *a;
    const struct colmap *property; /* or NULL */
    const struct colmap *map;      /* the same; NULL, if it is of another table's columns */
    unsigned n;
    struct item *items;
};

/* Takes the text over into the arena. */
static const char *kept(const struct work *w, char *text)
{
    const char *copy = arena_copy(w->a, text, strlen(text) + 1);

    free(text);
    return copy;
}

/* The name of a column of ours while others get theirs. */
static const char *aside(const struct work *w, const struct item *item)
{
    return kept(w, mem_printf("_cdc_column_%d", item->attnum));
}

const struct load_column *columns_find(const struct load_column *columns, unsigned n,
                                       const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (names_equal(columns[i].name, name))
            return &columns[i];
    return NULL;
}

static const struct load_column *in_table(const struct work *w, const char *name)
{
    return columns_find(w->have->columns, w->have->n, name);
}

static bool is_wanted(const struct work *w, const char *name)
{
    return columns_find(w->step->columns, w->step->ncolumns, name);
}

/* Whether the property gives the name to another column. */
static bool is_taken(const struct work *w, const char *name, const struct item *by)
{
    for (unsigned i = 0; i < w->n; i++)
        if (&w->items[i] != by && w->items[i].noted && names_equal(w->items[i].noted, name))
            return true;
    return false;
}

/* ------------------------------------------------------------------ what there is */

static struct item *add_item(struct work *w, int attnum, const struct load_column *wanted)
{
    struct item *item = &w->items[w->n++];

    *item = (struct item){.attnum = attnum, .wanted = wanted};
    return item;
}

static bool fits(const struct load_column *have, const struct load_column *wanted)
{
    return widen_is_same(have->type, wanted->type) || widen_is_possible(have->type, wanted->type);
}

/* Where the property's column of this attnum goes on; one that was kept when the source ceased to
 * send it may have come back. */
static struct item *known_item(struct work *w, const struct load_column *wanted)
{
    struct item *back = NULL;

    for (unsigned i = 0; w->map && i < w->n; i++) {
        struct item *item = &w->items[i];
        const struct load_column *at;
        if (item->attnum != wanted->attnum)
            continue;
        if (!item->dropped)
            return item;
        if ((at = in_table(w, item->noted)) && fits(at, wanted))
            back = item;
    }
    if (back) {
        back->dropped = false;
        back->back = true;
    }
    return back;
}

static void locate(struct work *w, struct item *item)
{
    if (!w->map) {
        item->at = in_table(w, item->noted ? item->noted : item->wanted->name);
        return;
    }
    if (!item->noted)
        return;
    if (item->wanted)
        item->at = in_table(w, aside(w, item));
    if (!item->at)
        item->at = in_table(w, item->noted);
    if (!item->at && item->wanted && !is_taken(w, item->wanted->name, item))
        item->at = in_table(w, item->wanted->name);
}

static void refuse_type(const struct work *w, const struct load_column *at,
                        const struct load_column *wanted)
{
    fail(EX_CONFIG,
         "column %s of %s is %s, but the source's column needs %s: drop the table and move the "
         "state folder away to read the tables again",
         at->name, w->have->table, at->type, wanted->type);
}

/* A column of a type that it cannot get is as if the source had dropped it and added another one;
 * only a snapshot brings that one's values. */
static void retire(struct work *w, struct item *item)
{
    if (!w->step->batch->is_snapshot)
        refuse_type(w, item->at, item->wanted);
    add_item(w, item->attnum, item->wanted);
    item->wanted = NULL;
    item->adding = false;
    if (!w->map)
        item->attnum = 0;
}

/* A free name for a column that is kept, but whose name another one gets. The same is found again
 * until it has been given. */
static const char *name_to_keep(const struct work *w, const struct item *item)
{
    const char *first = kept(w, mem_printf("_cdc_dropped_%d_%s", item->attnum, item->at->name));

    for (unsigned n = 1;; n++) {
        const char *to = n > 1 ? kept(w, mem_printf("%s_%u", first, n)) : first;
        bool free_name = !in_table(w, to) && !is_wanted(w, to);
        for (const struct item *i = w->items; free_name && i < item; i++)
            free_name = !i->name || !names_equal(i->name, to);
        if (free_name)
            return to;
    }
}

static void name_item(const struct work *w, struct item *item)
{
    if (item->wanted)
        item->name = item->wanted->name;
    else if (!item->at || (w->step->drops && !item->dropped))
        item->name = NULL;
    else
        item->name = is_wanted(w, item->at->name) ? name_to_keep(w, item) : item->at->name;
}

static void gather(struct work *w)
{
    const struct step *s = w->step;
    unsigned known = w->property ? w->property->n : 0;

    w->items = arena_alloc(w->a, (known + 2 * s->ncolumns + 1) * sizeof *w->items);
    for (unsigned i = 0; i < known; i++) {
        const struct colmap_entry *e = &w->property->entries[i];
        if (!w->map && is_wanted(w, e->name))
            continue; /* by its name it is the new table's */
        struct item *item = add_item(w, w->map ? e->attnum : 0, NULL);
        item->noted = e->name;
        item->dropped = e->dropped;
        item->adding = w->map && e->adding;
    }
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const struct load_column *wanted = &s->columns[i];
        if (!wanted->attnum)
            continue;
        struct item *item = known_item(w, wanted);
        if (!item)
            item = add_item(w, wanted->attnum, wanted);
        item->wanted = wanted;
    }
    for (unsigned i = 0; i < w->n; i++)
        locate(w, &w->items[i]);
    for (unsigned i = 0, n = w->n; i < n; i++) {
        struct item *item = &w->items[i];
        if (item->wanted && item->at && !fits(item->at, item->wanted))
            retire(w, item);
    }
    for (unsigned i = 0; i < w->n; i++)
        name_item(w, &w->items[i]);
}

/* Whether it still has to be renamed. In a table that was not ours, a name that the source did not
 * change may be written with other cases. */
static bool moves(const struct work *w, const struct item *item)
{
    if (!item->at || !item->name)
        return false;
    if (item->wanted && (w->map ? !strcmp(item->noted, item->name) : !w->property))
        return !names_equal(item->at->name, item->name);
    return strcmp(item->at->name, item->name);
}

/* ------------------------------------------------------------------ the property */

enum phase {
    MOVING, /* where everything is, and where what is kept will be */
    ADDING, /* all is in its place, the new columns will be */
    DONE
};

static void put(struct colmap *m, const struct item *item, const char *name, bool dropped,
                bool adding)
{
    m->entries[m->n++] = (struct colmap_entry){item->attnum, name, dropped, adding};
}

static char *map_text(const struct work *w, enum phase phase, lsn_t lsn, uint64_t seq)
{
    struct colmap m = {.oid = w->step->oid, .lsn = lsn, .seq = seq};

    m.entries = arena_alloc(w->a, (2 * w->n + 1) * sizeof *m.entries);
    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i];
        if (item->wanted && item->at)
            put(&m, item, moves(w, item) ? item->at->name : item->name, false,
                item->adding && phase != DONE);
        else if (item->wanted && phase == ADDING)
            put(&m, item, item->name, false, true);
        else if (item->at)
            put(&m, item, item->at->name, item->dropped || !item->attnum || phase != MOVING, false);
        if (!item->wanted && moves(w, item))
            put(&m, item, item->name, true, false);
    }
    return colmap_text(&m, w->a);
}

/* The property as it has to be, or no change if it says so already: a position that is newer is no
 * reason to write it. */
static struct change note(const struct work *w, enum phase phase)
{
    const struct step *s = w->step;

    if (w->map && !strcmp(map_text(w, phase, w->map->lsn, w->map->seq), colmap_text(w->map, w->a)))
        return (struct change){.kind = CHANGE_NONE};
    return (struct change){.kind = CHANGE_NOTE,
                           .text = map_text(w, phase, s->relation.lsn, s->relation.seq)};
}

/* ------------------------------------------------------------------ changes, in their order */

/* Whether a value of this type may be one that is kept as text. */
static bool is_fallible(const char *type)
{
    static const char *const never[] = {"string", "binary", "boolean", "smallint",          "int",
                                        "bigint", "float",  "double",  "map<string,string>"};

    for (unsigned i = 0; i < sizeof never / sizeof *never; i++)
        if (widen_is_same(type, never[i]))
            return false;
    return true;
}

/* Rows name columns in texts of what a column cannot hold, and events in lists of what did not
 * change. */
static bool is_named_in_rows(const struct work *w, const struct load_column *c)
{
    return (is_fallible(c->type) && in_table(w, "_cdc_unrepresentable")) ||
           in_table(w, "_cdc_unchanged");
}

/* The name in rows goes before the column does: that can be done twice. */
static struct change move(const struct work *w, const struct item *item, const char *to)
{
    struct change c = {
        .kind = to ? CHANGE_RENAME : CHANGE_DROP, .name = item->at->name, .text = to};

    if (!w->have->moved && is_named_in_rows(w, item->at)) {
        c.kind = CHANGE_TEXTS;
        if (item->noted && names_equal(item->noted, c.name))
            c.name = item->noted;
    }
    return c;
}

static struct change drops(const struct work *w)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->items[i].at && !w->items[i].name)
            return move(w, &w->items[i], NULL);
    return (struct change){.kind = CHANGE_NONE};
}

static _Noreturn void refuse_foreign(const struct work *w, const char *name)
{
    fail(EX_CONFIG,
         "%s has a column %s that is not the source's, which has one of that name now: rename or "
         "drop it; or, if it is the source's, ALTER TABLE %s UNSET TBLPROPERTIES "
         "('" PROPERTY_COLUMNS "'), to match the columns by their names",
         w->have->table, name, w->have->table);
}

static const struct item *item_at(const struct work *w, const struct load_column *at)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->items[i].at == at)
            return &w->items[i];
    return NULL;
}

/* A name that says more than where a column is has to be in the property before: that of a column
 * that is kept, and all of a table that had none. */
static struct change plans(const struct work *w)
{
    struct change none = {.kind = CHANGE_NONE};

    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i];
        if (moves(w, item) &&
            (!w->map || item->back || (!item->wanted && !is_taken(w, item->name, item))))
            return note(w, MOVING);
    }
    return none;
}

static struct change renames(const struct work *w)
{
    bool any = false;

    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i];
        if (!moves(w, item))
            continue;
        any = true;
        if (!in_table(w, item->name) && (!item->wanted || !is_taken(w, item->name, item)))
            return move(w, item, item->name);
    }
    /* that may make a name free */
    return any ? note(w, MOVING) : (struct change){.kind = CHANGE_NONE};
}

/* Columns that wait for each other's names, and for nothing else. */
static struct change detours(const struct work *w)
{
    const struct item *cycle = NULL;

    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i], *other;
        const struct load_column *in_the_way;
        if (!moves(w, item) || !(in_the_way = in_table(w, item->name)))
            continue;
        if (!(other = item_at(w, in_the_way)))
            refuse_foreign(w, in_the_way->name);
        if (other->wanted && is_wanted(w, item->at->name))
            cycle = item;
    }
    return cycle ? move(w, cycle, aside(w, cycle)) : (struct change){.kind = CHANGE_NONE};
}

static struct change widens(const struct work *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i];
        if (item->at && item->wanted && !widen_is_same(item->at->type, item->wanted->type))
            return (struct change){
                .kind = CHANGE_WIDEN, .name = item->at->name, .text = item->wanted->type};
    }
    return (struct change){.kind = CHANGE_NONE};
}

static void require_addable(const struct work *w, const struct item *item)
{
    const struct load_column *in_the_way = in_table(w, item->name);

    if (in_the_way)
        refuse_foreign(w, in_the_way->name);
    if (item->noted && !item->adding && !w->step->batch->is_snapshot)
        fail(EX_CONFIG,
             "column %s of %s is gone: put it back as %s, or drop the table and move the state "
             "folder away to read the tables again",
             item->name, w->have->table, item->wanted->type);
}

static struct change adds(const struct work *w)
{
    const struct step *s = w->step;
    struct change c = {.kind = CHANGE_ADD};

    c.columns = arena_alloc(w->a, (s->ncolumns + 1) * sizeof(void *));
    for (unsigned i = 0; i < w->n; i++) {
        if (!w->items[i].wanted || w->items[i].at)
            continue;
        require_addable(w, &w->items[i]);
        c.columns[c.ncolumns++] = w->items[i].wanted;
    }
    struct change first = {.kind = CHANGE_NONE};
    if (c.ncolumns)
        first = note(w, ADDING);
    if (first.kind)
        return first;
    for (unsigned i = 0; i < s->ncolumns; i++) {
        const struct load_column *wanted = &s->columns[i], *at = in_table(w, wanted->name);
        if (wanted->attnum)
            continue;
        if (!at)
            c.columns[c.ncolumns++] = wanted;
        else if (!widen_is_same(at->type, wanted->type))
            refuse_type(w, at, wanted);
    }
    return c.ncolumns ? c : first;
}

static bool has_default(const struct step *s, int attnum)
{
    for (unsigned i = 0; i < s->ndefaults; i++)
        if (s->defaults[i].attnum == attnum)
            return true;
    return false;
}

/* Rows of a table without a key get the default's text, or NULL's, in _cdc_row in any case; events
 * stay as they were. */
static struct change fills(const struct work *w)
{
    const struct step *s = w->step;
    bool keyless = !s->nkey, any = false;
    struct change c = {.kind = CHANGE_FILL};

    c.columns = arena_alloc(w->a, (w->n + 1) * sizeof(void *));
    for (unsigned i = 0; i < w->n; i++) {
        const struct item *item = &w->items[i];
        if (!item->wanted || !item->adding)
            continue;
        c.columns[c.ncolumns++] = item->wanted;
        any |= keyless || has_default(s, item->attnum);
    }
    if (!any || w->have->filled || s->batch->is_snapshot || strcmp(step_mode(s), MODE_USUAL))
        c.kind = CHANGE_NONE;
    return c;
}

struct change columns_next(const struct columns_have *have, const struct step *step,
                           struct arena *a)
{
    static struct change (*const in_turn[])(const struct work *) = {drops,  plans, renames, detours,
                                                                    widens, adds,  fills};
    struct work w = {.have = have, .step = step, .a = a};

    if (have->property && !(w.property = colmap_parse(have->property, a)))
        fail(EX_CONFIG,
             "the property " PROPERTY_COLUMNS " of %s is damaged; ALTER TABLE %s UNSET "
             "TBLPROPERTIES ('" PROPERTY_COLUMNS "'), to match the columns by their names",
             have->table, have->table);
    if (w.property && w.property->oid == step->oid)
        w.map = w.property;
    if (w.map && !step->batch->is_snapshot &&
        (step->relation.lsn < w.map->lsn ||
         (step->relation.lsn == w.map->lsn && step->relation.seq < w.map->seq)))
        return (struct change){.kind = CHANGE_NONE}; /* the table has gone on since */
    gather(&w);
    for (unsigned i = 0; i < sizeof in_turn / sizeof *in_turn; i++) {
        struct change c = in_turn[i](&w);
        if (c.kind)
            return c;
    }
    return note(&w, DONE);
}
