#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mem.h"
#include "msg.h"

#define HOST_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
#define ID_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

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
    *base = mem_printf("%s://%.*s", scheme, (int)len, host);
    return NULL;
}

const char *config_warehouse(const char *http_path, char **id)
{
    static const char *const prefixes[] = {"sql/1.0/warehouses/", "sql/1.0/endpoints/"};

    http_path += *http_path == '/';
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(http_path, prefixes[i], n))
            continue;
        size_t len = strspn(http_path + n, ID_BYTES);
        if (!len || http_path[n + len])
            return "has no warehouse id at its end";
        *id = mem_strdup(http_path + n);
        return NULL;
    }
    if (!strncmp(http_path, "sql/protocolv1/", 15))
        return "is that of a cluster; use a SQL warehouse: its path begins with "
               "/sql/1.0/warehouses/";
    return "is not that of a SQL warehouse: /sql/1.0/warehouses/ID";
}

static const char *setting(const char *flag, const char *variable)
{
    const char *value = flag ? flag : getenv(variable);

    return value && *value ? value : NULL;
}

void config_read(struct config *config, const char *host, const char *http_path,
                 const char *warehouse_id)
{
    const char *wrong, *token = setting(NULL, "DATABRICKS_TOKEN");
    bool id_from_flag = warehouse_id || !http_path;

    memset(config, 0, sizeof *config);
    host = setting(host, "DATABRICKS_HOST");
    http_path = setting(http_path, "DATABRICKS_HTTP_PATH");
    warehouse_id = setting(warehouse_id, "DATABRICKS_WAREHOUSE_ID");
    if (!host)
        msg_die(EX_CONFIG, "no workspace given: set DATABRICKS_HOST, or use --host");
    if ((wrong = config_base(host, &config->base)))
        msg_die(EX_CONFIG, "the host %s host=%s", wrong, host);
    config->host = mem_strdup(strstr(config->base, "://") + 3);

    if (warehouse_id && id_from_flag) {
        if (strspn(warehouse_id, ID_BYTES) < strlen(warehouse_id))
            msg_die(EX_CONFIG, "this is not the id of a SQL warehouse id=%s", warehouse_id);
        config->warehouse = mem_strdup(warehouse_id);
    } else if (!http_path) {
        msg_die(EX_CONFIG, "no SQL warehouse given: set DATABRICKS_WAREHOUSE_ID or "
                           "DATABRICKS_HTTP_PATH, or use --warehouse-id or --http-path");
    } else if ((wrong = config_warehouse(http_path, &config->warehouse))) {
        msg_die(EX_CONFIG, "the HTTP path %s http_path=%s", wrong, http_path);
    }

    size_t len = token ? strlen(token) : 0;
    if (!len)
        msg_die(EX_CONFIG, "no token given: make a personal access token in the workspace's "
                           "settings and set DATABRICKS_TOKEN");
    for (size_t i = 0; i < len; i++)
        if (token[i] <= ' ' || token[i] > '~')
            msg_die(EX_CONFIG, "DATABRICKS_TOKEN contains a blank or a control character; set it "
                               "to the token alone");
    config->token = mem_strdup(token);
}

void config_free(struct config *config)
{
    free(config->base);
    free(config->host);
    free(config->token);
    free(config->warehouse);
    memset(config, 0, sizeof *config);
}
