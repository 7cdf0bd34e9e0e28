#include "inprogress.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backlog.h"
#include "figures.h"
#include "mem.h"
#include "msg.h"

#define MEMORY \
    ((size_t)64 << 10) /* bytes of a transaction before there is a file: more is no faster */

/* The messages of streaming; all have the transaction's id behind their type, but for the STOP. */
enum { START = 'S', STOP = 'E', COMMIT = 'c', ABORT = 'A' };
enum {
    AT_XID = 1,
    AT_REST = 5, /* behind the id */
    START_LEN = 6,
    STOP_LEN = 1,
    COMMIT_LEN = 30, /* id, flags, LSN, end LSN, time */
    AT_LSN = 6,
    AT_TIME = 22,
    ABORT_LEN = 9,
    BEGIN_LEN = 21 /* type, LSN, time, id */
};

/* One in progress. Its messages are put aside as they came, with ids. */
struct transaction {
    uint32_t xid;
    struct backlog *changes;
    uint32_t *aborted; /* subtransactions; sorted when they are given out */
    size_t naborted;
    size_t bytes;            /* put aside */
    bool messages;           /* there are logical ones */
    char commit[COMMIT_LEN]; /* how it ended */
    struct transaction *next;
};

struct inprogress {
    const char *spool;
    struct transaction *all, *inside; /* inside: of the piece that is being sent, or NULL */
    struct transaction *out;          /* it is being given out, or NULL … */
    bool begun;                       /* … and its begin is */
    uint32_t last_xid;                /* of the last message that was: … */
    bool last_aborted;                /* … whether it was rolled back */
    char end[COMMIT_LEN > BEGIN_LEN ? COMMIT_LEN : BEGIN_LEN]; /* the begin or commit given out */
    bool unclear;
};

static _Noreturn void bad(const char *what)
{
    msg_die(EX_DATAERR, "the server sent %s, of a transaction in progress", what);
}

static uint32_t get_xid(const char *p)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

struct inprogress *inprogress_new(const char *spool)
{
    struct inprogress *p = mem_alloc(sizeof *p);

    p->spool = spool;
    return p;
}

bool inprogress_inside(const struct inprogress *p)
{
    return p->inside != NULL;
}

bool inprogress_unclear(const struct inprogress *p)
{
    return p->unclear;
}

/* ------------------------------------------------------------------ transactions */

static struct transaction **find(struct inprogress *p, uint32_t xid)
{
    struct transaction **t = &p->all;

    while (*t && (*t)->xid != xid)
        t = &(*t)->next;
    return t;
}

static struct transaction *add(struct inprogress *p, uint32_t xid)
{
    struct transaction *t = mem_alloc(sizeof *t);

    *t = (struct transaction){.xid = xid, .changes = backlog_new(p->spool, MEMORY), .next = p->all};
    p->all = t;
    read_figures[READ_IN_PROGRESS].value++;
    return t;
}

static void drop(struct transaction **at)
{
    struct transaction *t = *at;

    *at = t->next;
    read_figures[READ_IN_PROGRESS].value--;
    read_figures[READ_ASIDE_BYTES].value -= t->bytes;
    backlog_free(t->changes);
    free(t->aborted);
    free(t);
}

void inprogress_reset(struct inprogress *p)
{
    while (p->all)
        drop(&p->all);
    p->inside = p->out = NULL;
    p->unclear = false;
}

void inprogress_free(struct inprogress *p)
{
    inprogress_reset(p);
    free(p);
}

/* ------------------------------------------------------------------ coming in */

static void take_start(struct inprogress *p, const char *data, size_t len)
{
    if (p->inside || len != START_LEN)
        bad("the beginning of a piece that cannot be");
    uint32_t xid = get_xid(data + AT_XID);
    struct transaction *t = *find(p, xid);
    bool first = data[AT_REST];
    if (first == (t != NULL))
        bad(first ? "a first piece again" : "a piece before the first");
    p->inside = t ? t : add(p, xid);
}

static void take_stop(struct inprogress *p, size_t len)
{
    if (!p->inside || len != STOP_LEN)
        bad("the end of a piece that cannot be");
    p->inside = NULL;
}

