/* Mixes of faults. One thread. */
#include <stddef.h>
#include <string.h>

#include "sim/sim.h"

/* Each kind with the highest chance that still lets something get through. */
static const struct {
    size_t offset;
    uint32_t max;
} kinds[] = {
#define KIND(field, max)                                                                           \
    {                                                                                              \
        offsetof(sally_sim_faults, field), max                                                     \
    }
    KIND(late, 900000),
    KIND(recv_short, 1000000),
    KIND(send_short, 1000000),
    KIND(send_now_none, 1000000),
    KIND(buf_none, 300000),
    KIND(accept_fails, 300000),
    KIND(accept_dead, 300000),
    KIND(accept_ends, 500000),
    KIND(accept_no_address, 500000),
    KIND(exhausted, 200000),
    KIND(connect_refused, 300000),
    KIND(connect_unreachable, 300000),
    KIND(connect_lost, 300000),
    KIND(resolve_fails, 300000),
    KIND(clog, 100000),
    KIND(reset, 20000),
    KIND(vanish, 10000),
    KIND(reset_drops, 1000000),
    KIND(no_memory, 100000),
    KIND(stall, 50000),
    KIND(early_turn, 100000),
#undef KIND
};

void sally_sim_set_faults(sally_sim *sim, const sally_sim_faults *faults)
{
    if (faults)
        sim->world->faults = *faults;
    else
        memset(&sim->world->faults, 0, sizeof sim->world->faults);
}

void sally_sim_draw_faults(sally_sim *sim, sally_sim_faults *faults)
{
    struct sim_world *world = sim->world;
    memset(faults, 0, sizeof *faults);
    uint64_t one_in = 1 + sim_below(world, 6); /* some seeds have many kinds, most a few */
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (sim_below(world, one_in)) continue;
        uint32_t chance = (uint32_t)sim_skewed(world, kinds[i].max);
        memcpy((unsigned char *)faults + kinds[i].offset, &chance, sizeof chance);
    }
    faults->late_max_us = (uint32_t)sim_skewed(world, 2000000);
}
