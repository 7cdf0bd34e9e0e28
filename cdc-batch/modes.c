#include "modes.h"

#include <stdlib.h>
#include <string.h>

#include "glob.h"
#include "msg.h"

/* The options, and their words: the default, and the other one. */
enum option { MODE, DELETE };

static const struct {
    const char *name, *usual, *other;
} options[] = {[MODE] = {"--mode", "merge", "append"}, [DELETE] = {"--delete", "hard", "soft"}};

struct mode_rule {
    enum option option;
    char *glob;
    bool other; /* not the default */
};

static void add(struct modes *m, enum option option, const char *text)
{
    const char *equals = strrchr(text, '='), *word = equals ? equals + 1 : text;
    bool other = !strcmp(word, options[option].other);

    if (!other && strcmp(word, options[option].usual) != 0)
        msg_die(EX_USAGE, "%s wants [GLOB=]%s or [GLOB=]%s, not '%s'", options[option].name,
                options[option].usual, options[option].other, text);
    char *glob = equals ? mem_printf("%.*s", (int)(equals - text), text) : mem_strdup("*");
    if (!glob_is_for_tables(glob))
        msg_die(EX_USAGE, "%s wants schema.table before the =, not '%s'", options[option].name,
                glob);
    m->rules = mem_realloc(m->rules, (m->n + 1) * sizeof *m->rules);
    m->rules[m->n++] = (struct mode_rule){option, glob, other};
}

void modes_add_mode(struct modes *m, const char *text)
{
    add(m, MODE, text);
}

void modes_add_delete(struct modes *m, const char *text)
{
    add(m, DELETE, text);
}

void modes_free(struct modes *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->rules[i].glob);
    free(m->rules);
}

static void choose(const struct modes *m, struct relation *r, const char *name)
{
    bool other[] = {[MODE] = false, [DELETE] = false};

    for (size_t i = 0; i < m->n; i++)
        if (glob_matches(m->rules[i].glob, name))
            other[m->rules[i].option] = m->rules[i].other;
    r->append = other[MODE];
    r->soft = other[DELETE] && !r->append; /* where all events are kept, deletes are, too */
}

static void require_fit(const struct relation *r, const char *name)
{
    if (!r->append && r->unpublished) {
        char *missing = relation_unpublished(r);
        msg_die(EX_CONFIG,
                "the publication leaves %s of %s out, so that its target would go wrong: ALTER "
                "PUBLICATION … SET (publish = 'insert, update, delete, truncate'), or keep its "
                "events as rows with --mode '%s=append'",
                missing, name, name);
    }
    if (r->soft && !r->nkey)
        msg_die(EX_CONFIG,
                "%s has no key, and equal rows cannot be marked as deleted one by one: give it a "
                "primary key, or --delete '%s=hard'",
                name, name);
}

void modes_choose(const struct modes *m, struct relation *r, const struct relation *before)
{
    char *name = mem_printf("%s.%s", r->schema, r->table);

    if (before) {
        r->append = before->append;
        r->soft = before->soft;
    } else {
        choose(m, r, name);
    }
    require_fit(r, name);
    free(name);
}

void modes_forward(struct stream_out *out, struct frame *f, const struct relation *r)
{
    struct mp position = f->body;
    struct mp_token map;

    for (int i = 0; i < 3; i++) /* lsn, seq, oid */
        frame_any(f);
    position.end = f->body.p;
    struct mp definition = frame_any(f);
    mp_next(&definition, &map); /* it is one: it was unpacked before */

    msgpack_packer *pk = stream_frame(out, "relation", 4);
    pack_raw(pk, position);
    msgpack_pack_map(pk, map.len + 2);
    pack_raw(pk, definition);
    pack_str(pk, "mode");
    pack_str(pk, r->append ? options[MODE].other : options[MODE].usual);
    pack_str(pk, "deletes");
    pack_str(pk, r->soft ? options[DELETE].other : options[DELETE].usual);
    stream_done(out);
}
