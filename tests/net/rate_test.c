/* Upper limits for bytes a second (P-73), in the simulator, where the bound is met to the byte: of
 * one connection each way, beside every other limit, changed while it runs, and at its end. What
 * connections share is in bandwidth_test.c. */
#include <stdio.h>
#include <string.h>

#include "net/support/metered.h"
#include "sallyport/framing.h"

#define EACH_WAY(now) for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++)

/* What a test that looks each `STEP` ms can be late by: a share, a few turns and the network. */
enum { STEP = 20 };
static uint64_t slack_of(const sally_rate *rate)
{
    uint64_t share = rate->bytes_s / 100 > 64 ? rate->bytes_s / 100 : 64;
    return share + (uint64_t)rate->bytes_s * 2 * STEP / 1000 + 1;
}

static const sally_rate rates[] = {
    {.bytes_s = 200, .burst_bytes = 100},       {.bytes_s = 10000, .burst_bytes = 100},
    {.bytes_s = 100000, .burst_bytes = 20000},  {.bytes_s = 500000, .burst_bytes = 5000},
    {.bytes_s = 300000, .burst_bytes = 300000},
};

/* ---- One connection ---- */

static void what_is_sent_keeps_to_the_rate(const struct setting *setting)
{
    (void)setting;
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
        EACH_WAY(now)
        {
            sally_rates both = {.send = rates[i]};
            metered_begin();
            metered.options.conn.rates = &both;
            metered.fill = (uint64_t)rates[i].bytes_s * 4;
            metered_serve(i + 1, now);
            metered_dial(1);
            uint64_t from = metered.conns[0].opened_ms;
            while (sally_sim_now_ms(metered.sim) < from + 3000) {
                metered_run(STEP, false);
                METERED_WITHIN(metered_sent(), sally_sim_now_ms(metered.sim) - from, rates[i],
                               slack_of(&rates[i]));
            }
            metered_run(2000, false);
            metered_run(1, false);
            check_equal(sally_sim_peer_bytes(metered.conns[0].peer), metered.fill);
            metered_finish();
        }
    }
}

static void what_is_received_keeps_to_the_rate(const struct setting *setting)
{
    (void)setting;
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
        EACH_WAY(now)
        {
            sally_rates both = {.recv = rates[i]};
            metered_begin();
            metered.options.conn.rates = &both;
            metered_serve(i + 1, now);
            metered_dial(1);
            uint64_t from = metered.conns[0].opened_ms;
            while (sally_sim_now_ms(metered.sim) < from + 3000) {
                metered_run(STEP, true);
                METERED_WITHIN(metered_received(), sally_sim_now_ms(metered.sim) - from, rates[i],
                               slack_of(&rates[i]));
            }
            metered_finish();
        }
    }
}

static void an_outgoing_connection_has_its_limits_too(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        sally_rates both = {.recv = rates[1], .send = rates[2]};
        metered_begin();
        metered.fill = 1000000;
        metered_serve(4, now);
        metered_connect(&both);
        uint64_t from = metered.conns[0].opened_ms;
        while (sally_sim_now_ms(metered.sim) < from + 2000) {
            metered_run(STEP, true);
            uint64_t ms = sally_sim_now_ms(metered.sim) - from;
            METERED_WITHIN(metered_sent(), ms, both.send, slack_of(&both.send));
            METERED_WITHIN(metered_received(), ms, both.recv, slack_of(&both.recv));
        }
        metered_finish();
    }
}

/* Whichever allocation fails, nothing stays behind; who could be made has its limits. */
static void without_memory_nothing_is_left_behind(const struct setting *setting)
{
    (void)setting;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        sally_rates both = {.recv = rates[2], .send = rates[2]};
        sally_handler handler;
        metered_begin();
        metered.options.conn.rates = &both;
        metered.fill = 100000;
        metered_serve(n, SALLY_SIM_BY_SEED);
        handler = metered_handler();
        check_error(sally_bandwidth_create(&both.shared, metered.engine, rates[1], rates[1]), 0);
        check_error(sally_listen(metered.engine, METERED_SERVER, &handler, &metered.options, NULL),
                    0);
        sally_sim_fail_alloc_at(metered.sim, n, false);
        sally_connect_options options = {.conn.rates = &both, .same_shard = false};
        int err = sally_connect(metered.engine, METERED_SERVER, &handler, &options, NULL);
        check(err == 0 || err == SALLY_ENOMEM);
        sally_sim_peer *peer = sally_sim_dial(metered.sim, METERED_SERVER);
        for (int i = 0; i < 50; i++) {
            (void)sally_sim_peer_write(peer, "some bytes", 10);
            sally_sim_run(metered.sim, 10);
        }
        failed = sally_sim_alloc_failed(metered.sim);
        check_error(sally_engine_destroy(metered.engine), 0);
        check_equal(sally_sim_memory_bytes(metered.sim), 0);
        sally_sim_destroy(metered.sim);
        check(n < 1000);
    }
}

