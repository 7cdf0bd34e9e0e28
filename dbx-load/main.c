/*
 * dbx-load: brings the batches of a stream into Databricks. The last stage of a pipeline.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "claim.h"
#include "cli.h"
#include "compute.h"
#include "config.h"
#include "create.h"
#include "directory.h"
#include "fail.h"
#include "figures.h"
#include "load.h"
#include "msg.h"
#include "receive.h"
#include "recover.h"
#include "rights.h"
#include "signin.h"
#include "state.h"
#include "steps.h"
#include "unfinished.h"

static const char help[] =
    "usage: dbx-load --state DIR [OPTION]... < stream\n"
    "Reads the stream of cdc-merge(1) and loads it into Databricks.\n"
    "How to sign in says the environment (DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and\n"
    "DATABRICKS_CLIENT_SECRET) or a profile of ~/.databrickscfg.\n\n"
    "  --profile NAME     the profile (or DATABRICKS_CONFIG_PROFILE)\n"
    "  --host H           the workspace (or DATABRICKS_HOST)\n"
    "  --warehouse-id ID  the SQL warehouse (or DATABRICKS_WAREHOUSE_ID)\n"
    "  --cluster-id ID    or the cluster (or DATABRICKS_CLUSTER_ID)\n"
    "  --http-path P      or the HTTP path of one of them (or DATABRICKS_HTTP_PATH)\n"
    "  --jobs N           tables at once (8)\n"
    "  --retry-for TIME   how long to try again while the service does not answer (10min)\n"
    "  --adopt            take over tables that exist and were not made by a pipeline\n"
    "  --table-properties K=V\n"
    "                     give tables that it makes this property; repeatable\n"
    "  --keep-staged      leave the staged files in the volume\n"
    "  --to-dir DIR       write files and SQL there instead; acknowledge into the state\n"
    "  --dry-run          print the SQL instead; acknowledge nothing\n" CLI_HELP;

enum {
    PROFILE = CLI_OWN,
    HOST,
    HTTP_PATH,
    WAREHOUSE_ID,
    CLUSTER_ID,
    JOBS,
    RETRY_FOR,
    ADOPT,
    TABLE_PROPERTIES,
    KEEP_STAGED,
    TO_DIR,
    DRY_RUN
};

enum { RETRY_MS = 10 * 60 * 1000, CHECK_RETRY_MS = 20 * 1000 };

static const struct option options[] = {
    CLI_LONG,
    {"profile", required_argument, NULL, PROFILE},
    {"host", required_argument, NULL, HOST},
    {"http-path", required_argument, NULL, HTTP_PATH},
    {"warehouse-id", required_argument, NULL, WAREHOUSE_ID},
    {"cluster-id", required_argument, NULL, CLUSTER_ID},
    {"jobs", required_argument, NULL, JOBS},
    {"retry-for", required_argument, NULL, RETRY_FOR},
    {"adopt", no_argument, NULL, ADOPT},
    {"table-properties", required_argument, NULL, TABLE_PROPERTIES},
    {"keep-staged", no_argument, NULL, KEEP_STAGED},
    {"to-dir", required_argument, NULL, TO_DIR},
    {"dry-run", no_argument, NULL, DRY_RUN},
    {0},
};

struct arguments {
    struct cli cli;
    struct config_options config;
    int64_t retry_for;
    bool dry_run;
};

static void parse(struct arguments *a, struct load *load, int argc, char **argv)
{
    int option;

    while ((option = getopt_long(argc, argv, CLI_SHORT, options, NULL)) != -1) {
        if (cli_option(&a->cli, option, help))
            continue;
        switch (option) {
        case PROFILE:
            a->config.profile = optarg;
            break;
        case HOST:
            a->config.host = optarg;
            break;
        case HTTP_PATH:
            a->config.http_path = optarg;
            break;
        case WAREHOUSE_ID:
            a->config.warehouse_id = optarg;
            break;
        case CLUSTER_ID:
            a->config.cluster_id = optarg;
            break;
        case JOBS:
            load->jobs = (unsigned)cli_count("--jobs", optarg, 1, JOBS_MAX);
            break;
        case RETRY_FOR:
            a->retry_for = cli_duration("--retry-for", optarg);
            break;
        case ADOPT:
            load->adopt = true;
            break;
        case TABLE_PROPERTIES:
            create_option(load, optarg);
            break;
        case KEEP_STAGED:
            load->keep_staged = true;
            break;
        case TO_DIR:
            load->directory = optarg;
            break;
        case DRY_RUN:
            a->dry_run = true;
            break;
        }
    }
    cli_no_operands(argc, argv);
    if (load->directory && a->dry_run)
        msg_die(EX_USAGE, "--to-dir and --dry-run exclude each other");
    if (!!a->config.http_path + !!a->config.warehouse_id + !!a->config.cluster_id > 1)
        msg_die(EX_USAGE, "--http-path, --warehouse-id and --cluster-id exclude each other");
    load->sink = load->directory ? SINK_DIRECTORY : a->dry_run ? SINK_SHOW : SINK_WAREHOUSE;
}

/* Takes the stream to its end, while requests go on. */
static void take_all(struct load *load, struct receive *r)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    bool readable = false;

    while (receive_take(r, readable)) {
        metrics_tick();
        if (load->http)
            readable = http_turn(load->http, receive_wants(r) ? STDIN_FILENO : -1, -1);
        else
            readable = poll(&p, 1, metrics_timeout(-1)) > 0;
    }
}

