#include "arguments.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "glob.h"
#include "mem.h"
#include "msg.h"

static const char help[] =
    "usage: pgcdc-read --slot SLOT --publication P[,P] [OPTION]... > stream\n"
    "Reads a snapshot and then the changes of PostgreSQL tables, and writes them as a stream of\n"
    "change events, cdc-stream(5).\n"
    "\n"
    "  --slot SLOT        the logical replication slot (plugin pgoutput)\n"
    "  --publication P,…  the publications\n"
    "  -d CONNINFO        the database, as libpq has it, without a password; default:\n"
    "                     the URI in DATABASE_URL, else libpq's own variables and defaults\n"
    "  --name NAME        the pipeline's name (default: that of the slot)\n"
    "  --table GLOB       only these tables, schema.table with * and ?; may be repeated\n"
    "  --exclude GLOB     but not these\n"
    "  --snapshot WHEN    initial: read what the tables hold, then their changes (default);\n"
    "                     never: changes only; only: what the tables hold, then end\n"
    "  --snapshot-jobs N  connections that read tables (2)\n"
    "  --refresh GLOB     read these tables again at this start; may be repeated\n"
    "  --on-slot-loss DO  where changes are lost: fail (default), or resnapshot: make the slot\n"
    "                     anew and read all tables again\n"
    "  --create-slot      create the slot if there is none\n"
    "  --failover         … and have it synced to standbys (PostgreSQL 17)\n"
    "  --drop-slot        drop the slot, and do nothing else\n"
    "  --set-identity     give published tables that have no key REPLICA IDENTITY FULL\n"
    "  --once             end when everything written to the WAL before the start is loaded\n"
    "  --until LSN        end there\n"
    "  --fetch HOW        changes: stream, or sql until there are no more and then stream; auto\n"
    "                     (default): sql where there are many\n"
    "  --spool DIR        for changes that wait in files (default: the state folder, else\n"
    "                     TMPDIR, else /tmp)\n"
    "  --json             JSON Lines on stdout, for eyes\n" CLI_HELP;

enum {
    OPT_SLOT = CLI_OWN,
    OPT_PUBLICATION,
    OPT_NAME,
    OPT_TABLE,
    OPT_EXCLUDE,
    OPT_SNAPSHOT,
    OPT_SNAPSHOT_JOBS,
    OPT_REFRESH,
    OPT_ON_SLOT_LOSS,
    OPT_CREATE_SLOT,
    OPT_FAILOVER,
    OPT_DROP_SLOT,
    OPT_SET_IDENTITY,
    OPT_ONCE,
    OPT_UNTIL,
    OPT_FETCH,
    OPT_SPOOL,
};

static const struct option options[] = {
    CLI_LONG,
    CLI_LONG_JSON,
    {"slot", required_argument, NULL, OPT_SLOT},
    {"publication", required_argument, NULL, OPT_PUBLICATION},
    {"name", required_argument, NULL, OPT_NAME},
    {"table", required_argument, NULL, OPT_TABLE},
    {"exclude", required_argument, NULL, OPT_EXCLUDE},
    {"snapshot", required_argument, NULL, OPT_SNAPSHOT},
    {"snapshot-jobs", required_argument, NULL, OPT_SNAPSHOT_JOBS},
    {"refresh", required_argument, NULL, OPT_REFRESH},
    {"on-slot-loss", required_argument, NULL, OPT_ON_SLOT_LOSS},
    {"create-slot", no_argument, NULL, OPT_CREATE_SLOT},
    {"failover", no_argument, NULL, OPT_FAILOVER},
    {"drop-slot", no_argument, NULL, OPT_DROP_SLOT},
    {"set-identity", no_argument, NULL, OPT_SET_IDENTITY},
    {"once", no_argument, NULL, OPT_ONCE},
    {"until", required_argument, NULL, OPT_UNTIL},
    {"fetch", required_argument, NULL, OPT_FETCH},
    {"spool", required_argument, NULL, OPT_SPOOL},
    {NULL, 0, NULL, 0},
};

