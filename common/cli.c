#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "msg.h"
#include "version.h"

void cli_init(struct cli *cli, const char *program)
{
    msg_init(program);
    setlocale(LC_ALL, "C");
    signal(SIGPIPE, SIG_IGN);
    *cli = (struct cli){.state = getenv("CDC_STATE")};
    if (cli->state && !*cli->state)
        cli->state = NULL;
}

bool cli_option(struct cli *cli, int option, const char *help)
{
    switch (option) {
    case 'h':
        fputs(help, stdout);
        exit(fflush(stdout) ? EX_IOERR : EX_OK);
    case 'V':
        printf("%s %s\n", msg_program(), PGCDC_VERSION);
        exit(fflush(stdout) ? EX_IOERR : EX_OK);
    case 'v':
        msg_verbosity(1);
        return true;
    case 'q':
        msg_verbosity(-1);
        return true;
    case CLI_STATE:
        if (!*optarg)
            msg_die(EX_USAGE, "--state wants a folder");
        cli->state = optarg;
        return true;
    case CLI_METRICS:
        if (!*optarg)
            msg_die(EX_USAGE, "--metrics wants a file");
        cli->metrics = optarg;
        return true;
    case CLI_CHECK:
        cli->check = true;
        return true;
    case CLI_JSON:
        cli->json = true;
        return true;
    case '?': /* getopt_long has said what */
        msg_exit(EX_USAGE);
    default:
        return false;
    }
}

void cli_no_operands(int argc, char **argv)
{
    if (optind < argc)
        msg_die(EX_USAGE, "unexpected argument '%s'; see %s --help", argv[optind], msg_program());
}

static _Noreturn void bad_number(const char *option, const char *text, const char *form)
{
    msg_die(EX_USAGE, "%s wants %s, not '%s'", option, form, text);
}

/* Digits, then a suffix, which is returned. */
static const char *digits(const char *option, const char *text, const char *form, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno)
        bad_number(option, text, form);
    return end;
}

uint64_t cli_count(const char *option, const char *text, uint64_t min, uint64_t max)
{
    uint64_t v;

    if (*digits(option, text, "a number", &v))
        bad_number(option, text, "a number");
    if (v < min || v > max)
        msg_die(EX_USAGE, "%s wants a number from %llu to %llu, not %s", option,
                (unsigned long long)min, (unsigned long long)max, text);
    return v;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static uint64_t with_unit(const char *option, const char *text, const char *form,
                          const struct unit *units)
{
    uint64_t v;
    const char *suffix = digits(option, text, form, &v);

    for (; units->name; units++)
        if (!strcmp(suffix, units->name) && v <= INT64_MAX / units->factor)
            return v * units->factor;
    bad_number(option, text, form);
}

uint64_t cli_size(const char *option, const char *text)
{
    static const struct unit units[] = {{"", 1},        {"k", 1 << 10}, {"K", 1 << 10},
                                        {"M", 1 << 20}, {"G", 1 << 30}, {NULL, 0}};

    return with_unit(option, text, "a size such as 512k or 64M", units);
}

int64_t cli_duration(const char *option, const char *text)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},    {"", 1000},
                                        {"min", 60000}, {"h", 3600000}, {NULL, 0}};

    return (int64_t)with_unit(option, text, "a time such as 500ms, 5s, 2min or 1h", units);
}

/* ------------------------------------------------------------------ signals */

static volatile sig_atomic_t stops;
static int stop_pipe[2] = {-1, -1};

static void on_stop(int sig)
{
    int saved = errno;

    (void)sig;
    if (stops++)
        _exit(EX_TEMPFAIL);
    if (write(stop_pipe[1], "", 1) < 0)
        stops = 1; /* nothing else can be done here; the flag is enough */
    errno = saved;
}

void stop_install(void)
{
    struct sigaction sa = {.sa_handler = on_stop};

    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK))
        msg_die(EX_TEMPFAIL, "cannot make a pipe: %s", strerror(errno));
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool stop_requested(void)
{
    return stops != 0;
}

int stop_fd(void)
{
    return stop_pipe[0];
}

int64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* it is asked for each message */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
