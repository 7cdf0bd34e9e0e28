/* --check: the state folder is all that this stage uses. */
#ifndef CDC_BATCH_CHECK_H
#define CDC_BATCH_CHECK_H

/* Says on stderr what was found, changes nothing, returns the number of failures. */
unsigned check_state(const char *dir);

#endif
