/*
 * Where the workspace is, how to sign in and what runs the statements: from options, else the
 * environment, else a profile of ~/.databrickscfg, as Databricks' own tools have it.
 */
#ifndef PGCDC_CONFIG_H
#define PGCDC_CONFIG_H

struct config {
    char *base; /* https://host[:port], nothing behind it */
    char *host; /* host[:port]; names the target in the state */
    /* Either a personal access token, or a service principal's id and secret. */
    char *token;
    char *client_id, *client_secret;
    char *origin; /* where that was found, for messages: DATABRICKS_TOKEN, … */
    /* Either the SQL warehouse's id, or the cluster's. */
    char *warehouse, *cluster;
};

/* What options say; each may be NULL. No option takes a secret: everybody on the machine can see
 * the options of a process. */
struct config_options {
    const char *profile, *host, *http_path, *warehouse_id, *cluster_id;
};

/* Fills config. What is missing or wrong exits with 78 and says how to set it. */
void config_read(struct config *config, const struct config_options *options);
void config_free(struct config *config);

/*
 * The parts of it. They return NULL, or what is wrong as a text to show.
 * config_base: https:// is added to a bare host; path, query and the usual port are dropped;
 * http:// is taken for the local machine only, because the token would travel in clear text.
 * config_http_path: /sql/1.0/warehouses/ID or /sql/1.0/endpoints/ID of a SQL warehouse,
 * sql/protocolv1/o/ORGANIZATION/ID of a cluster; sets the one or the other.
 */
const char *config_base(const char *host, char **base);
const char *config_http_path(const char *http_path, char **warehouse, char **cluster);

#endif
