/* Maximum age (P-90), heartbeats (P-87), and what the limits by choice cost; in the simulator. The
 * other limits are in time_limits_test.c. */
#include <string.h>

#include "net/support/timed.h"

/* ---- Age ---- */

static uint64_t crowd_of_ages(uint64_t seed)
{
    timed_begin();
    sally_engine *engine = timed_serve(
        seed, SALLY_SIM_YES, (sally_conn_limits){.max_age_ms = 10000, .age_spread_ms = 4000});
    for (int i = 0; i < TIMED_CROWD; i++) (void)sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_run(seen.sim, 30000);
    check_equal(seen.opened, TIMED_CROWD);
    check_equal(seen.closed, TIMED_CROWD);
    check_equal(seen.asked, TIMED_CROWD);
    uint64_t hash = 0;
    unsigned quarters[4] = {0};
    for (int i = 0; i < TIMED_CROWD; i++) {
        uint64_t age = seen.ages[i]; /* counted from the last one's opening */
        check(age + 5 * TIMED_LATENCY_MS >= 6000 && age <= 10000);
        hash = hash * 31 + age;
        quarters[age < 6000 ? 0 : age < 9999 ? (age - 6000) / 1000 : 3]++;
    }
    for (int i = 0; i < 4; i++) check(quarters[i] > TIMED_CROWD / 10);
    timed_finish(engine);
    return hash;
}

static void connections_made_together_do_not_end_together(const struct setting *setting)
{
    (void)setting;
    uint64_t first = crowd_of_ages(7);
    check(first == crowd_of_ages(7));
    check(first != crowd_of_ages(8));
}

static void an_old_connection_says_what_it_has_to_say_first(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    seen.reply = 96 << 10;
    sally_engine *engine = timed_serve(9, SALLY_SIM_NO, (sally_conn_limits){.max_age_ms = 1000});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 2000);
    check_equal(seen.closed, 0);
    sally_sim_peer_read(peer);
    sally_sim_run(seen.sim, 5000);
    check_equal(sally_sim_peer_bytes(peer), seen.reply);
    check(sally_sim_peer_finished(peer));
    sally_sim_peer_close(peer);
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.info.reason, SALLY_CLOSE_MAX_AGE);
    check_equal(seen.info.bytes_unsent, 0);
    timed_finish(engine);
}

/* ---- Heartbeats ---- */

static void a_heart_beats_when_nothing_is_sent(const struct setting *setting)
{
    (void)setting;
    for (int pings = 0; pings < 2; pings++) {
        timed_begin();
        seen.pings = pings;
        sally_engine *engine =
            timed_serve(10, SALLY_SIM_BY_SEED, (sally_conn_limits){.heartbeat_ms = 100});
        sally_sim_peer *peer = timed_peer();
        sally_sim_run(seen.sim, 10000);
        check(seen.beats >= 99 && seen.beats <= 101); /* on_heartbeat looks at each distance */
        check_equal(sally_sim_peer_bytes(peer) > 0, pings);
        unsigned beats = seen.beats;
        seen.echo = true;
        seen.pings = false;
        seen.any_beat = true;
        for (int i = 0; i < 50; i++) { /* what else is sent is a sign of life too */
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
            sally_sim_run(seen.sim, 50);
        }
        check(seen.beats <= beats + 1);
        timed_finish(engine);
    }
}

static void no_heart_beats_while_bytes_wait(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    seen.any_beat = true;
    seen.reply = 96 << 10;
    sally_engine *engine = timed_serve(11, SALLY_SIM_NO, (sally_conn_limits){.heartbeat_ms = 100});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 10000);
    check_equal(seen.beats, 0);
    sally_sim_peer_read(peer);
    for (int i = 0; i < 1000 && sally_sim_peer_bytes(peer) < seen.reply; i++)
        sally_sim_run(seen.sim, 50);
    check_equal(sally_sim_peer_bytes(peer), seen.reply);
    unsigned before = seen.beats;
    sally_sim_run(seen.sim, 105);
    check(seen.beats > before);
    timed_finish(engine);
}

