#include "refusal.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

#define AUTHORIZATION "28000" /* invalid authorization: class 28 is never temporary */

/* The texts of Neon's are those of its proxy (neondatabase/neon, proxy/src/auth/mod.rs). */
static const struct {
    const char *text, *what_to_do;
} refusals[] = {
    /* Neon */
    {"is not allowed to connect to this endpoint",
     "that is Neon's IP Allow: add the address in Neon's console, Settings, Network Security"},
    {"from a blocked network",
     "the Neon project takes no connections from the public internet: see Settings, Network "
     "Security in Neon's console"},
    {"ndpoint ID is not specified", "connect by Neon's host name, not by an address"},
    {"password authentication failed", NULL},
    /* libpq */
    {"no password supplied", "give it in PGPASSWORD, ~/.pgpass, a service file or DATABASE_URL"},
    {"server does not support SSL",
     "TLS is needed where the server is not this machine; sslmode=disable does without, if the "
     "network can be trusted"},
    {"certificate verify failed",
     "sslrootcert has to be the CA that signed the server's certificate, and that still valid"},
    {"does not match host name",
     "connect by a name that the certificate has; hostaddr may say where that is"},
    {"root certificate file", "sslrootcert names the file of the CA, or is system"},
    {"certificate file", NULL},
    {"private key file", NULL},
    {"invalid sslmode value", NULL},
    {"definition of service", NULL},
};

void refusal_explain(struct trouble *t)
{
    if (*t->sqlstate && strcmp(t->sqlstate, "XX000"))
        return;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if (!strstr(t->text, refusals[i].text))
            continue;
        size_t n = strlen(t->text);
        strcpy(t->sqlstate, AUTHORIZATION);
        if (refusals[i].what_to_do)
            snprintf(t->text + n, sizeof t->text - n, "; %s", refusals[i].what_to_do);
        return;
    }
}

/* ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech */
char *refusal_direct_host(const char *host)
{
    static const char prefix[] = "ep-", suffix[] = "-pooler";
    size_t label = strcspn(host, "."), n = strlen(suffix);

    if (strncmp(host, prefix, strlen(prefix)) || label <= n || !host[label] ||
        strncmp(host + label - n, suffix, n))
        return NULL;
    return mem_printf("%.*s%s", (int)(label - n), host, host + label);
}
