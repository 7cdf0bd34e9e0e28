/*
 * Where the workspace is and how to sign in. A flag goes before the environment (DATABRICKS_HOST,
 * DATABRICKS_WAREHOUSE_ID, DATABRICKS_HTTP_PATH); the token comes from DATABRICKS_TOKEN only.
 */
#ifndef PGCDC_CONFIG_H
#define PGCDC_CONFIG_H

#include <stdbool.h>

struct config {
    char *base; /* https://host[:port], nothing behind it */
    char *host; /* host[:port]; names the target in the state */
    char *token;
    char *warehouse; /* the SQL warehouse's id */
};

/* Fills config; each text may be NULL. What is missing or wrong exits with 78 and says how to set
 * it. */
void config_read(struct config *config, const char *host, const char *http_path,
                 const char *warehouse_id);
void config_free(struct config *config);

/*
 * The parts of it. They return NULL, or what is wrong as a text to show.
 * config_base: https:// is added to a bare host; path and query are dropped; http:// is taken for
 * the local machine only, because the token would travel in clear text.
 * config_warehouse: /sql/1.0/warehouses/ID or /sql/1.0/endpoints/ID.
 */
const char *config_base(const char *host, char **base);
const char *config_warehouse(const char *http_path, char **id);

#endif
