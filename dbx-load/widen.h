/* Types of columns, as DESCRIBE and as the stream write them: decimal(10,2), DECIMAL(10, 2). */
#ifndef PGCDC_WIDEN_H
#define PGCDC_WIDEN_H

#include <stdbool.h>

bool widen_is_same(const char *a, const char *b);

/* Whether Delta's type widening changes a column from the one type to the other without touching
 * its rows. The list is that of Databricks ("type widening") and of Delta Lake 4.3, which agree. */
bool widen_is_possible(const char *from, const char *to);

/* The element's type of ARRAY<…>, with the `>` and what is behind it; NULL if it is none. */
const char *widen_element(const char *type);

#endif