static void a_dead_peer_is_found_and_a_living_one_is_not(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    seen.pings = true;
    sally_engine *engine = timed_serve(
        12, SALLY_SIM_YES, (sally_conn_limits){.heartbeat_ms = 100, .heartbeat_dead_ms = 350});
    sally_sim_peer *peer = timed_peer();
    uint64_t answered = 0, last_ms = 0;
    for (int i = 0; i < 5000; i++) { /* it answers each ping */
        sally_sim_run(seen.sim, 1);
        if (sally_sim_peer_bytes(peer) == answered) continue;
        answered = sally_sim_peer_bytes(peer);
        check_equal(sally_sim_peer_write(peer, "pong", 4), 4);
        last_ms = sally_sim_now_ms(seen.sim);
    }
    check(answered >= 40 * 4);
    check_equal(seen.closed, 0);
    sally_sim_peer_vanish(peer);
    seen.pings = false; /* what is sent now would wait for an answer for ever */
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, SALLY_CLOSE_HEARTBEAT_TIMEOUT);
    check(seen.closed_ms >= last_ms && seen.closed_ms <= last_ms + 350 + 2 * TIMED_LATENCY_MS);
    timed_finish(engine);
}

/* ---- Cost ---- */

static uint64_t bytes_of_crowd(sally_conn_limits limits)
{
    timed_begin();
    sally_engine *engine = timed_serve(15, SALLY_SIM_YES, limits);
    for (int i = 0; i < TIMED_CROWD; i++) (void)sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.opened, TIMED_CROWD);
    uint64_t bytes = sally_sim_memory_bytes(seen.sim);
    timed_finish(engine);
    return bytes;
}

static void only_who_asks_for_them_pays(const struct setting *setting)
{
    (void)setting;
    uint64_t without = bytes_of_crowd((sally_conn_limits){0});
    uint64_t off = bytes_of_crowd((sally_conn_limits){
        .idle_read_ms = SALLY_FOREVER, .max_age_ms = SALLY_FOREVER, .rate_window_ms = 5});
    uint64_t with = bytes_of_crowd((sally_conn_limits){.idle_read_ms = 60000});
    check_equal(off, without);
    check(with > without && with <= without + TIMED_CROWD * 150);
}

static void without_memory_a_newcomer_is_refused(const struct setting *setting)
{
    (void)setting;
    bool all = false;
    for (uint64_t nth = 1; !all; nth++) {
        timed_begin();
        sally_engine *engine =
            timed_serve(16, SALLY_SIM_YES, (sally_conn_limits){.idle_read_ms = 60000});
        sally_sim_run(seen.sim, 10);
        sally_sim_fail_alloc_at(seen.sim, nth, false);
        (void)sally_sim_dial(seen.sim, TIMED_SERVER);
        sally_sim_run(seen.sim, 1000);
        all = !sally_sim_alloc_failed(seen.sim);
        (void)sally_sim_dial(seen.sim, TIMED_SERVER); /* the next one is served */
        sally_sim_run(seen.sim, 1000);
        check(seen.opened >= 1);
        timed_finish(engine);
    }
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(connections_made_together_do_not_end_together, ANYWHERE),
        BEHAVIOUR(an_old_connection_says_what_it_has_to_say_first, ANYWHERE),
        BEHAVIOUR(a_heart_beats_when_nothing_is_sent, ANYWHERE),
        BEHAVIOUR(no_heart_beats_while_bytes_wait, ANYWHERE),
        BEHAVIOUR(a_dead_peer_is_found_and_a_living_one_is_not, ANYWHERE),
        BEHAVIOUR(only_who_asks_for_them_pays, ANYWHERE),
        BEHAVIOUR(without_memory_a_newcomer_is_refused, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
