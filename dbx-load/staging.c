#include "staging.h"

#include <stdlib.h>
#include <string.h>

#include "quote.h"

bool staging_is_valid(const char *path)
{
    unsigned parts = 0;

    if (strncmp(path, "/Volumes/", 9))
        return false;
    for (const char *p = path; *p; parts++) {
        size_t n = strcspn(++p, "/");
        if (!n || (n == 1 && *p == '.') || (n == 2 && !memcmp(p, "..", 2)))
            return false;
        p += n;
    }
    return parts >= 5;
}

char *staging_part(const char *path, unsigned n)
{
    for (path++; n; n--)
        path += strcspn(path, "/") + 1;
    return mem_printf("%.*s", (int)strcspn(path, "/"), path);
}

char *staging_schema_sql(const char *path)
{
    char *catalog = staging_part(path, 1), *schema = staging_part(path, 2);
    struct buf b = {0};

    buf_str(&b, "CREATE SCHEMA IF NOT EXISTS ");
    quote_name(&b, catalog);
    buf_char(&b, '.');
    quote_name(&b, schema);
    free(catalog);
    free(schema);
    return b.data;
}

char *staging_volume_sql(const char *path)
{
    char *volume = staging_part(path, 3);
    struct buf b = {0};

    buf_str(&b, "CREATE VOLUME IF NOT EXISTS ");
    staging_table(&b, path, volume);
    free(volume);
    return b.data;
}

void staging_table(struct buf *b, const char *path, const char *table)
{
    char *catalog = staging_part(path, 1), *schema = staging_part(path, 2);

    quote_table(b, catalog, schema, table);
    free(catalog);
    free(schema);
}
