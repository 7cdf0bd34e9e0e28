/* Whose state this is. */
#ifndef PGCDC_CLAIM_H
#define PGCDC_CLAIM_H

#include "ledger.h"

/* Refuses (exit 78, saying what differs and what to do) to go on with the state of another source
 * or target; writes this one into the ledger otherwise. */
void claim_ledger(struct ledger *l, const struct start *start, const char *host,
                  const char *catalog, const char *namespace, const char *staging);

#endif