/* The peer wants to send as much as the network takes, and half a second lies between two pieces:
 * what it got rid of lies in the two socket buffers, and the engine holds one batch at most. */
static void a_peer_above_the_rate_is_held_up_and_costs_no_memory(const struct setting *setting)
{
    (void)setting;
    sally_rates both = {.recv = {.bytes_s = 100, .burst_bytes = 100}};
    metered_begin();
    metered.options.conn.rates = &both;
    metered_serve(1, SALLY_SIM_YES);
    metered_dial(1);
    uint64_t before = sally_sim_memory_bytes(metered.sim), most = 0;
    for (int i = 0; i < 1200; i++) {
        metered_run(1, true);
        uint64_t bytes = sally_sim_memory_bytes(metered.sim);
        if (bytes > most) most = bytes;
    }
    check(metered.conns[0].written < 200 << 10);
    check(most - before < 150 << 10);
    check(metered.conns[0].received > 150 && metered.conns[0].received < 230);
    metered_finish();
}

/* As if nothing limited it, but later: every byte, in order, and then the end. */
static void the_end_comes_after_every_byte(const struct setting *setting)
{
    (void)setting;
    sally_rates both = {.recv = {.bytes_s = 20000, .burst_bytes = 2000}};
    metered_begin();
    metered.options.conn.rates = &both;
    metered_serve(3, SALLY_SIM_YES);
    metered_dial(1);
    metered_run(0, true);
    sally_sim_peer_finish(metered.conns[0].peer);
    metered_run(1000, false);
    check_equal(metered.conns[0].closed, 0);
    metered_run(1000, false);
    check_equal(metered.conns[0].closed, 1);
    check_equal(metered.conns[0].info.reason, SALLY_CLOSE_PEER_CLOSED);
    check_equal(metered.conns[0].received, metered.conns[0].written);
    check(metered.conns[0].written > 30000);
    metered_finish();
}

static uint64_t turns(void)
{
    sally_engine_stats stats;
    check_error(sally_engine_get_stats(metered.engine, &stats), 0);
    return stats.turns;
}

/* A wake-up for 64 bytes or 10 ms, with one more to send; and none for a limit nobody meets. */
static void who_waits_sleeps(const struct setting *setting)
{
    (void)setting;
    sally_rates both = {.recv = {.bytes_s = 1000}, .send = {.bytes_s = 1000}};
    metered_begin();
    metered.options.conn.rates = &both;
    metered.fill = 1000000;
    metered_serve(1, SALLY_SIM_YES);
    metered_dial(1);
    metered_run(1000, false);
    uint64_t before = turns();
    metered_run(10000, false);
    check(turns() - before <= 4 * 10 * 1000 / 64);
    metered_finish();

    uint64_t quiet[2];
    for (int limited = 0; limited < 2; limited++) {
        metered_begin();
        if (limited) metered.options.conn.rates = &both;
        metered.fill = 100;
        metered_serve(1, SALLY_SIM_YES);
        metered_dial(50);
        metered_run(1000, false);
        before = turns();
        metered_run(10000, false);
        quiet[limited] = turns() - before;
        metered_finish();
    }
    check_equal(quiet[1], quiet[0]);
}

/* ---- Beside other limits ---- */

/* Between two pieces lie 64 ms, more than any of these allows a peer; and all the while the peer is
 * made to send faster than it may. */
static void our_own_wait_is_not_the_peers_fault(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        sally_rates both = {.recv = {.bytes_s = 1000, .burst_bytes = 500},
                            .send = {.bytes_s = 1000, .burst_bytes = 500}};
        metered_begin();
        metered.options.conn.rates = &both;
        metered.options.conn.idle_ms = 40;
        metered.options.conn.write_stall_ms = 40;
        metered.options.conn.limits = (sally_conn_limits){.idle_read_ms = 40,
                                                          .heartbeat_dead_ms = 45,
                                                          .min_send_bytes_s = 100000,
                                                          .rate_window_ms = 30};
        metered.fill = 20000;
        metered_serve(1, now);
        metered_dial(1);
        for (int i = 0; i < 1000; i++) metered_run(10, true);
        check_equal(metered.closed + metered.timeouts, 0);
        check(metered.conns[0].received > 9000 && metered_sent() > 9000);
        metered_finish();
    }
}

