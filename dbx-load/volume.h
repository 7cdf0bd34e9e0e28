/*
 * Files in a Unity Catalog volume (the Files API). Paths are /Volumes/catalog/schema/volume/…, as
 * SQL sees them.
 */
#ifndef PGCDC_VOLUME_H
#define PGCDC_VOLUME_H

#include "http.h"
#include "rights.h"

/* What using the volume takes that a path is in. */
#define VOLUME_RIGHT(path)  \
    (&(const struct right){ \
        .privileges = "READ VOLUME, WRITE VOLUME", .on = "VOLUME", .staging = (path)})

/* Requests to send with http_send. fd is taken over; its first size bytes become the file, whatever
 * was there before. Missing directories above are made by volume_make_directory. */
struct http_request *volume_put(const char *path, int fd, uint64_t size);
struct http_request *volume_delete(const char *path);
struct http_request *volume_delete_directory(const char *path); /* an empty one */
struct http_request *volume_make_directory(const char *path);

struct volume_entry {
    char *name;
    bool is_directory;
};
struct volume_list {
    struct volume_entry *entry;
    size_t n;
    int status; /* of HTTP; 404: there is no such directory, and the list is empty */
};

/* Lists a directory; turns the loop meanwhile. What neither exists nor doesn't ends the program. */
/* The same a page at a time. volume_page frees the answer, and returns the token of the next page,
 * to be freed, or NULL: that was the last. The first has no token. */
struct http_request *volume_ask_page(const char *path, const char *token);
char *volume_page(struct http_request *r, const char *path, struct volume_list *list);

void volume_list(struct http *h, const char *path, struct volume_list *list);
void volume_list_free(struct volume_list *list);

/* The API's path for one of ours: prefix, then path, percent-encoded by segment; free() it. */
char *volume_url(const char *prefix, const char *path, const char *query);

#endif
