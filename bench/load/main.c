/* bench_load: the command line of the load generator. Prints one line of JSON.
 *
 *   bench_load [options] LOAD PORT       LOAD: echo stream rate churn fanout receive hold
 *
 * Ends with 0, with 1 when there were errors or nothing could be measured, with 2 when it was
 * called wrongly. It never runs longer than its time and a minute. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { ALLOWANCE_S = 60, CONNS_MAX = 1000000, SIZE_MAX_BYTES = 1 << 24, SOURCES_MAX = 250 };

static const struct {
    const char *name;
    void (*run)(const struct load_options *options, struct meter *meter);
} loads[] = {{"echo", load_echo},   {"stream", load_stream}, {"rate", load_rate},
             {"churn", load_churn}, {"fanout", load_fanout}, {"receive", load_receive},
             {"hold", load_hold},   {"fetch", load_fetch}};

static const struct option known[] = {
    {"conns", required_argument, NULL, 'c'},
    {"size", required_argument, NULL, 's'},
    {"depth", required_argument, NULL, 'd'},
    {"sources", required_argument, NULL, 'a'},
    {"idle", required_argument, NULL, 'i'},
    {"rate", required_argument, NULL, 'r'},
    {"reset", no_argument, NULL, 'x'},
    {"warm", required_argument, NULL, 'w'},
    {"seconds", required_argument, NULL, 't'},
    {"pid", required_argument, NULL, 'p'},
    {0},
};

static _Noreturn void usage(void)
{
    fputs("usage: bench_load [--conns N] [--size BYTES] [--depth N] [--sources N] [--idle N]\n"
          "                  [--rate N] [--reset] [--warm S] [--seconds S] [--pid PID] LOAD PORT\n",
          stderr);
    exit(2);
}

_Noreturn void load_die(const char *what)
{
    fprintf(stderr, "bench_load: ");
    perror(what);
    exit(1);
}

void *load_memory(uint64_t count, uint64_t bytes)
{
    void *memory = calloc(count ? count : 1, bytes);
    if (!memory) load_die("memory");
    return memory;
}

static double number(const char *text, double min, double max)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= min) || value > max) usage();
    return value;
}

static void option_set(struct load_options *options, int c)
{
    switch (c) {
    case 'c': options->conns = (uint32_t)number(optarg, 1, CONNS_MAX); break;
    case 's': options->size = (uint32_t)number(optarg, 1, SIZE_MAX_BYTES); break;
    case 'd': options->depth = (uint32_t)number(optarg, 1, 65536); break;
    case 'a': options->sources = (uint32_t)number(optarg, 1, SOURCES_MAX); break;
    case 'i': options->idle = (uint32_t)number(optarg, 0, CONNS_MAX); break;
    case 'r': options->rate = (uint32_t)number(optarg, 1, 1e9); break;
    case 'x': options->reset = true; break;
    case 'w': options->warm_s = number(optarg, 0, 3600); break;
    case 't': options->seconds = number(optarg, 0.01, 3600); break;
    case 'p': options->pid = (pid_t)number(optarg, 1, 1 << 30); break;
    default: usage();
    }
}

int main(int argc, char **argv)
{
    static struct meter meter;
    struct load_options options = {.conns = 50,
                                   .size = 64,
                                   .depth = 1,
                                   .sources = 1,
                                   .rate = 1000,
                                   .warm_s = 0.1,
                                   .seconds = 1};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) option_set(&options, c);
    if (optind + 2 != argc) usage();
    options.port = (uint16_t)number(argv[optind + 1], 1, 65535);
    alarm((unsigned)(options.warm_s + options.seconds) + ALLOWANCE_S);
    for (unsigned n = 0; n < sizeof loads / sizeof loads[0]; n++) {
        if (strcmp(argv[optind], loads[n].name)) continue;
        peers_hold(&options, options.idle);
        loads[n].run(&options, &meter);
        return meter_report(&meter) ? 0 : 1;
    }
    usage();
}