static void a_peer_that_takes_nothing_is_found_all_the_same(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        sally_rates both = {.send = {.bytes_s = 1000000, .burst_bytes = 100000}};
        metered_begin();
        metered.options.conn.rates = &both;
        metered.options.conn.write_stall_ms = 700;
        metered.fill = 3000000;
        metered_serve(1, now);
        metered_dial(1);
        sally_sim_peer_stop_reading(metered.conns[0].peer);
        sally_sim_run(metered.sim, 4000);
        check_equal(metered.closed, 1);
        check_equal(metered.conns[0].info.reason, SALLY_CLOSE_WRITE_TIMEOUT);
        metered_finish();
    }
}

static const sally_framing length = {.kind = SALLY_FRAMING_LENGTH};

static struct {
    unsigned count;
    unsigned wrong;
} messages;

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    unsigned char wanted = (unsigned char)messages.count++;
    (void)conn;
    messages.wrong += len != 1000 || ((const unsigned char *)data)[0] != wanted ||
                      ((const unsigned char *)data)[999] != wanted;
}

/* 200 messages of 1000 bytes at 100 000 a second, each with a time limit that the limit for bytes
 * alone makes too short: waiting for us doesn't count. */
static void messages_come_whole_at_the_rate(const struct setting *setting)
{
    (void)setting;
    sally_sim *sim;
    sally_engine *engine;
    sally_rates both = {.recv = {.bytes_s = 100000, .burst_bytes = 1000}};
    sally_server_options options = {.conn = {.framing = &length, .rates = &both, .message_ms = 8}};
    sally_handler handler = {.on_message = on_message};
    sally_sim_options world = {.latency_max_us = 1000};
    memset(&messages, 0, sizeof messages);
    check_error(sally_sim_create(&sim, 5, &world), 0);
    check_error(sally_sim_engine(sim, NULL, &engine), 0);
    check_error(sally_listen(engine, METERED_SERVER, &handler, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(sim, METERED_SERVER);
    unsigned char frame[1004] = {0, 0, 3, 0xe8};
    size_t at = sizeof frame;
    uint64_t bytes = 0;
    for (unsigned sent = 0; sally_sim_now_ms(sim) < 3000; sally_sim_run(sim, 5)) {
        while (sally_sim_peer_get_state(peer) == SALLY_SIM_OPEN) {
            if (at == sizeof frame) {
                if (sent == 200) break;
                memset(frame + 4, (int)(sent++ & 0xff), 1000);
                at = 0;
            }
            size_t took = sally_sim_peer_write(peer, frame + at, sizeof frame - at);
            at += took;
            if (!took) break;
        }
        bytes = messages.count * (uint64_t)sizeof frame;
        check(bytes <= 100 * sally_sim_now_ms(sim) + 1000);
    }
    check_equal(messages.count, 200);
    check_equal(messages.wrong, 0);
    check_error(sally_engine_destroy(engine), 0);
    sally_sim_destroy(sim);
}

/* ---- Changing ---- */

static void set(sally_conn *conn, void *arg) { check_error(sally_conn_set_rates(conn, arg), 0); }

static void limits_change_while_it_runs(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        sally_rates slow = {.recv = {.bytes_s = 1000, .burst_bytes = 100},
                            .send = {.bytes_s = 1000, .burst_bytes = 100}};
        sally_rates fast = {.recv = {.bytes_s = 100000, .burst_bytes = 2000},
                            .send = {.bytes_s = 100000, .burst_bytes = 2000}};
        metered_begin();
        metered.fill = UINT64_MAX;
        metered.options.conn.no_auto_pause = true; /* the queue is always full */
        metered_serve(7, now);
        metered_dial(1);
        for (int i = 0; i < 5; i++) metered_run(STEP, true);
        uint64_t sent = metered_sent(), received = metered_received();
        check(sent > 100000 && received > 100000); /* no limit */
        const sally_rates *each[] = {&slow, &fast, &slow};
        for (int i = 0; i < 3; i++) {
            metered_do(0, set, (void *)each[i]);
            metered_run(STEP, true); /* what was handed to the system before */
            sent = metered_sent();
            received = metered_received();
            for (int ms = 0; ms < 2000; ms += STEP) metered_run(STEP, true);
            METERED_WITHIN(metered_sent() - sent, 2000, each[i]->send, slack_of(&each[i]->send));
            METERED_WITHIN(metered_received() - received, 2000, each[i]->recv,
                           slack_of(&each[i]->recv));
        }
        metered_do(0, set, NULL);
        sent = metered_sent();
        for (int i = 0; i < 5; i++) metered_run(STEP, true);
        check(metered_sent() - sent > 100000);
        metered_finish();
    }
}

static void set_wrong(sally_conn *conn, void *arg)
{
    static const sally_rate wrong[] = {{.burst_bytes = 5},
                                       {.bytes_s = 1000000, .burst_bytes = 9999},
                                       {.bytes_s = 200, .burst_bytes = 1}};
    (void)arg;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        check_error(sally_conn_set_rates(conn, &(sally_rates){.recv = wrong[i]}), SALLY_EINVAL);
        check_error(sally_conn_set_rates(conn, &(sally_rates){.send = wrong[i]}), SALLY_EINVAL);
    }
    check_error(sally_conn_set_rates(NULL, NULL), SALLY_EINVAL);
    check_error(sally_conn_set_rates(conn, &(sally_rates){.send = {.bytes_s = 1}}), 0);
    check_error(sally_conn_set_rates(conn, &(sally_rates){.send = {.bytes_s = UINT32_MAX}}), 0);
    sally_conn_close(conn);
    check_error(sally_conn_set_rates(conn, NULL), SALLY_ECLOSED);
}

