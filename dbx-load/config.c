#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mem.h"
#include "msg.h"
#include "profile.h"

#define HOST_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
#define ID_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* ------------------------------------------------------------------ parts */

static bool is_local(const char *host, size_t len)
{
    static const char *const names[] = {"localhost", "127.", "[::1]"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (len < n || strncasecmp(host, names[i], n))
            continue;
        if (names[i][n - 1] == '.') /* an address: digits and dots, not 127.example.com */
            return strspn(host, "0123456789.") == strcspn(host, ":/?#");
        if (len == n || host[n] == ':')
            return true;
    }
    return false;
}

const char *config_base(const char *host, char **base)
{
    const char *scheme = "https";

    if (!strncasecmp(host, "https://", 8)) {
        host += 8;
    } else if (!strncasecmp(host, "http://", 7)) {
        host += 7;
        scheme = "http";
    }
    size_t len = strcspn(host, "/?#");
    if (!len || strspn(host, HOST_BYTES) < len)
        return "is not a host name";
    if (!strcmp(scheme, "http") && !is_local(host, len))
        return "would send the token in clear text; use https://";
    if (len > 4 && !strncmp(host + len - 4, ":443", 4) && !strcmp(scheme, "https"))
        len -= 4;
    *base = mem_printf("%s://%.*s", scheme, (int)len, host);
    return NULL;
}

static bool is_id(const char *text)
{
    return *text && !text[strspn(text, ID_BYTES)];
}

const char *config_http_path(const char *http_path, char **warehouse, char **cluster)
{
    static const char *const prefixes[] = {"sql/1.0/warehouses/", "sql/1.0/endpoints/"};
    static const char of_cluster[] = "sql/protocolv1/o/";

    http_path += *http_path == '/';
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(http_path, prefixes[i], n))
            continue;
        if (!is_id(http_path + n))
            return "has no warehouse id at its end";
        *warehouse = mem_strdup(http_path + n);
        return NULL;
    }
    if (!strncmp(http_path, of_cluster, strlen(of_cluster))) {
        const char *id = strchr(http_path + strlen(of_cluster), '/');
        if (!id || !is_id(id + 1))
            return "has no cluster id at its end";
        *cluster = mem_strdup(id + 1);
        return NULL;
    }
    return "is neither that of a SQL warehouse, /sql/1.0/warehouses/ID, nor that of a cluster, "
           "sql/protocolv1/o/ORGANIZATION/ID";
}

/* ------------------------------------------------------------------ settings */

enum {
    HOST,
    TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    AUTH_TYPE,
    HTTP_PATH,
    WAREHOUSE_ID,
    CLUSTER_ID,
    SETTINGS
};

static const struct {
    const char *key, *variable;
} names[SETTINGS] = {
    [HOST] = {"host", "DATABRICKS_HOST"},
    [TOKEN] = {"token", "DATABRICKS_TOKEN"},
    [CLIENT_ID] = {"client_id", "DATABRICKS_CLIENT_ID"},
    [CLIENT_SECRET] = {"client_secret", "DATABRICKS_CLIENT_SECRET"},
    [AUTH_TYPE] = {"auth_type", "DATABRICKS_AUTH_TYPE"},
    [HTTP_PATH] = {"http_path", "DATABRICKS_HTTP_PATH"},
    [WAREHOUSE_ID] = {"warehouse_id", "DATABRICKS_WAREHOUSE_ID"},
    [CLUSTER_ID] = {"cluster_id", "DATABRICKS_CLUSTER_ID"},
};

struct settings {
    char *value[SETTINGS];  /* or NULL */
    char *origin[SETTINGS]; /* how to name it in a message */
    char *file, *profile;   /* what is being read */
};

static bool is_target(int i)
{
    return i == HTTP_PATH || i == WAREHOUSE_ID || i == CLUSTER_ID;
}

static bool has_target(const struct settings *s)
{
    return s->value[HTTP_PATH] || s->value[WAREHOUSE_ID] || s->value[CLUSTER_ID];
}

