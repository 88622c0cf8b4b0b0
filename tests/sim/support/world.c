/* See world.h. */
#include "sim/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct world world;

static uint64_t sim_clock(void *sim) { return sally_sim_now_ms(sim); }

void world_prepare(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    assert_int_equal(sally_sim_create(&world.sim, seed, NULL), 0);
    sally_bans_options bans = {.now_ms = sim_clock, .clock_user = world.sim};
    assert_int_equal(sally_bans_create(&world.bans, &bans), 0);
    world.admission.bans = world.bans;
    world.options.admission = &world.admission;
}

int world_begin(const sally_handler *handler, unsigned shards)
{
    sally_engine_options options = {.shards = shards};
    int err = sally_sim_engine(world.sim, &options, &world.engine);
    if (!err) err = sally_listen(world.engine, SERVER, handler, &world.options, &world.server);
    return err;
}

void world_end(void)
{
    assert_int_equal(sally_engine_destroy(world.engine), 0);
    assert_int_equal(sally_sim_sockets(world.sim), 0);
    assert_int_equal(sally_sim_memory_bytes(world.sim), 0);
    assert_int_equal(world.opened, world.closed);
    sally_bans_destroy(world.bans);
    sally_sim_destroy(world.sim);
}

void world_echo(sally_conn *conn, const void *data, size_t len)
{
    if (sally_conn_send(conn, data, len)) (void)sally_conn_abort(conn);
}

void run_ms(uint32_t ms) { assert_true(sally_sim_run(world.sim, ms) >= 0); }

size_t received(sally_sim_peer *peer)
{
    size_t len = 0;
    (void)sally_sim_peer_received(peer, &len);
    return len;
}

sally_server_stats server_stats(void)
{
    sally_server_stats stats;
    assert_int_equal(sally_server_get_stats(world.server, &stats), 0);
    return stats;
}

sally_admission_stats admission_stats(void)
{
    sally_admission_stats stats;
    uint64_t sum = 0;
    assert_int_equal(sally_server_admission_stats(world.server, &stats), 0);
    for (int why = 0; why < SALLY_REFUSALS; why++) sum += stats.refused_for[why];
    assert_int_equal(sum, server_stats().refused); /* nothing runs meanwhile */
    return stats;
}