static void take_commit(struct inprogress *p, const char *data, size_t len)
{
    if (p->inside || len != COMMIT_LEN)
        bad("a commit that cannot be");
    p->out = *find(p, get_xid(data + AT_XID));
    if (!p->out)
        bad("the commit, but no piece");
    memcpy(p->out->commit, data, len);
    p->begun = false;
}

/* It is sent of what is rolled back in whole or in part, subtransactions one by one, those within
 * others too. What came before it may have had nothing of them. */
static void take_abort(struct inprogress *p, const char *data, size_t len)
{
    if (p->inside || len != ABORT_LEN)
        bad("a rollback that cannot be");
    uint32_t xid = get_xid(data + AT_XID), sub = get_xid(data + AT_REST);
    struct transaction **at = find(p, xid), *t = *at;
    if (!t)
        return;
    if (sub == xid) {
        drop(at);
        return;
    }
    if (t->messages)
        p->unclear = true;
    t->aborted = mem_realloc(t->aborted, (t->naborted + 1) * sizeof *t->aborted);
    t->aborted[t->naborted++] = sub;
}

/* A row, a relation and so on. Types are of no use, nor is the origin, which has no id. */
static void put_aside(struct inprogress *p, const char *data, size_t len)
{
    struct transaction *t = p->inside;

    switch (len ? *data : 0) {
    case 'O':
    case 'Y':
        return;
    case 'M':
        t->messages = true;
        break;
    case 'R':
    case 'I':
    case 'U':
    case 'D':
    case 'T':
        break;
    default:
        bad("a message that cannot be in a piece");
    }
    if (len < AT_REST)
        bad("a message that ends early");
    backlog_put(t->changes, data, len);
    t->bytes += len;
    read_figures[READ_ASIDE_BYTES].value += len;
}

bool inprogress_take(struct inprogress *p, const char *data, size_t len)
{
    switch (len ? *data : 0) {
    case START:
        take_start(p, data, len);
        return true;
    case STOP:
        take_stop(p, len);
        return true;
    case COMMIT:
        take_commit(p, data, len);
        return true;
    case ABORT:
        take_abort(p, data, len);
        return true;
    default:
        if (p->inside)
            put_aside(p, data, len);
        return p->inside;
    }
}

/* ------------------------------------------------------------------ going out */

static int compare(const void *a, const void *b)
{
    uint32_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static bool is_aborted(struct inprogress *p, uint32_t xid)
{
    const struct transaction *t = p->out;

    if (xid != p->last_xid)
        p->last_aborted =
            t->naborted && bsearch(&xid, t->aborted, t->naborted, sizeof xid, compare);
    p->last_xid = xid;
    return p->last_aborted;
}

static void make_begin(struct inprogress *p)
{
    const char *commit = p->out->commit;

    p->end[0] = 'B';
    memcpy(p->end + 1, commit + AT_LSN, 8);
    memcpy(p->end + 9, commit + AT_TIME, 8);
    memcpy(p->end + 17, commit + AT_XID, 4);
}

/* Which is the one of streaming without its id. */
static void make_commit(struct inprogress *p)
{
    p->end[0] = 'C';
    memcpy(p->end + 1, p->out->commit + AT_REST, COMMIT_LEN - AT_REST);
}

bool inprogress_next(struct inprogress *p, char **data, size_t *len)
{
    struct transaction *t = p->out;

    if (!t)
        return false;
    *data = p->end;
    if (!p->begun) {
        if (t->naborted)
            qsort(t->aborted, t->naborted, sizeof *t->aborted, compare);
        p->last_xid = 0;
        p->last_aborted = false;
        make_begin(p);
        *len = BEGIN_LEN;
        p->begun = true;
        return true;
    }
    while (backlog_take(t->changes, data, len)) {
        if (is_aborted(p, get_xid(*data + AT_XID)))
            continue;
        (*data)[AT_REST - 1] = **data; /* the type takes the place of the id's last byte */
        *data += AT_REST - 1;
        *len -= AT_REST - 1;
        return true;
    }
    make_commit(p);
    *data = p->end;
    *len = COMMIT_LEN - 4;
    drop(find(p, t->xid));
    p->out = NULL;
    return true;
}
