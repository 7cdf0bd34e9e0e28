#include "timeline.h"

#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "progress.h"

/* Finds where a timeline was left in a history file: lines of its number, a tab, an LSN, a tab and
 * a reason. False: it is no ancestor. */
static bool find_switch(const char *history, uint32_t timeline, lsn_t *left_at)
{
    for (const char *line = history; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char *end, text[LSN_SIZE];
        unsigned long number = strtoul(line, &end, 10);
        if (number != timeline || *end != '\t')
            continue;
        size_t n = strcspn(++end, "\t\n");
        if (n >= sizeof text)
            return false;
        memcpy(text, end, n);
        text[n] = '\0';
        return lsn_parse(text, left_at);
    }
    return false;
}

void timeline_test(struct run *run, PGconn *c, struct verdicts *v)
{
    const struct load *load = &run->loop.load;
    lsn_t sent = load->prepared > load->applied ? load->prepared : load->applied, left_at;
    uint32_t before = progress_timeline(run);
    struct trouble t;

    if (!before || before == run->timeline ||
        (load->source.system && strcmp(load->source.system, run->source.system)))
        return; /* and another cluster's is no matter of ours */
    char *sql = mem_printf("TIMELINE_HISTORY %u", run->timeline);
    PGresult *r = source_query(&run->loop, c, &t, sql, NULL);
    free(sql);
    if (!r || PQntuples(r) != 1 || PQnfields(r) != 2)
        trouble_die(&t, "cannot read the history of the server's timeline");
    if (!find_switch(PQgetvalue(r, 0, 1), before, &left_at))
        verdict_fail(v,
                     "the server is on timeline %u, which does not come from timeline %u, that the "
                     "target is of; remove the state folder to read all tables anew",
                     run->timeline, before);
    else if (sent > left_at)
        verdict_fail(
            v,
            "the server is on timeline %u, which left timeline %u at %s, and the target has "
            "changes up to %s: it was promoted, or restored, without the last of them; "
            "remove the state folder to read all tables anew",
            run->timeline, before, LSN_TEXT(left_at), LSN_TEXT(sent));
    else
        verdict_pass(v, "the server's timeline %u has all that the target has", run->timeline);
    PQclear(r);
}
