/* What each profile sets. The header of the interface tells the same to users, and
 * docs/design/performance.md what was measured. */
#include "net/profile.h"

struct profile {
    uint32_t turn_events_max;
    uint32_t send_chunk_bytes;
    uint32_t spin_us;
};

static const struct profile profiles[] = {
    [SALLY_PROFILE_DEFAULT] = {0},
    [SALLY_PROFILE_MANY_IDLE] = {.send_chunk_bytes = 1024},
    [SALLY_PROFILE_THROUGHPUT] = {.turn_events_max = 1024, .send_chunk_bytes = 16384},
    [SALLY_PROFILE_LATENCY] = {.turn_events_max = 64, .spin_us = 50},
};

static void set(uint32_t *option, uint32_t value)
{
    if (!*option) *option = value;
}

int profile_apply(sally_engine_options *options)
{
    if ((unsigned)options->profile >= sizeof profiles / sizeof *profiles) return SALLY_EINVAL;
    const struct profile *profile = &profiles[options->profile];
    set(&options->turn_events_max, profile->turn_events_max);
    set(&options->send_chunk_bytes, profile->send_chunk_bytes);
    set(&options->spin_us, profile->spin_us);
    return 0;
}
