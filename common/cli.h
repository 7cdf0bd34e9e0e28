/*
 * What every program's command line and life have in common.
 */
#ifndef PGCDC_CLI_H
#define PGCDC_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli {
    const char *state;   /* --state or CDC_STATE, or NULL */
    const char *metrics; /* --metrics, or NULL */
    bool check, json;
};

enum {
    CLI_FIRST = 1000,
    CLI_STATE = CLI_FIRST,
    CLI_CHECK,
    CLI_METRICS,
    CLI_JSON,
    CLI_OWN
}; /* own options: from CLI_OWN */

#define CLI_SHORT "hVvq"
/* clang-format off */
#define CLI_LONG                                                                                   \
    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'},                         \
    {"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},                        \
    {"state", required_argument, NULL, CLI_STATE}, {"check", no_argument, NULL, CLI_CHECK},    \
    {"metrics", required_argument, NULL, CLI_METRICS}
#define CLI_LONG_JSON {"json", no_argument, NULL, CLI_JSON}
/* clang-format on */
#define CLI_HELP                                                                          \
    "  --state DIR        the pipeline's state folder (or CDC_STATE); see cdc-state(5)\n" \
    "  --check            test what this stage will use, say so, change nothing\n"        \
    "  --metrics FILE     figures for Prometheus, every second; see cdc-metrics(5)\n"     \
    "  -v, --verbose      say more (twice: debug)\n"                                      \
    "  -q, --quiet        errors only\n"                                                  \
    "  -h, --help         this text\n"                                                    \
    "  -V, --version      the version\n"

/* msg_init, SIGPIPE ignored, C locale, CDC_STATE read. Call first in main. */
void cli_init(struct cli *cli, const char *program);

/* Handles the option if it is one of those above: true. --help and --version print and exit 0; an
 * unknown option or a missing argument ('?', ':') exits with 64. */
bool cli_option(struct cli *cli, int option, const char *help);

/* No operands are taken by any stage: exits with 64 if there is one. */
void cli_no_operands(int argc, char **argv);

/* Numbers with a unit; exit with 64, naming the option, if they are none. */
uint64_t cli_count(const char *option, const char *text, uint64_t min, uint64_t max);
uint64_t cli_size(const char *option,
                  const char *text); /* bytes: 4096, 64k, 16M, 1G (powers of 1024) */
int64_t cli_duration(const char *option, const char *text); /* milliseconds: 500ms, 5s, 2min, 1h */

/*
 * SIGINT and SIGTERM. The first sets the flag and makes stop_fd readable; the second ends the
 * process at once (exit 75), losing nothing that the state does not say.
 */
void stop_install(void);
bool stop_requested(void);
int stop_fd(void);

/* Milliseconds of the monotonic clock. */
int64_t clock_ms(void);
/* Microseconds of the wall clock since 1970. */
int64_t clock_us(void);

#endif
