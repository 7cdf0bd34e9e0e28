/*
 * Rights that are missing, as the statements that grant them.
 */
#ifndef PGCDC_RIGHTS_H
#define PGCDC_RIGHTS_H

#include "http.h"

/* What an object of Unity Catalog takes beside the use of its catalog and schema. Names are not
 * quoted. A right to something else, without catalog, is said in words. */
struct right {
    const char *privileges;              /* "CREATE TABLE"; "OWNER": then name is quoted in full */
    const char *on;                      /* CATALOG, SCHEMA, VOLUME or TABLE, or what else it is */
    const char *catalog, *schema, *name; /* as far as `on` has them */
    const char *staging;                 /* or a path in a volume, which has them all */
};

/* Who needs them: the service principal of this id or, if it is NULL, whoever http's token belongs
 * to, which is asked when the first sentence is made. Both are kept. */
void rights_begin(struct http *h, const char *client_id);

/* "GRANT … ON … TO `who`", each that it may take, with semicolons between them; free() it. */
char *rights_sentence(const struct right *r);

#endif
