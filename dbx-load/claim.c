#include "claim.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "msg.h"

static void same(const struct ledger *l, const char *what, const char *known, const char *given,
                 const char *advice)
{
    if (strcmp(known, given))
        msg_die(EX_CONFIG, "the state is that of another %s (%s, now %s); %s dir=%s", what, known,
                given, advice, l->dir);
}

/* The OID that a list name=oid,… gives a publication; its length in *len. NULL: none. */
static const char *oid_of(const char *list, const char *name, size_t name_len, size_t *len)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n > name_len && list[name_len] == '=' && !memcmp(list, name, name_len)) {
            *len = n - name_len - 1;
            return list + name_len + 1;
        }
        list += n + (list[n] == ',');
    }
    return NULL;
}

/* A publication that was recreated published nothing in between. */
static void same_publications(const struct ledger *l, const char *known, const char *given)
{
    for (const char *p = known; *p;) {
        size_t n = strcspn(p, ","), name = n, old, new;
        while (name && p[name - 1] != '=') /* the last =, for the name may contain one */
            name--;
        if (name) {
            const char *a = oid_of(p, p, name - 1, &old);
            const char *b = oid_of(given, p, name - 1, &new);
            if (a && b && (old != new || memcmp(a, b, old)))
                msg_die(EX_CONFIG,
                        "publication %.*s was recreated, and changes made in between are lost: "
                        "pgcdc-read --on-slot-loss resnapshot reads all tables again dir=%s",
                        (int)name - 1, p, l->dir);
        }
        p += n + (p[n] == ',');
    }
}

void claim_ledger(struct ledger *l, const struct start *start, const char *host,
                  const char *catalog, const char *namespace, const char *staging)
{
    static const char other_source[] = "give this pipeline a --state folder of its own, or move "
                                       "this one away to read the tables again";
    static const char other_target[] = "give this target a --state folder of its own, or go back "
                                       "to the one before";

    const struct source *source = &start->source;

    if (l->host) {
        same(l, "cluster", l->source.system, source->system, other_source);
        same(l, "database", l->source.database, source->database, other_source);
        same(l, "slot", l->source.slot, source->slot, other_source);
        if (!start->anew)
            same_publications(l, l->source.publications, source->publications);
        same(l, "workspace", l->host, host, other_target);
        same(l, "catalog", l->catalog, catalog, other_target);
        same(l, "namespace", l->namespace, namespace, other_target);
        if (l->batches)
            same(l, "staging folder", l->staging, staging,
                 "batches are still there; run once with the --volume and --name before");
    }
    ledger_set(&l->source.system, source->system);
    ledger_set(&l->source.database, source->database);
    ledger_set(&l->source.slot, source->slot);
    ledger_set(&l->source.publications, source->publications);
    ledger_set(&l->host, host);
    ledger_set(&l->catalog, catalog);
    ledger_set(&l->namespace, namespace);
    ledger_set(&l->staging, staging);
}
