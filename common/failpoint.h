/*
 * Places where a test kills the program: FAILPOINT("after-upload"). Only in builds with
 * -DPGCDC_FAILPOINTS; in others it is nothing. CDC_FAILPOINT=name[:n] in the environment kills (as
 * SIGKILL does) at the n-th passage; with CDC_FAILPOINT_GROUP the whole process group, which is the
 * pipeline.
 */
#ifndef PGCDC_FAILPOINT_H
#define PGCDC_FAILPOINT_H

#ifdef PGCDC_FAILPOINTS
void failpoint(const char *name);
#define FAILPOINT(name) failpoint(name)
#else
#define FAILPOINT(name) ((void)0)
#endif

#endif
