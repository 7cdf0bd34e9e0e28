#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "msg.h"
#include "state.h"

static bool usable(const char *dir)
{
    struct stat st;

    return !stat(dir, &st) && S_ISDIR(st.st_mode) && !access(dir, R_OK | W_OK | X_OK);
}

/* Whether the folder could be made: its parent is there, and may be written. */
static bool can_be_made(const char *dir)
{
    char *parent = mem_strdup(dir);
    struct stat st;
    size_t len = strlen(parent);

    while (len > 1 && parent[len - 1] == '/')
        parent[--len] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    bool can = stat(dir, &st) && errno == ENOENT && usable(slash ? parent : ".");
    free(parent);
    return can;
}

unsigned check_state(const char *dir)
{
    if (!dir) {
        msg_line("ok: no state folder; batches close by the clock");
        return 0;
    }
    if (!usable(dir)) {
        if (can_be_made(dir)) {
            msg_line("ok: the state folder will be made dir=%s", dir);
            return 0;
        }
        msg_line("not ok: the state folder cannot be used; give this user the right to read and "
                 "write it dir=%s",
                 dir);
        return 1;
    }
    if (!state_lock_is_free(dir, "batch")) {
        msg_line("not ok: another %s is at work with the state folder; stop it, or give this "
                 "pipeline a folder of its own dir=%s",
                 msg_program(), dir);
        return 1;
    }
    msg_line("ok: the state folder is usable dir=%s", dir);
    return 0;
}
