#include "encryption.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "source.h"

/* What the connection was given, from wherever; a copy. "": nothing. */
static char *option(PGconn *c, const char *keyword)
{
    PQconninfoOption *all = PQconninfo(c);
    const char *value = "";

    for (PQconninfoOption *o = all; o && o->keyword; o++)
        if (!strcmp(o->keyword, keyword) && o->val)
            value = o->val;
    char *copy = mem_strdup(value);
    PQconninfoFree(all);
    return copy;
}

/* A socket's folder, or a loopback address. */
static bool is_here(const char *host)
{
    bool is_ipv4 = strspn(host, "0123456789.") == strlen(host);

    return !*host || *host == '/' || *host == '@' || !strcmp(host, "localhost") ||
           !strcmp(host, "::1") || (is_ipv4 && !strncmp(host, "127.", 4));
}

/* Of each host its address decides, where there is one. */
static bool all_are_here(PGconn *c)
{
    char *hosts = option(c, "host"), *addresses = option(c, "hostaddr");
    char *host_rest = hosts, *address_rest = addresses;
    bool here = true;

    while (host_rest || address_rest) {
        const char *host = host_rest ? strsep(&host_rest, ",") : "";
        const char *address = address_rest ? strsep(&address_rest, ",") : "";
        here &= is_here(*address ? address : host);
    }
    free(hosts);
    free(addresses);
    return here;
}

bool encryption_is_missing(PGconn *c)
{
    char *mode = option(c, "sslmode");
    bool weak = !strcmp(mode, "prefer") || !strcmp(mode, "allow");

    free(mode);
    return weak && !all_are_here(c);
}

void encryption_report(const struct run *run, const struct verdicts *v)
{
    PGconn *c = run->loop.sql;
    char *mode = option(c, "sslmode");
    const char *host = PQhost(c);

    if (source_is_socket(c))
        verdict_pass(v, "connected by a socket of this machine");
    else if (PQgssEncInUse(c))
        verdict_pass(v, "connected to %s, encrypted by GSSAPI", host);
    else if (!PQsslInUse(c))
        verdict_pass(v, "connected to %s without TLS%s", host,
                     all_are_here(c) ? ": it is this machine" : ", as sslmode=disable says");
    else
        verdict_pass(v, "connected to %s by %s (sslmode=%s)", host, PQsslAttribute(c, "protocol"),
                     mode);
    if (PQsslInUse(c) && strcmp(mode, "verify-full"))
        verdict_note(
            v,
            "whether it is %s that answers is not verified: sslmode=verify-full does that, "
            "with the CA in sslrootcert",
            host);
    free(mode);
}
