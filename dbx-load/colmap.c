#include "colmap.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"

enum { ATTNUM_MAX = 1600 };

static void add(struct colmap *m, int attnum, const char *name, bool dropped, struct arena *a)
{
    m->entries[m->n++] = (struct colmap_entry){
        .attnum = attnum, .name = arena_copy(a, name, strlen(name) + 1), .dropped = dropped};
}

static bool take_columns(struct colmap *m, json_t *columns, struct arena *a)
{
    const char *key;
    json_t *name;

    json_object_foreach(columns, key, name)
    {
        char *end;
        long attnum = strtol(key, &end, 10);
        if (*end || attnum < 1 || attnum > ATTNUM_MAX || !json_string_length(name))
            return false;
        add(m, (int)attnum, json_string_value(name), false, a);
    }
    return true;
}

static bool take_dropped(struct colmap *m, json_t *dropped, struct arena *a)
{
    const char *name;
    json_t *attnum;

    json_object_foreach(dropped, name, attnum)
    {
        json_int_t k = json_integer_value(attnum);
        if (!json_is_integer(attnum) || k < 0 || k > ATTNUM_MAX || !*name)
            return false;
        add(m, (int)k, name, true, a);
    }
    return true;
}

static bool take_adding(struct colmap *m, const json_t *adding)
{
    for (size_t i = 0; i < json_array_size(adding); i++) {
        json_int_t k = json_integer_value(json_array_get(adding, i));
        unsigned at = 0;
        while (at < m->n && (m->entries[at].attnum != k || m->entries[at].dropped))
            at++;
        if (at == m->n)
            return false;
        m->entries[at].adding = true;
    }
    return true;
}

static bool has_one_name_twice(const struct colmap *m)
{
    for (unsigned i = 0; i < m->n; i++)
        for (unsigned k = 0; k < i; k++)
            if (names_equal(m->entries[i].name, m->entries[k].name))
                return true;
    return false;
}

struct colmap *colmap_parse(const char *text, struct arena *a)
{
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *columns = json_object_get(root, "columns"), *dropped = json_object_get(root, "dropped");
    json_int_t oid = json_integer_value(json_object_get(root, "oid"));
    json_int_t seq = json_integer_value(json_object_get(root, "seq"));
    const char *lsn = json_string_value(json_object_get(root, "lsn"));
    struct colmap *m = arena_alloc(a, sizeof *m);

    *m = (struct colmap){.oid = (uint32_t)oid, .seq = (uint64_t)seq};
    m->entries = arena_alloc(a, (json_object_size(columns) + json_object_size(dropped) + 1) *
                                    sizeof *m->entries);
    bool good = oid > 0 && oid <= UINT32_MAX && seq >= 0 && lsn && lsn_parse(lsn, &m->lsn) &&
                json_is_object(columns) && take_columns(m, columns, a) &&
                take_dropped(m, dropped, a) && take_adding(m, json_object_get(root, "adding")) &&
                !has_one_name_twice(m);
    json_decref(root);
    return good ? m : NULL;
}

/* Columns by attnum, then what was dropped by name. */
static int compare(const void *a, const void *b)
{
    const struct colmap_entry *x = a, *y = b;

    if (x->dropped != y->dropped)
        return x->dropped - y->dropped;
    return x->dropped ? strcmp(x->name, y->name)
                      : (x->attnum > y->attnum) - (x->attnum < y->attnum);
}

char *colmap_text(const struct colmap *m, struct arena *a)
{
    json_t *columns = json_object(), *dropped = json_object(), *adding = json_array();
    struct colmap_entry *sorted = arena_copy(a, m->entries, m->n * sizeof *sorted);

    qsort(sorted, m->n, sizeof *sorted, compare);
    for (unsigned i = 0; i < m->n; i++) {
        const struct colmap_entry *e = &sorted[i];
        char key[16];
        snprintf(key, sizeof key, "%d", e->attnum);
        if (e->dropped)
            json_object_set_new(dropped, e->name, json_integer(e->attnum));
        else
            json_object_set_new(columns, key, json_string(e->name));
        if (e->adding)
            json_array_append_new(adding, json_integer(e->attnum));
    }
    json_t *root = json_pack("{sI ss sI so}", "oid", (json_int_t)m->oid, "lsn", LSN_TEXT(m->lsn),
                             "seq", (json_int_t)m->seq, "columns", columns);
    if (json_object_size(dropped))
        json_object_set(root, "dropped", dropped);
    if (json_array_size(adding))
        json_object_set(root, "adding", adding);
    char *text = json_dumps(root, JSON_COMPACT);
    char *copy = arena_copy(a, text, strlen(text) + 1);
    free(text);
    json_decref(adding);
    json_decref(dropped);
    json_decref(root);
    return copy;
}
