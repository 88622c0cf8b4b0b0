/* The simulated world, its peers and its clock; see world.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/support/world.h"

enum { LATENCY_MAX_US = 50, TURN_LIMIT_MS = 1, STEPS_A_TURN = 64 };

struct wire {
    struct world *world;
    sally_sim_peer *peer;
    sally_sim_listener *listener;
    bool told_end;
};

static int sim_engine(struct world *world, const sally_engine_options *given, sally_engine **engine)
{
    sally_engine_options options = *given;
    options.shards = world->shards;
    options.allocator = (sally_allocator){0}; /* the sim looks for leaks by itself */
    return sally_sim_engine(world->sim, &options, engine);
}

static bool after_steps(void *arg)
{
    struct world *world = arg;
    return world->asked++ >= STEPS_A_TURN;
}

/* Time passes only as far as what is on its way needs. */
static void sim_turn(struct world *world)
{
    world->asked = 0;
    (void)!sally_sim_run_until(world->sim, after_steps, world, TURN_LIMIT_MS);
}

static void sim_pass(struct world *world, uint32_t ms) { (void)sally_sim_run(world->sim, ms); }

static void sim_destroy(struct world *world) { sally_sim_destroy(world->sim); }

static struct wire *wire_make(struct world *world)
{
    struct wire *wire = calloc(1, sizeof *wire);
    if (!wire) abort();
    wire->world = world;
    return wire;
}

static struct wire *sim_dial(struct world *world, const char *address, int recv_buf_bytes)
{
    (void)recv_buf_bytes; /* the world's are small */
    struct wire *wire = wire_make(world);
    wire->peer = sally_sim_dial(world->sim, address);
    if (!wire->peer) abort();
    return wire;
}

static struct wire *sim_listen(struct world *world, char *address, size_t size)
{
    struct wire *wire = wire_make(world);
    wire->listener = sally_sim_listen(world->sim, "127.0.0.1:0", 16);
    if (!wire->listener) abort();
    sally_sim_listener_address(wire->listener, address, size);
    return wire;
}

static struct wire *sim_accept(struct wire *listener)
{
    sally_sim_peer *peer = sally_sim_listener_accept(listener->listener);
    if (!peer) return NULL;
    struct wire *wire = wire_make(listener->world);
    wire->peer = peer;
    return wire;
}

static void sim_nowhere(struct world *world, char *address, size_t size)
{
    (void)world;
    snprintf(address, size, "127.0.0.1:9");
}

static void sim_hole(struct world *world, char *address, size_t size)
{
    snprintf(address, size, "192.0.2.1:7");
    if (sally_sim_black_hole(world->sim, address) != 0) abort();
}

static enum wire_news sim_look(struct wire *wire, void *buf, size_t size, size_t *len)
{
    if (!wire->peer || wire->told_end) return WIRE_NOTHING;
    const void *data = sally_sim_peer_received(wire->peer, len);
    if (*len) {
        if (*len > size) *len = size;
        memcpy(buf, data, *len);
        sally_sim_peer_consume(wire->peer, *len);
        return WIRE_BYTES;
    }
    wire->told_end = true;
    switch (sally_sim_peer_get_state(wire->peer)) {
    case SALLY_SIM_FINISHED: return WIRE_FIN;
    case SALLY_SIM_RESET: return WIRE_RST;
    case SALLY_SIM_REFUSED: return WIRE_REFUSED;
    default: wire->told_end = false;
    }
    return WIRE_NOTHING;
}

static bool sim_ready(struct wire *wire)
{
    return sally_sim_peer_get_state(wire->peer) != SALLY_SIM_CONNECTING;
}

static size_t sim_send(struct wire *wire, const void *data, size_t len)
{
    return sally_sim_peer_write(wire->peer, data, len);
}

static void sim_stop(struct wire *wire, bool stopped)
{
    if (stopped)
        sally_sim_peer_stop_reading(wire->peer);
    else
        sally_sim_peer_read(wire->peer);
}

static void sim_finish(struct wire *wire) { sally_sim_peer_finish(wire->peer); }

static void sim_reset(struct wire *wire)
{
    sally_sim_peer_reset(wire->peer);
    wire->told_end = true;
}

static void sim_close(struct wire *wire)
{
    if (wire->peer) sally_sim_peer_close(wire->peer);
    if (wire->listener) sally_sim_listener_close(wire->listener);
    wire->told_end = true;
}

static void sim_address(struct wire *wire, char *buf, size_t size)
{
    sally_sim_peer_address(wire->peer, buf, size);
}

static void sim_free(struct wire *wire)
{
    sim_close(wire);
    free(wire);
}

static const struct world_ops sim_ops = {
    .engine = sim_engine,
    .turn = sim_turn,
    .pass = sim_pass,
    .destroy = sim_destroy,
    .dial = sim_dial,
    .listen = sim_listen,
    .accept = sim_accept,
    .nowhere = sim_nowhere,
    .hole = sim_hole,
    .look = sim_look,
    .ready = sim_ready,
    .send = sim_send,
    .stop = sim_stop,
    .finish = sim_finish,
    .reset = sim_reset,
    .close = sim_close,
    .address = sim_address,
    .free = sim_free,
};

bool world_sim_make(struct world *world, uint64_t seed, const char **why)
{
    world->ops = &sim_ops;
    sally_sim_options options = {.latency_max_us = LATENCY_MAX_US};
    int err = sally_sim_create(&world->sim, seed, &options);
    if (err) *why = sally_strerror(err);
    return err == 0;
}

/* ---- Any ---- */

struct world *world_make(const struct column *column, unsigned shards, uint64_t seed,
                         const char **why)
{
    struct world *world = calloc(1, sizeof *world);
    if (!world) abort();
    *why = NULL;
    world->column = column;
    world->shards = shards;
    bool made = column->ops ? world_machine_make(world, why) : world_sim_make(world, seed, why);
    if (made) return world;
    free(world);
    return NULL;
}

void world_free(struct world *world)
{
    if (!world) return;
    world->ops->destroy(world);
    free(world);
}
