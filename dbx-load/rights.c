#include "rights.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "quote.h"
#include "staging.h"

#define ME "/api/2.0/preview/scim/v2/Me"

static struct http *http;
static const char *principal;

void rights_begin(struct http *h, const char *client_id)
{
    http = h;
    principal = client_id;
}

/* Appends who is signed in, quoted. */
static void put_principal(struct buf *b)
{
    static bool asking; /* its own refusal needs no name */

    if (!principal && http && !asking) {
        asking = true;
        struct http_request *r = http_run(http, http_request("GET", mem_strdup(ME)));
        json_t *me = r->status == 200 ? json_loadb(r->body.data, r->body.len, 0, NULL) : NULL;
        const char *name = json_string_value(json_object_get(me, "userName"));
        principal = name && *name ? mem_strdup(name) : NULL;
        json_decref(me);
        http_request_free(r);
        asking = false;
    }
    quote_name(b, principal ? principal : "the user of the token");
}

static void put_grant(struct buf *b, const char *privileges, const char *on, const char *name)
{
    buf_printf(b, "%sGRANT %s ON %s %s TO ", b->len ? "; " : "", privileges, on, name);
    put_principal(b);
}

/* The use of the catalog and of the schema, and what is needed on the one of these or in it. */
static void put_grants(struct buf *b, const struct right *r, char *names[3])
{
    static const char *const levels[] = {"CATALOG", "SCHEMA"};
    struct buf path = {0};

    for (size_t i = 0; i < 2; i++) {
        bool here = !strcmp(r->on, levels[i]);
        char *privileges =
            mem_printf("USE %s%s%s", levels[i], here ? ", " : "", here ? r->privileges : "");
        buf_str(&path, i ? "." : "");
        quote_name(&path, names[i]);
        put_grant(b, privileges, levels[i], path.data);
        free(privileges);
        if (here) {
            buf_free(&path);
            return;
        }
    }
    buf_char(&path, '.');
    quote_name(&path, names[2]);
    put_grant(b, r->privileges, r->on, path.data);
    buf_free(&path);
}

char *rights_sentence(const struct right *r)
{
    const char *given[] = {r->catalog, r->schema, r->name};
    char *names[3];
    struct buf b = {0};

    for (unsigned i = 0; i < 3; i++)
        names[i] =
            r->staging ? staging_part(r->staging, i + 1) : mem_strdup(given[i] ? given[i] : "");
    if (!strcmp(r->privileges, "OWNER")) {
        buf_printf(&b, "ALTER %s %s OWNER TO ", r->on, r->name);
        put_principal(&b);
    } else if (!*names[0]) {
        buf_printf(&b, "%s on the %s %s for ", r->privileges, r->on, names[2]);
        put_principal(&b);
    } else {
        put_grants(&b, r, names);
    }
    if (!strcmp(r->on, "VOLUME"))
        buf_str(&b, " (and a token whose scope includes files)");
    for (unsigned i = 0; i < 3; i++)
        free(names[i]);
    return b.data;
}
