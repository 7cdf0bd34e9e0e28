#include "volume.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "msg.h"

#define FILES "/api/2.0/fs/files"
#define DIRECTORIES "/api/2.0/fs/directories"

char *volume_url(const char *prefix, const char *path, const char *query)
{
    struct buf b = {0};

    buf_str(&b, prefix);
    while (*path) {
        size_t n = strcspn(path, "/");
        http_segment(&b, path, n);
        path += n;
        if (*path)
            buf_char(&b, *path++);
    }
    buf_str(&b, query);
    return b.data;
}

struct http_request *volume_put(const char *path, int fd, uint64_t size)
{
    struct http_request *r = http_request("PUT", volume_url(FILES, path, "?overwrite=true"));

    r->fd = fd;
    r->size = size;
    return r;
}

struct http_request *volume_delete(const char *path)
{
    return http_request("DELETE", volume_url(FILES, path, ""));
}

struct http_request *volume_delete_directory(const char *path)
{
    return http_request("DELETE", volume_url(DIRECTORIES, path, ""));
}

struct http_request *volume_make_directory(const char *path)
{
    return http_request("PUT", volume_url(DIRECTORIES, path, ""));
}

/* Takes a page of a listing; returns the token of the next one, or NULL. */
static char *take_page(struct volume_list *list, const json_t *root)
{
    const json_t *contents = json_object_get(root, "contents");
    const char *next = json_string_value(json_object_get(root, "next_page_token"));

    for (size_t i = 0; i < json_array_size(contents); i++) {
        const json_t *item = json_array_get(contents, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!name || !*name || strchr(name, '/'))
            continue;
        list->entry = mem_realloc(list->entry, (list->n + 1) * sizeof *list->entry);
        list->entry[list->n++] = (struct volume_entry){
            .name = mem_strdup(name),
            .is_directory = json_is_true(json_object_get(item, "is_directory")),
        };
    }
    return next && *next ? mem_strdup(next) : NULL;
}

struct http_request *volume_ask_page(const char *path, const char *token)
{
    struct buf query = {0};

    buf_str(&query, token ? "?page_token=" : "");
    if (token)
        http_segment(&query, token, strlen(token));
    struct http_request *r = http_request("GET", volume_url(DIRECTORIES, path, query.data));
    buf_free(&query);
    return r;
}

char *volume_page(struct http_request *r, const char *path, struct volume_list *list)
{
    list->status = r->status;
    json_t *root = r->status == 200 ? json_loadb(r->body.data, r->body.len, 0, NULL) : NULL;
    if (!root && r->status != 404) {
        char *what = mem_printf("listing %s", path);
        http_fail(r, what, VOLUME_RIGHT(path));
    }
    char *token = take_page(list, root);
    json_decref(root);
    http_request_free(r);
    return token;
}

void volume_list(struct http *h, const char *path, struct volume_list *list)
{
    char *token = NULL;

    memset(list, 0, sizeof *list);
    do {
        struct http_request *r = http_run(h, volume_ask_page(path, token));
        free(token);
        token = volume_page(r, path, list);
    } while (token);
}

void volume_list_free(struct volume_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->entry[i].name);
    free(list->entry);
    memset(list, 0, sizeof *list);
}
