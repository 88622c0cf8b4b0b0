/* Connections through proxies whatever goes wrong, in virtual time: each allocation fails once, and
 * in storms of faults each end gets what the other said and nothing of the proxy's talk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/rate.h"
#include "sim/support/upstream.h"
#include "support/long.h"

enum { SEEDS = 2000 };

/* ---- Whatever goes wrong ---- */

static void without_memory_it_fails_and_nothing_is_left(void **state)
{
    (void)state;
    unsigned served = 0, failed = 0;
    for (uint64_t n = 1; n < 400 && served < 3; n++) {
        const struct protocol *protocol = &protocols[n % PROTOCOLS];
        begin_protocol(9, protocol);
        sally_sim_fail_alloc_at(world.sim, n, false);
        int err = dial_to(protocol->to);
        run_ms(100);
        serve_some(sally_sim_listener_accept(door), protocol);
        run_ms(6000);
        bool had_failed = sally_sim_alloc_failed(world.sim);
        failed += had_failed;
        served += !had_failed;
        assert_true(had_failed || seen.opened);
        if (err) assert_int_equal(err, SALLY_ENOMEM);
        if (!err && !seen.opened) assert_int_equal(seen.info.error, SALLY_ENOMEM);
        sally_sim_fail_alloc_at(world.sim, 0, false);
        world_end();
    }
    assert_int_equal(served, 3); /* all that there are have failed */
    assert_true(failed >= 6);
}

/* A proxy of the storm: it answers as it likes to, and everything at once or bit by bit. */
static void something_is_answered(sally_sim_peer *peer, const struct protocol *protocol)
{
    switch (sally_sim_random(world.sim, 8)) {
    case 0: (void)sally_sim_peer_write(peer, "\5\1x", 3); break;
    case 1: sally_sim_peer_finish(peer); break;
    case 2: sally_sim_peer_reset(peer); break;
    default: serve_some(peer, protocol); break;
    }
    if (!sally_sim_random(world.sim, 4)) sally_sim_peer_finish(peer);
}

/* What came is the beginning of what was said, and a proxy hears its own before ours. */
static void check_streams(sally_sim_peer *peer, const struct protocol *protocol)
{
    for (size_t at = 0; at < seen.got_len; at++)
        if (seen.got[at] != theirs(at)) fail_msg("%zu of what we got", at);
    size_t len, at = 0, said = 0;
    const char *bytes = peer ? sally_sim_peer_received(peer, &len) : NULL;
    if (!bytes) return;
    for (unsigned i = 0; i < 3 && protocol->steps[i].asks; i++)
        for (size_t n = 0; n < protocol->steps[i].asks_len && at < len; n++, at++)
            if (bytes[at] != protocol->steps[i].asks[n]) return; /* was answered with nonsense */
    for (; at < len; at++, said++)
        if (bytes[at] != ours(said)) fail_msg("%zu of what the target got", said);
}

static void storm(uint64_t seed)
{
    static const sally_rates rates = {.recv = {.bytes_s = 1000}, .send = {.bytes_s = 1000}};
    const struct protocol *protocol = &protocols[seed % PROTOCOLS];
    sally_sim_faults faults;
    begin_protocol(seed, protocol);
    seen.by_seed = sally_sim_random(world.sim, 2);
    seen.to_say = sally_sim_random(world.sim, STREAM);
    seen.options.conn.rates = sally_sim_random(world.sim, 3) ? NULL : &rates;
    seen.options.conn.memory_max = sally_sim_random(world.sim, 3) ? 0 : 1 << 16;
    seen.options.conn.limits.idle_read_ms = sally_sim_random(world.sim, 2) ? 0 : 3000;
    sally_sim_draw_faults(world.sim, &faults);
    sally_sim_set_faults(world.sim, &faults);
    bool asked = dial_to(protocol->to) == 0;
    sally_sim_peer *peer = NULL;
    for (unsigned i = 0; i < 100 && !peer; i++) {
        run_ms(50);
        peer = sally_sim_listener_accept(door);
    }
    if (peer) something_is_answered(peer, protocol);
    run_ms(sally_sim_random(world.sim, 4000));
    if (!sally_sim_random(world.sim, 4)) (void)sally_abort(world.engine, seen.id);
    run_ms(20000);
    check_streams(peer, protocol);
    sally_sim_set_faults(world.sim, NULL);
    if (peer) sally_sim_peer_reset(peer);
    run_ms(700 * 1000);
    if (asked && world.closed + seen.closed_alone != 1)
        fail_msg("seed %llu: told %u times", (unsigned long long)seed,
                 world.closed + seen.closed_alone);
    world_end();
}

static void whatever_goes_wrong_streams_stay_apart_and_the_end_is_told_once(void **state)
{
    (void)state;
    seeds_run(SEEDS, 50, storm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_it_fails_and_nothing_is_left),
        cmocka_unit_test(whatever_goes_wrong_streams_stay_apart_and_the_end_is_told_once),
    };
    return cmocka_run_group_tests_name("upstream_storm", tests, NULL, NULL);
}
