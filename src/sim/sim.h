/* The simulator: a world, engines in it, and who steps them. Private to src/sim/. Everything
 * belongs to one thread.
 *
 *   sim.c       life, engines, clock and names for them, the allocator that can fail
 *   schedule.c  which shard takes its turn, and when time moves
 *   faults.c    mixes of faults
 *   peer.c      scripted peers and listeners */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "net/host.h"
#include "port/sim.h"
#include "sallyport/sim.h"

enum { SIM_NAME_MAX = 64, SIM_NAME_ADDRS = 8 };

/* A shard that the sim steps. */
struct sim_shard {
    sally_engine *engine;
    unsigned index;
    uint32_t port;             /* its number in the world: gone there, gone here */
    uint64_t sleeps_until_ns;  /* its next timer when its last turn ended */
    uint64_t stalled_until_ns; /* it gets no turn before */
    bool ended;
};

struct sim_name {
    struct sim_name *next;
    char name[SIM_NAME_MAX];
    unsigned count;
    struct addr addrs[SIM_NAME_ADDRS];
};

struct sally_sim {
    struct mem mem;    /* the sim's own */
    struct mem engine; /* what the engines have */
    struct sim_world *world;
    struct host host;
    char reason[64];
    struct sim_shard shards[SIM_PORTS_MAX];
    unsigned shard_count;
    struct stepper *steppers;
    bool running;
    uint32_t turns_now; /* since the clock moved */
    uint64_t turns_at_ns;
    uint64_t allocations;
    int64_t world_at_0_ms; /* what the clock of the date said, or would have, when the sim began */
    uint64_t fail_at;      /* the number of the allocation; 0: none */
    bool fail_on;          /* and all after it */
    bool failed;
    struct sim_name *names;
    sally_sim_peer *peers;
    sally_sim_listener *listeners;
    unsigned peer_count;
};

/* peer.c */
void sim_peers_free(sally_sim *sim);

#endif
