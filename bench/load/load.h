/* The load generator: what it was asked for. Every load runs in one thread, on epoll, without any
 * library, and is a function that takes the options and the meter. */
#ifndef BENCH_LOAD_LOAD_H
#define BENCH_LOAD_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct meter;

struct load_options {
    uint16_t port;
    uint32_t conns;
    uint32_t size;    /* bytes of a message */
    uint32_t depth;   /* messages of a connection under way */
    uint32_t sources; /* local addresses, 127.0.0.1 and on */
    uint32_t idle;    /* connections that are held beside and do nothing */
    uint32_t rate;    /* messages a second in all, for the load at a fixed rate */
    bool reset;       /* churn ends a connection by RST instead of FIN */
    double warm_s;
    double seconds;
    pid_t pid; /* the server's, whose processor time is read at both ends of the window; 0: none */
};

/* Each returns when the meter's time is over. */
void load_echo(const struct load_options *options, struct meter *meter);
void load_stream(const struct load_options *options, struct meter *meter);
void load_rate(const struct load_options *options, struct meter *meter);
void load_churn(const struct load_options *options, struct meter *meter);
void load_fanout(const struct load_options *options, struct meter *meter);
void load_receive(const struct load_options *options, struct meter *meter);
void load_fetch(const struct load_options *options, struct meter *meter);
void load_hold(const struct load_options *options, struct meter *meter);

/* Says what failed, with errno, and ends the program with 1. */
_Noreturn void load_die(const char *what);

/* Zeroed memory. */
void *load_memory(uint64_t count, uint64_t bytes);

#endif