static void list_add(struct list *l, const char *item)
{
    l->items = mem_realloc(l->items, (l->n + 1) * sizeof *l->items);
    l->items[l->n++] = item;
}

static void add_publications(struct list *l, const char *names)
{
    char *copy = mem_strdup(names); /* the items point into it for the life of the process */

    for (char *name; (name = strsep(&copy, ","));) {
        if (!*name)
            msg_die(EX_USAGE, "--publication wants names, separated by commas, not '%s'", names);
        list_add(l, name);
    }
}

static void add_glob(struct list *l, const char *option, const char *glob)
{
    if (!glob_is_for_tables(glob))
        msg_die(EX_USAGE, "%s wants schema.table, not '%s'", option, glob);
    list_add(l, glob);
}

static enum snapshot_mode snapshot_mode(const char *word)
{
    if (!strcmp(word, "initial"))
        return SNAPSHOT_INITIAL;
    if (!strcmp(word, "never"))
        return SNAPSHOT_NEVER;
    if (!strcmp(word, "only"))
        return SNAPSHOT_ONLY;
    msg_die(EX_USAGE, "--snapshot wants initial, never or only, not '%s'", word);
}

static enum way way(const char *word)
{
    if (!strcmp(word, "auto"))
        return FETCH_AUTO;
    if (!strcmp(word, "stream"))
        return FETCH_STREAM;
    if (!strcmp(word, "sql"))
        return FETCH_SQL;
    msg_die(EX_USAGE, "--fetch wants auto, stream or sql, not '%s'", word);
}

/* Everybody on this machine can read a command line. What libpq says of a URI that is none may
 * quote all of it, so it is not passed on. */
static const char *conninfo_without_password(const char *text)
{
    if (!strchr(text, '=') && !strstr(text, "://"))
        return text; /* a database's name */
    char *problem = NULL;
    PQconninfoOption *all = PQconninfoParse(text, &problem);
    if (!all)
        msg_die(EX_USAGE, "-d wants a connection string of libpq%s%s",
                strstr(text, "://") ? "" : ": ", strstr(text, "://") ? "" : problem);
    for (PQconninfoOption *o = all; o && o->keyword; o++)
        if (o->val && *o->val &&
            (!strcmp(o->keyword, "password") || !strcmp(o->keyword, "sslpassword")))
            msg_die(EX_USAGE, "a password in -d can be read by everyone on this machine; give it "
                              "in PGPASSWORD, ~/.pgpass or a service file, or the whole URI in "
                              "DATABASE_URL");
    PQconninfoFree(all);
    return text;
}

static const char *database_url(void)
{
    const char *url = getenv("DATABASE_URL");

    if (!url || !*url)
        return NULL;
    PQconninfoOption *all = strstr(url, "://") ? PQconninfoParse(url, NULL) : NULL;
    if (!all)
        msg_die(EX_USAGE, "DATABASE_URL is not a URI of PostgreSQL: postgresql://…");
    PQconninfoFree(all);
    return url;
}

