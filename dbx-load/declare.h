/*
 * What a table says of itself that no row depends on: its key, as an informational PRIMARY KEY, and
 * the source's comments.
 *
 * What was declared is in two properties: pgcdc.key, the columns of the key, which are NOT NULL;
 * and pgcdc.comments, a hash of each comment by column, "" for the table's. A comment is only set
 * where the source's is another one than it was, so that those of others stay.
 */
#ifndef PGCDC_DECLARE_H
#define PGCDC_DECLARE_H

#include "table.h"

#define PROPERTY_KEY "pgcdc.key"
#define PROPERTY_COMMENTS "pgcdc.comments"

/* The properties of a table that has all of the step's declarations; NULL: it needs none. free()
 * them. */
char *declare_key(const struct step *s);
char *declare_comments(const struct step *s);

/*
 * The next statement that makes what is declared the step's; NULL: it is, and t's properties say
 * so. free() it. Done with one, or if it failed, count t->declared up. If t->made, nothing is
 * declared yet, but the properties say it was: CREATE TABLE … AS takes them, but not the rest.
 */
char *declare_sql(struct table *t, const struct step *s);

/* The same to take the key back, if t->change is about one of its columns: it is declared again
 * afterwards. */
char *declare_release_sql(struct table *t);

#endif
