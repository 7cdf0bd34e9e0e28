#include "profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { PIECE = 4096, FILE_MAX = 1 << 20 };

char *profile_file(const char *path)
{
    FILE *file = fopen(path, "re");
    struct buf text = {0};
    size_t n;

    if (!file)
        return NULL;
    do {
        buf_reserve(&text, PIECE);
        n = fread(text.data + text.len, 1, PIECE, file);
        text.len += n;
    } while (n == PIECE && text.len < FILE_MAX);
    int failed = ferror(file) ? errno : text.len >= FILE_MAX ? EFBIG : 0;
    fclose(file);
    if (failed) {
        buf_free(&text);
        errno = failed;
        return NULL;
    }
    text.data[text.len] = '\0';
    return text.data;
}

/* The text without blanks around it; free() it. */
static char *trimmed(const char *text, size_t len)
{
    while (len && strchr(" \t\r", text[len - 1]))
        len--;
    size_t blanks = 0;
    while (blanks < len && strchr(" \t", text[blanks]))
        blanks++;
    return mem_printf("%.*s", (int)(len - blanks), text + blanks);
}

bool profile_read(const char *text, const char *section,
                  void (*take)(void *arg, const char *key, const char *value), void *arg)
{
    bool inside = false, found = false;

    while (*text) {
        size_t len = strcspn(text, "\n");
        char *line = trimmed(text, len), *end;
        text += len + (text[len] == '\n');
        if (*line == '[' && (end = strchr(line, ']'))) {
            inside = strlen(section) == (size_t)(end - line - 1) &&
                     !strncmp(line + 1, section, strlen(section));
            found = found || inside;
        } else if (inside && *line && *line != '#' && *line != ';') {
            size_t n = strcspn(line, "=:");
            char *key = trimmed(line, n);
            char *value =
                trimmed(line + n + (line[n] != '\0'), strlen(line + n + (line[n] != '\0')));
            take(arg, key, value);
            free(key);
            free(value);
        }
        free(line);
    }
    return found;
}