/* What was set before goes first. origin is taken over. */
static void set(struct settings *s, int i, const char *value, char *origin)
{
    if (!value || !*value || s->value[i]) {
        free(origin);
        return;
    }
    s->value[i] = mem_strdup(value);
    s->origin[i] = origin;
}

static void read_options(struct settings *s, const struct config_options *o)
{
    set(s, HOST, o->host, mem_strdup("--host"));
    set(s, HTTP_PATH, o->http_path, mem_strdup("--http-path"));
    set(s, WAREHOUSE_ID, o->warehouse_id, mem_strdup("--warehouse-id"));
    set(s, CLUSTER_ID, o->cluster_id, mem_strdup("--cluster-id"));
}

static void read_environment(struct settings *s)
{
    bool chosen = has_target(s);

    for (int i = 0; i < SETTINGS; i++)
        if (!(chosen && is_target(i)))
            set(s, i, getenv(names[i].variable), mem_strdup(names[i].variable));
}

static void take_line(void *arg, const char *key, const char *value)
{
    struct settings *s = arg;

    for (int i = 0; i < SETTINGS; i++)
        if (!strcasecmp(key, names[i].key))
            set(s, i, value,
                mem_printf("%s of profile %s in %s", names[i].key, s->profile, s->file));
}

static void take_default(void *arg, const char *key, const char *value)
{
    char **name = arg;

    if (!strcasecmp(key, "default_profile") && *value && !*name)
        *name = mem_strdup(value);
}

/* ~/ is not the shell's where the variable was set by something else. */
static char *file_path(void)
{
    const char *path = getenv("DATABRICKS_CONFIG_FILE"), *home = getenv("HOME");

    if (!path || !*path)
        path = "~/.databrickscfg";
    if (strncmp(path, "~/", 2))
        return mem_strdup(path);
    return mem_printf("%s%s", home ? home : "", path + 1);
}

/* The target of a profile counts only where none was chosen before it. */
static void read_profile(struct settings *s, const char *wanted)
{
    struct settings found = {.file = file_path(), .profile = wanted ? mem_strdup(wanted) : NULL};
    char *text = profile_file(found.file);
    bool chosen = has_target(s);

    if (!text && (wanted || errno != ENOENT))
        msg_die(EX_CONFIG, "the file with the profiles cannot be read: %s file=%s", strerror(errno),
                found.file);
    if (text && !found.profile)
        profile_read(text, "__settings__", take_default, &found.profile);
    bool named = found.profile;
    if (!named)
        found.profile = mem_strdup("DEFAULT");
    if (text && !profile_read(text, found.profile, take_line, &found) && named)
        msg_die(EX_CONFIG, "there is no such profile: [%s] file=%s", found.profile, found.file);
    for (int i = 0; i < SETTINGS; i++) {
        bool wanted_here = !(chosen && is_target(i));
        set(s, i, wanted_here ? found.value[i] : NULL, found.origin[i]);
        free(found.value[i]);
    }
    free(text);
    free(found.file);
    free(found.profile);
}

static void read_settings(struct settings *s, const struct config_options *o)
{
    const char *profile = o->profile ? o->profile : getenv("DATABRICKS_CONFIG_PROFILE");

    read_options(s, o);
    read_environment(s);
    if (profile && *profile)
        read_profile(s, profile);
    else if (!s->value[HOST] && !s->value[TOKEN] && !s->value[CLIENT_ID] &&
             !s->value[CLIENT_SECRET])
        read_profile(s, NULL);
}

/* ------------------------------------------------------------------ what they mean */

static void choose_host(struct config *config, const struct settings *s)
{
    const char *wrong;

    if (!s->value[HOST])
        msg_die(EX_CONFIG, "no workspace given: set DATABRICKS_HOST, or use --host or --profile");
    if ((wrong = config_base(s->value[HOST], &config->base)))
        msg_die(EX_CONFIG, "the host %s host=%s", wrong, s->value[HOST]);
    config->host = mem_strdup(strstr(config->base, "://") + 3);
}