/* Whether the run cannot be opened yet: a batch is not acknowledged, or it is of this run, which is
 * replayed, and has files of the same names. */
static bool has_to_finish(const struct load *load)
{
    for (const struct batch *b = load->ledger.batches; b; b = b->next)
        if (!b->acknowledged || !strcmp(b->run, load->start.run))
            return true;
    return false;
}

/* Loads until the stream is over, and all that was prepared is done, or waits for changes. */
static void run(struct load *load, struct receive *r)
{
    struct ledger *l = &load->ledger;
    struct steps *steps = steps_new(load);
    bool keeps_state = load->sink != SINK_SHOW;

    metrics_begin(load->start.pipeline);
    receive_open(r, steps);
    if (load->sink == SINK_DIRECTORY)
        directory_open(load);
    if (load->sink == SINK_SHOW)
        load->permit_path = mem_printf("%s/permit-%s.parquet", load->staging, load->start.run);
    if (keeps_state) {
        ledger_set(&l->run, load->start.run);
        l->open = false;
        ledger_save(l);
        batch_forget_others(l->batches, l->dir);
    }
    if (load->sink == SINK_WAREHOUSE) {
        compute_open(load);
        recover_fence(load);
        steps_acknowledge(steps);
        steps_start(steps);
        while (has_to_finish(load) && steps_busy(steps))
            http_turn(load->http, -1, -1);
    }
    if (keeps_state) { /* numbers begin anew with the run */
        ledger_set(&l->loaded_run, load->start.run);
        l->loaded = 0;
        if (load->start.anew) /* and what it begins with does not join on to what there is */
            l->prepared = l->applied = 0;
        if (load->start.anew)
            unfinished_forget(l, 0);
        l->open = true;
        ledger_save(l);
    }
    take_all(load, r);
    while (load->http && (steps_busy(steps) || http_pending(load->http)))
        http_turn(load->http, -1, -1);
    if (load->sink == SINK_WAREHOUSE) {
        recover_leave(load);
        compute_close(load);
    }
    steps_free(steps);
}

/* Tests, and hears what the stages before found. */
static int check(struct load *load, struct receive *r, const char *metrics)
{
    if (r)
        receive_target(r);
    unsigned failed = check_run(load) + metrics_check(metrics) + load->start.failures;

    compute_close(load);
    if (r) {
        take_all(load, r);
        receive_over(r);
    }
    return failed ? EX_CONFIG : EX_OK;
}

static void load_free(struct load *load)
{
    http_free(load->http);
    compute_free(load);
    ledger_free(&load->ledger);
    start_free(&load->start);
    buf_free(&load->permit);
    free(load->host);
    free(load->catalog);
    free(load->namespace);
    free(load->staging);
    free(load->permit_path);
    free(load->properties);
}

int main(int argc, char **argv)
{
    struct load load = {.jobs = 8};
    struct arguments a = {.retry_for = RETRY_MS};
    struct config config = {0};
    struct signin *signin = NULL;
    struct receive *r = NULL;
    int code = EX_OK;

    cli_init(&a.cli, "dbx-load");
    parse(&a, &load, argc, argv);
    stop_install();
    if (load.sink == SINK_WAREHOUSE) {
        config_read(&config, &a.config);
        load.http = http_new(config.base, a.cli.check ? CHECK_RETRY_MS : a.retry_for);
        signin = signin_new(load.http, &config);
        rights_begin(load.http, config.client_id);
        compute_new(&load, &config);
        load.host = mem_strdup(config.host);
    } else if (load.sink == SINK_DIRECTORY) {
        load.host = mem_printf("file:%s", load.directory);
    }
    bool keeps_state = load.sink != SINK_SHOW && !a.cli.check;
    if (keeps_state && a.cli.state) {
        state_lock(a.cli.state, "load");
        ledger_read(&load.ledger, a.cli.state);
    }
    if (!a.cli.check)
        metrics_open(a.cli.metrics, load_figures, NULL, NULL);

    /* With --check and nobody before it, a stage tests its own end. */
    if (!a.cli.check || !isatty(STDIN_FILENO))
        r = receive_new(&load, STDIN_FILENO, a.cli.check);
    if (a.cli.check || load.start.check) {
        code = check(&load, r, a.cli.metrics);
    } else {
        if (keeps_state && !a.cli.state)
            msg_die(EX_USAGE, "--state DIR (or CDC_STATE) is needed: it says what has been loaded");
        receive_target(r);
        if (keeps_state) {
            claim_ledger(&load.ledger, &load.start, load.host, load.catalog, load.namespace,
                         load.staging);
            fail_record(ledger_record_error, &load.ledger);
        }
        run(&load, r);
        receive_over(r);
    }
    receive_free(r);
    load_free(&load);
    signin_free(signin);
    config_free(&config);
    return code;
}
