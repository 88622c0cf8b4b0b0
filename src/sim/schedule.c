/* Which shard takes its turn, and when time moves. All that could run at one moment runs in an
 * order drawn by the seed; when nothing can, the clock jumps to what comes next. One thread. */
#include "net/engine.h"
#include "net/host.h"
#include "sim/sim.h"

#define SIM_STALL_MAX (500 * SIM_MS)

/* When a shard gets its next turn: now or earlier, later, or SIM_NEVER. What it said at the end of
 * its last turn stands, as for a thread that went to sleep then: only its port or a wake-up can
 * make it sooner. So a wake-up that the library forgets is missed here, too. */
static uint64_t shard_wants_ns(const sally_sim *sim, const struct sim_shard *shard)
{
    const struct sim_world *world = sim->world;
    struct sim_port *port = world->ports[shard->port];
    if (!port || shard->ended) return SIM_NEVER;
    uint64_t at_ns = sim_port_runnable(port) ? world->now_ns : shard->sleeps_until_ns;
    return at_ns < shard->stalled_until_ns ? shard->stalled_until_ns : at_ns;
}

static uint64_t sleeps_until(const sally_sim *sim, const struct sim_shard *shard)
{
    uint64_t now_ns = sim->world->now_ns;
    uint32_t patience_ms = engine_patience_ms(shard->engine, shard->index);
    if (patience_ms == SALLY_FOREVER) return SIM_NEVER;
    return patience_ms ? (now_ns / SIM_MS + patience_ms) * SIM_MS : now_ns;
}

/* An engine that turns and turns without time passing never sleeps: on a real machine it burns a
 * core (S4-11). */
static void guard_progress(sally_sim *sim)
{
    struct sim_world *world = sim->world;
    if (sim->turns_at_ns != world->now_ns) {
        sim->turns_at_ns = world->now_ns;
        sim->turns_now = 0;
    }
    if (++sim->turns_now > world->options.turns_max)
        sim_violation(world, "livelock: %u turns, and time stands still", sim->turns_now - 1);
}

static void turn(sally_sim *sim, struct sim_shard *shard)
{
    struct sim_world *world = sim->world;
    guard_progress(sim);
    sim_mix(world, (uint64_t)shard->port << 32 ^ world->now_ns);
    world->scheduled = true;
    shard->ended = engine_step(shard->engine, shard->index);
    world->scheduled = false;
    if (!shard->ended) shard->sleeps_until_ns = sleeps_until(sim, shard);
    if (sim_chance(world, world->faults.stall))
        shard->stalled_until_ns = world->now_ns + sim_skewed(world, SIM_STALL_MAX);
}

static void step_beside(sally_sim *sim, struct stepper *stepper)
{
    guard_progress(sim);
    sim_mix(sim->world, ~sim->world->now_ns);
    stepper->step(stepper);
}

static bool alive(const sally_sim *sim, const struct sim_shard *shard)
{
    return sim->world->ports[shard->port] && !shard->ended;
}

/* One step: a turn of a shard, or one thing in the world, or the clock moves, but not past
 * until_ns. False when nothing can ever happen. */
static bool step(sally_sim *sim, uint64_t until_ns)
{
    struct sim_world *world = sim->world;
    uint64_t next_ns = sim_world_next_ns(world);
    unsigned due = next_ns <= world->now_ns;
    struct sim_shard *chosen = NULL; /* of those that are due, one by seed; NULL: the world */
    struct stepper *beside = NULL;   /* or what threads would do beside the shards */
    for (unsigned i = 0; i < sim->shard_count; i++) {
        struct sim_shard *shard = &sim->shards[i];
        uint64_t at_ns = shard_wants_ns(sim, shard);
        if (at_ns < next_ns) next_ns = at_ns;
        if (at_ns <= world->now_ns && sim_below(world, ++due) == 0) chosen = shard;
    }
    for (struct stepper *stepper = sim->steppers; stepper; stepper = stepper->next) {
        uint64_t at_ns = stepper->due_ns(stepper);
        if (at_ns < next_ns) next_ns = at_ns;
        if (at_ns > world->now_ns || sim_below(world, ++due) != 0) continue;
        beside = stepper;
        chosen = NULL;
    }
    if (sim->shard_count && sim_chance(world, world->faults.early_turn)) {
        struct sim_shard *early = &sim->shards[sim_below(world, sim->shard_count)];
        if (alive(sim, early)) chosen = early;
    }
    if (chosen) {
        turn(sim, chosen);
    } else if (beside) {
        step_beside(sim, beside);
    } else if (due) {
        sim_world_fire(world);
    } else if (next_ns == SIM_NEVER) {
        return false;
    } else {
        sim_world_advance(world, next_ns < until_ns ? next_ns : until_ns);
    }
    return true;
}

int sally_sim_run_until(sally_sim *sim, bool (*done)(void *arg), void *arg, uint32_t limit_ms)
{
    struct sim_world *world = sim->world;
    if (sim->running) return SALLY_ESTATE;
    sim->running = true;
    uint64_t until_ns = world->now_ns + limit_ms * SIM_MS;
    bool goes_on = true;
    bool reached = done(arg);
    while (!reached && goes_on && world->now_ns < until_ns) {
        goes_on = step(sim, until_ns);
        reached = done(arg);
    }
    sim->running = false;
    return reached ? 0 : SALLY_ETIMEDOUT;
}

int sally_sim_run(sally_sim *sim, uint32_t virtual_ms)
{
    struct sim_world *world = sim->world;
    if (sim->running) return SALLY_ESTATE;
    sim->running = true;
    uint64_t until_ns = world->now_ns + virtual_ms * SIM_MS;
    bool goes_on = true;
    while (goes_on && world->now_ns < until_ns) goes_on = step(sim, until_ns);
    sim->running = false;
    return goes_on ? 0 : 1;
}