static void choose_target(struct config *config, const struct settings *s)
{
    const char *warehouse = s->value[WAREHOUSE_ID], *cluster = s->value[CLUSTER_ID];
    const char *path = s->value[HTTP_PATH], *wrong;

    if (warehouse && cluster)
        msg_die(EX_CONFIG, "both a SQL warehouse and a cluster are given (%s, %s): leave one",
                s->origin[WAREHOUSE_ID], s->origin[CLUSTER_ID]);
    if ((warehouse && !is_id(warehouse)) || (cluster && !is_id(cluster)))
        msg_die(EX_CONFIG, "this is not the id of a SQL warehouse or a cluster id=%s",
                warehouse ? warehouse : cluster);
    if (warehouse)
        config->warehouse = mem_strdup(warehouse);
    else if (cluster)
        config->cluster = mem_strdup(cluster);
    else if (!path)
        msg_die(EX_CONFIG, "no SQL warehouse given: set DATABRICKS_WAREHOUSE_ID or "
                           "DATABRICKS_HTTP_PATH, or use --warehouse-id or --http-path");
    else if ((wrong = config_http_path(path, &config->warehouse, &config->cluster)))
        msg_die(EX_CONFIG, "the HTTP path %s http_path=%s", wrong, path);
}

/* Copies a secret. It goes into a header, where nothing else may stand in it. */
static char *secret(const struct settings *s, int i)
{
    for (const char *p = s->value[i]; *p; p++)
        if (*p <= ' ' || *p > '~')
            msg_die(EX_CONFIG, "%s contains a blank or a control character; set it to the %s alone",
                    s->origin[i], i == TOKEN ? "token" : "text");
    return mem_strdup(s->value[i]);
}

static void choose_sign_in(struct config *config, const struct settings *s)
{
    const char *type = s->value[AUTH_TYPE];
    bool has_token = s->value[TOKEN];
    int half = s->value[CLIENT_ID] ? CLIENT_ID : CLIENT_SECRET;
    bool has_half = s->value[half], has_client = s->value[CLIENT_ID] && s->value[CLIENT_SECRET];

    if (type && strcmp(type, "pat") && strcmp(type, "oauth-m2m"))
        msg_die(EX_CONFIG,
                "this way to sign in is not there; use pat or oauth-m2m auth_type=%s (%s)", type,
                s->origin[AUTH_TYPE]);
    if (has_token && has_half && !type)
        msg_die(EX_CONFIG,
                "there are two ways to sign in: pat (%s) and oauth-m2m (%s); leave one, or say "
                "which with DATABRICKS_AUTH_TYPE",
                s->origin[TOKEN], s->origin[half]);
    if (type ? !strcmp(type, "pat") : has_token) {
        if (!has_token)
            msg_die(EX_CONFIG, "no token given: set DATABRICKS_TOKEN");
        config->token = secret(s, TOKEN);
        config->origin = mem_strdup(s->origin[TOKEN]);
        return;
    }
    if (!has_client && (has_half || type))
        msg_die(EX_CONFIG, "a service principal signs in with both: set DATABRICKS_CLIENT_ID and "
                           "DATABRICKS_CLIENT_SECRET");
    if (!has_client)
        msg_die(EX_CONFIG, "no token given: make a personal access token in the workspace's "
                           "settings and set DATABRICKS_TOKEN; or, for a service principal, set "
                           "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET");
    config->client_id = secret(s, CLIENT_ID);
    config->client_secret = secret(s, CLIENT_SECRET);
    config->origin = mem_strdup(s->origin[CLIENT_SECRET]);
}

void config_read(struct config *config, const struct config_options *options)
{
    struct settings s = {0};

    memset(config, 0, sizeof *config);
    read_settings(&s, options);
    choose_host(config, &s);
    choose_target(config, &s);
    choose_sign_in(config, &s);
    for (int i = 0; i < SETTINGS; i++) {
        free(s.value[i]);
        free(s.origin[i]);
    }
}

void config_free(struct config *config)
{
    char **texts[] = {&config->base,      &config->host,          &config->token,
                      &config->client_id, &config->client_secret, &config->origin,
                      &config->warehouse, &config->cluster};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(*texts[i]);
    memset(config, 0, sizeof *config);
}