static void what_makes_no_sense_is_refused(const struct setting *setting)
{
    (void)setting;
    sally_rates wrong = {.recv = {.bytes_s = 1000000, .burst_bytes = 9999}};
    metered_begin();
    metered_serve(1, SALLY_SIM_YES);
    sally_server_options options = {.conn.rates = &wrong};
    sally_handler handler = {0};
    check_error(sally_listen(metered.engine, "127.0.0.1:5003", &handler, &options, NULL),
                SALLY_EINVAL);
    sally_connect_options out = {.conn.rates = &wrong};
    check_error(sally_connect(metered.engine, METERED_SERVER, &handler, &out, NULL), SALLY_EINVAL);
    metered_dial(1);
    metered_do(0, set_wrong, NULL);
    metered_finish();
}

/* ---- The end ---- */

static void close_it(sally_conn *conn, void *arg)
{
    (void)arg;
    check_error(sally_conn_close(conn), 0);
}

static void abort_it(sally_conn *conn, void *arg)
{
    (void)arg;
    check_error(sally_conn_abort(conn), 0);
}

/* 30 000 bytes at 10 000 a second. */
static void close_with(sally_sim_choice now, uint32_t linger_ms, void (*how)(sally_conn *, void *))
{
    sally_rates both = {.send = {.bytes_s = 10000, .burst_bytes = 1000}};
    metered_begin();
    metered.options.conn.rates = &both;
    metered.options.conn.linger_ms = linger_ms;
    metered.fill = 30000;
    metered_serve(1, now);
    metered_dial(1);
    metered_do(0, how, NULL);
}

static void a_gentle_close_keeps_to_the_rate(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        close_with(now, 0, close_it);
        uint64_t from = metered.conns[0].opened_ms;
        while (!sally_sim_peer_finished(metered.conns[0].peer)) {
            metered_run(STEP, false);
            uint64_t ms = sally_sim_now_ms(metered.sim) - from;
            check(metered_sent() <= 10 * ms + 1000);
            check(ms < 4000);
        }
        check_equal(sally_sim_peer_bytes(metered.conns[0].peer), 30000);
        check(sally_sim_now_ms(metered.sim) >= from + 2900);
        sally_sim_peer_close(metered.conns[0].peer);
        sally_sim_run(metered.sim, 100);
        check_equal(metered.conns[0].info.reason, SALLY_CLOSE_LOCAL);
        check_equal(metered.conns[0].info.bytes_unsent, 0);
        metered_finish();
    }
}

