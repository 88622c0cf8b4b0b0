/* The window in which is measured: it opens after the warm-up, and at both ends the processor time
 * of the generator and of the server is read. What comes outside of it is checked and not counted.
 * One thread. */
#ifndef BENCH_LOAD_METER_H
#define BENCH_LOAD_METER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

/* The longest that a load may wait before it calls meter_goes_on again. */
enum { METER_WAIT_MS = 50 };

struct meter {
    uint64_t opens_ns, closes_ns; /* planned */
    uint64_t began_ns, ended_ns;  /* as it was */
    uint64_t own_ns, server_ns;   /* processor time: first the reading, then the difference */
    uint64_t requests;
    uint64_t bytes; /* received */
    uint64_t errors;
    const char *error;   /* the first, in words */
    uint64_t pace_ns[2]; /* before the warm-up and after the window, see pace.h */
    bool measures;
    pid_t pid;
    struct histogram latency;
};

uint64_t meter_now(void);

/* The time runs from here. */
void meter_start(struct meter *meter, double warm_s, double seconds, pid_t pid);

/* Opens and closes the window; false when it is over. */
bool meter_goes_on(struct meter *meter, uint64_t now);

/* Requests that are done, where their latency is no matter. */
static inline void meter_add(struct meter *meter, uint64_t requests)
{
    if (meter->measures) meter->requests += requests;
}

static inline void meter_latency(struct meter *meter, uint64_t ns)
{
    if (meter->measures) histogram_add(&meter->latency, ns);
}

/* One request and its latency. */
static inline void meter_count(struct meter *meter, uint64_t latency_ns)
{
    meter_add(meter, 1);
    meter_latency(meter, latency_ns);
}

static inline void meter_bytes(struct meter *meter, uint64_t bytes)
{
    if (meter->measures) meter->bytes += bytes;
}

/* Counted also outside of the window: a wrong byte in the warm-up is wrong. */
void meter_error(struct meter *meter, const char *what);

/* One line of JSON on standard output; false when there were errors or nothing was measured. */
bool meter_report(const struct meter *meter);

#endif
