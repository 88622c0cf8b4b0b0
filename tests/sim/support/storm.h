/* The storm: an echo server, good and bad peers and outgoing connections in a simulated world,
 * first under a mix of faults, then calm, then the end; with checks at every callback and after
 * each part. One seed is one run. One thread. */
#ifndef TESTS_SIM_SUPPORT_STORM_H
#define TESTS_SIM_SUPPORT_STORM_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/sim.h"

struct storm_config {
    uint64_t seed;
    bool no_faults;      /* what the seed draws, but without its mix of faults */
    uint64_t fail_alloc; /* the n-th allocation fails, from the making of the engine on; 0: none */
    bool fail_on;        /* and all after it, until the calm */
};

struct storm_result {
    uint64_t hash;
    uint64_t served;   /* peers that got back all they sent */
    uint64_t accepted; /* by the engine */
    uint64_t closed;   /* connections that had their on_close */
    bool alloc_failed; /* the allocation of fail_alloc was reached */
    bool made;         /* the engine could be made and listens */
};

/* Says on stderr which seed runs and how to run it again, if the program dies. Once, in main. */
void storm_guard(const char *program);

/* A broken promise fails the test, with its seed. */
void storm_run(const struct storm_config *config, struct storm_result *result);

/* Numbers of the environment: how many seeds (SALLY_SEEDS), the only one to run (SALLY_SEED, 0:
 * all). */
uint64_t storm_seeds(uint64_t otherwise);
uint64_t storm_only_seed(void);

#endif