static void check_slot_name(const char *slot)
{
    size_t n = strlen(slot);

    if (!n || n > 63 || strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
        msg_die(EX_USAGE,
                "--slot wants up to 63 lower-case letters, digits and underscores, not '%s'", slot);
}

static void check_together(const struct arguments *a)
{
    if (!a->slot)
        msg_die(EX_USAGE, "--slot is missing; see pgcdc-read --help");
    check_slot_name(a->slot);
    if (a->create_slot && a->drop_slot)
        msg_die(EX_USAGE, "--create-slot and --drop-slot exclude each other");
    if (a->drop_slot)
        return;
    if (!a->publications.n)
        msg_die(EX_USAGE, "--publication is missing; see pgcdc-read --help");
    if (a->failover && !a->create_slot && !a->resnapshot)
        msg_die(EX_USAGE, "--failover is for a slot that is created: --create-slot");
    if (a->once && a->until)
        msg_die(EX_USAGE, "--once and --until exclude each other");
    if (a->resnapshot && a->snapshot != SNAPSHOT_INITIAL)
        msg_die(EX_USAGE, "--on-slot-loss resnapshot wants --snapshot initial");
    if (a->refresh.n && a->snapshot == SNAPSHOT_NEVER)
        msg_die(EX_USAGE, "--refresh and --snapshot never exclude each other");
}

static const char *spool_default(const char *state)
{
    const char *tmp = getenv("TMPDIR");

    return state ? state : tmp && *tmp ? tmp : "/tmp";
}

void arguments_parse(struct arguments *a, int argc, char **argv)
{
    *a = (struct arguments){.snapshot_jobs = 2};
    cli_init(&a->cli, "pgcdc-read");
    for (int c; (c = getopt_long(argc, argv, CLI_SHORT "d:", options, NULL)) != -1;) {
        if (cli_option(&a->cli, c, help))
            continue;
        switch (c) {
        case 'd':
            a->conninfo = conninfo_without_password(optarg);
            break;
        case OPT_SLOT:
            a->slot = optarg;
            break;
        case OPT_PUBLICATION:
            add_publications(&a->publications, optarg);
            break;
        case OPT_NAME:
            a->name = optarg;
            break;
        case OPT_TABLE:
            add_glob(&a->tables, "--table", optarg);
            break;
        case OPT_EXCLUDE:
            add_glob(&a->excludes, "--exclude", optarg);
            break;
        case OPT_SNAPSHOT:
            a->snapshot = snapshot_mode(optarg);
            break;
        case OPT_SNAPSHOT_JOBS:
            a->snapshot_jobs = (unsigned)cli_count("--snapshot-jobs", optarg, 1, SNAPSHOT_JOBS_MAX);
            break;
        case OPT_REFRESH:
            add_glob(&a->refresh, "--refresh", optarg);
            break;
        case OPT_ON_SLOT_LOSS:
            if (strcmp(optarg, "fail") && strcmp(optarg, "resnapshot"))
                msg_die(EX_USAGE, "--on-slot-loss wants fail or resnapshot, not '%s'", optarg);
            a->resnapshot = !strcmp(optarg, "resnapshot");
            break;
        case OPT_CREATE_SLOT:
            a->create_slot = true;
            break;
        case OPT_FAILOVER:
            a->failover = true;
            break;
        case OPT_SET_IDENTITY:
            a->set_identity = true;
            break;
        case OPT_DROP_SLOT:
            a->drop_slot = true;
            break;
        case OPT_ONCE:
            a->once = true;
            break;
        case OPT_UNTIL:
            if (!lsn_parse(optarg, &a->until) || !a->until)
                msg_die(EX_USAGE, "--until wants an LSN such as 16/B374D848, not '%s'", optarg);
            break;
        case OPT_FETCH:
            a->fetch = way(optarg);
            break;
        case OPT_SPOOL:
            a->spool = optarg;
            break;
        }
    }
    cli_no_operands(argc, argv);
    check_together(a);
    if (!a->conninfo)
        a->conninfo = database_url();
    if (!a->name)
        a->name = a->slot;
    if (!a->spool)
        a->spool = spool_default(a->cli.state);
}

static bool any_matches(const struct list *globs, const char *name)
{
    for (unsigned i = 0; i < globs->n; i++)
        if (glob_matches(globs->items[i], name))
            return true;
    return false;
}

bool arguments_select(const struct arguments *a, const char *schema, const char *table)
{
    char *name = mem_printf("%s.%s", schema, table);
    bool chosen =
        (!a->tables.n || any_matches(&a->tables, name)) && !any_matches(&a->excludes, name);

    free(name);
    return chosen;
}

bool arguments_refresh(const struct arguments *a, const char *schema, const char *table)
{
    char *name = mem_printf("%s.%s", schema, table);
    bool asked = any_matches(&a->refresh, name);

    free(name);
    return asked;
}
