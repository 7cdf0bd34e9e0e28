/* Files on their way through: nameless ones in the state folder, gone with the process. */
#ifndef PGCDC_SPOOL_H
#define PGCDC_SPOOL_H

#include <stddef.h>

/* Both end the program with 75 if there is no room. */
int spool_open(const char *dir);
void spool_write(int fd, const void *data, size_t len);

#endif