static void what_lingers_too_long_is_dropped_and_told(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        close_with(now, 1500, close_it);
        uint64_t from = sally_sim_now_ms(metered.sim);
        sally_sim_run(metered.sim, 3000);
        const struct metered_conn *of = &metered.conns[0];
        check_equal(of->closed, 1);
        check_equal(of->info.reason, SALLY_CLOSE_LINGER_TIMEOUT);
        check(of->closed_ms + 2 >= from + 1500);
        check(of->closed_ms <= from + 1510);
        check_equal(of->info.bytes_out + of->info.bytes_unsent, 30000);
        METERED_WITHIN(of->info.bytes_out, 1500 + from - of->opened_ms,
                       ((sally_rate){.bytes_s = 10000, .burst_bytes = 1000}), 1000);
        metered_finish();
    }
}

static void an_abort_waits_for_nothing(const struct setting *setting)
{
    (void)setting;
    EACH_WAY(now)
    {
        close_with(now, 0, abort_it);
        sally_sim_run(metered.sim, 20);
        check_equal(metered.conns[0].closed, 1);
        check_equal(metered.conns[0].info.reason, SALLY_CLOSE_ABORTED);
        metered_finish();
    }
}

/* ---- Anything at any time ---- */

static void random_do(sally_conn *conn, void *arg)
{
    sally_sim *sim = metered.sim;
    (void)arg;
    if (!conn) return;
    switch (sally_sim_random(sim, 8)) {
    case 0: sally_conn_pause(conn); break;
    case 1:
    case 2: sally_conn_resume(conn); break;
    case 3: sally_conn_shutdown(conn); break;
    case 4:
        if (!sally_sim_random(sim, 3)) sally_conn_close(conn);
        break;
    case 5:
        if (!sally_sim_random(sim, 3)) sally_conn_abort(conn);
        break;
    case 6: sally_conn_set_rates(conn, NULL); break;
    default: {
        sally_rates both = {.recv = {.bytes_s = 100 + sally_sim_random(sim, 100000)},
                            .send = {.bytes_s = 100 + sally_sim_random(sim, 100000)}};
        sally_conn_set_rates(conn, &both);
        break;
    }
    }
}

static void one_life(uint64_t seed)
{
    sally_rates both = {.recv = {.bytes_s = 20000}, .send = {.bytes_s = 30000}};
    sally_sim_faults faults;
    metered_begin();
    metered.options.conn.rates = &both;
    metered.fill = 20000;
    metered.narrow = seed % 2;
    metered.shards = 1 + (uint32_t)(seed % 3);
    metered_serve(seed, SALLY_SIM_BY_SEED);
    metered_dial(6);
    sally_sim_draw_faults(metered.sim, &faults);
    sally_sim_set_faults(metered.sim, &faults);
    for (int i = 0; i < 60; i++) {
        metered_run(sally_sim_random(metered.sim, 60), true);
        sally_id id = metered.conns[sally_sim_random(metered.sim, metered.count)].id;
        (void)sally_post(metered.engine, id, random_do, NULL);
    }
    sally_sim_set_faults(metered.sim, NULL);
}

static void whatever_happens_nothing_is_lost_or_left(const struct setting *setting)
{
    (void)setting;
    metered_seeds(12, 3000, one_life);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(what_is_sent_keeps_to_the_rate, ANYWHERE),
        BEHAVIOUR(what_is_received_keeps_to_the_rate, ANYWHERE),
        BEHAVIOUR(an_outgoing_connection_has_its_limits_too, ANYWHERE),
        BEHAVIOUR(without_memory_nothing_is_left_behind, ANYWHERE),
        BEHAVIOUR(a_peer_above_the_rate_is_held_up_and_costs_no_memory, ANYWHERE),
        BEHAVIOUR(the_end_comes_after_every_byte, ANYWHERE),
        BEHAVIOUR(who_waits_sleeps, ANYWHERE),
        BEHAVIOUR(our_own_wait_is_not_the_peers_fault, ANYWHERE),
        BEHAVIOUR(a_peer_that_takes_nothing_is_found_all_the_same, ANYWHERE),
        BEHAVIOUR(messages_come_whole_at_the_rate, ANYWHERE),
        BEHAVIOUR(limits_change_while_it_runs, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(a_gentle_close_keeps_to_the_rate, ANYWHERE),
        BEHAVIOUR(what_lingers_too_long_is_dropped_and_told, ANYWHERE),
        BEHAVIOUR(an_abort_waits_for_nothing, ANYWHERE),
        BEHAVIOUR(whatever_happens_nothing_is_lost_or_left, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
