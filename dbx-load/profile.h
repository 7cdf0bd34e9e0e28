/*
 * A profile of ~/.databrickscfg, the INI file of Databricks' CLI and SDKs: sections [NAME] with
 * lines `key = value`, comments from # or ; at the beginning of a line to its end. What is in
 * [DEFAULT] is a profile of its own and not inherited by the others.
 */
#ifndef PGCDC_PROFILE_H
#define PGCDC_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a whole file; free() it. NULL, with errno set: it cannot be read. NUL bytes end it. */
char *profile_file(const char *path);

/* Calls take for each key and value of the section, in order; key and value are valid in it only.
 * False: there is no such section. */
bool profile_read(const char *text, const char *section,
                  void (*take)(void *arg, const char *key, const char *value), void *arg);

#endif
