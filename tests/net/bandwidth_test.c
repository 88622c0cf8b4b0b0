/* Limits for bytes a second that connections share (P-74): the bound for all of them together, the
 * part of each, on one shard and on several, and how it begins and ends. In the simulator,
 * to the byte. */
#include <stdio.h>
#include <string.h>

#include "net/support/metered.h"

enum { STEP = 20 };

static sally_bandwidth *shared;
static sally_rates naming;

/* Connections of the server share it from now on. */
static void begin_shared(uint64_t seed, uint32_t shards, sally_rate recv, sally_rate send)
{
    metered_begin();
    metered.shards = shards;
    metered.options.conn.no_auto_pause = true;
    metered.options.conn.send_bytes_max = 100000;
    metered.fill = UINT64_MAX;
    metered_serve(seed, seed % 2 ? SALLY_SIM_YES : SALLY_SIM_NO);
    check_error(sally_bandwidth_create(&shared, metered.engine, recv, send), 0);
    naming = (sally_rates){.shared = shared};
    metered.options.conn.rates = &naming;
}

static sally_bandwidth_stats stats(void)
{
    sally_bandwidth_stats stats;
    check_error(sally_bandwidth_get_stats(shared, &stats), 0);
    return stats;
}

/* ---- The bound, and the parts ---- */

struct mark {
    uint64_t sent, received;
    uint64_t each_sent[METERED_CONNS], each_received[METERED_CONNS];
};

static struct mark mark_now(void)
{
    struct mark mark = {.sent = metered_sent(), .received = metered_received()};
    for (unsigned i = 0; i < metered.count; i++) {
        mark.each_sent[i] = metered.conns[i].sent;
        mark.each_received[i] = metered.conns[i].received;
    }
    return mark;
}

/* `least` and `most` of an equal part, in percent; of what is received half of the one and twice
 * the other: who gets its bytes in small pieces doesn't always have enough for its turn. */
static void check_parts(const struct mark *from, unsigned least, unsigned most)
{
    struct mark now = mark_now();
    uint64_t sent = (now.sent - from->sent) / metered.count;
    uint64_t received = (now.received - from->received) / metered.count;
    for (unsigned i = 0; i < metered.count; i++) {
        uint64_t out = now.each_sent[i] - from->each_sent[i];
        uint64_t in = now.each_received[i] - from->each_received[i];
        bool fair_in = in * 100 >= received * least / 2 && in * 100 <= received * most * 2;
        if (out * 100 < sent * least || out * 100 > sent * most || !fair_in) {
            fprintf(stderr, "connection %u of %u: %llu out of %llu, %llu in of %llu\n", i,
                    metered.count, (unsigned long long)out, (unsigned long long)sent,
                    (unsigned long long)in, (unsigned long long)received);
            check(false);
        }
    }
}

/* So many connections that all want everything for 10 s: the sum keeps to the limits at each
 * moment, and each has its part. */
static void crowd(uint64_t seed, uint32_t shards, unsigned count, sally_rate recv, sally_rate send)
{
    begin_shared(seed, shards, recv, send);
    metered_dial(count);
    metered_run(1000, true); /* the burst goes to who comes first */
    struct mark from = mark_now();
    for (int ms = 0; ms < 10000; ms += STEP) {
        metered_run(STEP, true);
        struct mark now = mark_now();
        METERED_WITHIN(now.sent - from.sent, ms + STEP, send, send.bytes_s / 4);
        METERED_WITHIN(now.received - from.received, ms + STEP, recv, recv.bytes_s / 4);
    }
    check_parts(&from, 95, 105);
    check_equal(stats().conns, count);
    check(stats().send_waiting + stats().recv_waiting > 0);
    metered_finish();
}

static void eight_have_an_eighth_each(const struct setting *setting)
{
    (void)setting;
    const sally_rate recv = {.bytes_s = 80000, .burst_bytes = 8000};
    const sally_rate send = {.bytes_s = 160000, .burst_bytes = 16000};
    for (uint64_t seed = 1; seed <= 2; seed++) crowd(seed, 1, 8, recv, send);
}

/* 8 over 3 shards: parts are by connection, not by shard. */
static void parts_are_fair_between_shards(const struct setting *setting)
{
    (void)setting;
    const sally_rate recv = {.bytes_s = 80000, .burst_bytes = 8000};
    const sally_rate send = {.bytes_s = 160000, .burst_bytes = 16000};
    for (uint64_t seed = 1; seed <= 2; seed++) crowd(seed, 3, 8, recv, send);
}

/* A turn for each takes more than a second: nobody is left out. */
static void nobody_starves_in_a_crowd(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 4000, .burst_bytes = 400};
    for (uint32_t shards = 1; shards <= 2; shards++) {
        begin_shared(shards, shards, rate, rate);
        metered_dial(60);
        metered_run(1000, true);
        struct mark from = mark_now();
        for (int ms = 0; ms < 20000; ms += 250) metered_run(250, true);
        METERED_WITHIN(metered_sent() - from.sent, 20000, rate, 20 * 4000 / 50);
        METERED_WITHIN(metered_received() - from.received, 20000, rate, 20 * 4000 / 50);
        check_parts(&from, 90, 110);
        metered_finish();
    }
}

static void set(sally_conn *conn, void *arg) { check_error(sally_conn_set_rates(conn, arg), 0); }

/* However much there is at first: of what was taken no more than a piece each is not gone. */
static void who_is_stuck_keeps_one_piece(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 4000000, .burst_bytes = 4000000};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        begin_shared(seed, 1, (sally_rate){0}, rate);
        metered.options.conn.send_bytes_max = 1000000;
        metered.options.conn.write_stall_ms = SALLY_FOREVER;
        metered.fill = 0;
        metered_dial(5);
        for (unsigned i = 0; i < 5; i++) sally_sim_peer_stop_reading(metered.conns[i].peer);
        metered.fill = UINT64_MAX;
        for (unsigned i = 0; i < 5; i++) metered_do(i, metered_fill, NULL);
        metered_run(100, false);
        check(metered_sent() <= stats().send_bytes);
        check(stats().send_bytes - metered_sent() <= 5 * 65536);
        metered_finish();
    }
}

static void empty_fill(sally_conn *conn, void *arg)
{
    (void)arg;
    check_error(sally_conn_pause(conn), 0);
}

/* What some don't use, others get: two want all, six want nothing. */
static void what_nobody_wants_is_not_lost(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 100000, .burst_bytes = 10000};
    for (uint32_t shards = 1; shards <= 3; shards += 2) {
        begin_shared(1, shards, rate, rate);
        metered.fill = 0;
        metered_dial(6);
        metered.fill = UINT64_MAX;
        metered_dial(2);
        metered_run(1000, false);
        struct mark from = mark_now();
        for (int ms = 0; ms < 5000; ms += STEP) metered_run(STEP, false);
        METERED_WITHIN(metered_sent() - from.sent, 5000, rate, 10000);
        metered_finish();
    }
}

/* The stricter holds: one has 5000 of its own, the other the rest of 50000. */
static void a_connection_may_have_both(const struct setting *setting)
{
    (void)setting;
    const sally_rate all = {.bytes_s = 50000, .burst_bytes = 5000};
    const sally_rate own = {.bytes_s = 5000, .burst_bytes = 500};
    begin_shared(1, 1, all, all);
    metered_dial(2);
    sally_rates both = {.recv = own, .send = own, .shared = shared};
    metered_do(0, set, &both);
    metered_run(1000, true);
    struct mark from = mark_now();
    for (int ms = 0; ms < 5000; ms += STEP) metered_run(STEP, true);
    struct mark now = mark_now();
    METERED_WITHIN(now.each_sent[0] - from.each_sent[0], 5000, own, 2500);
    METERED_WITHIN(now.each_received[0] - from.each_received[0], 5000, own, 2500);
    METERED_WITHIN(now.sent - from.sent, 5000, all, 10000);
    METERED_WITHIN(now.received - from.received, 5000, all, 10000);
    check(now.each_sent[1] - from.each_sent[1] > 200000);
    metered_finish();
}

/* Peers that take nothing keep what they were handed, once; the others have the rest. */
static void who_is_stuck_takes_nothing_from_the_others(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 200000, .burst_bytes = 20000};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        begin_shared(seed, 1, (sally_rate){0}, rate);
        metered.options.conn.write_stall_ms = SALLY_FOREVER;
        metered_dial(6);
        for (unsigned i = 0; i < 5; i++) {
            sally_sim_peer_stop_reading(metered.conns[i].peer);
            metered_do(i, empty_fill, NULL);
        }
        for (int ms = 0; ms < 3000; ms += STEP) metered_run(STEP, false);
        uint64_t before = metered.conns[5].sent;
        for (int ms = 0; ms < 3000; ms += STEP) metered_run(STEP, false);
        METERED_WITHIN(metered.conns[5].sent - before, 3000, rate, 20000);
        metered_finish();
    }
}

/* One sends so little at a time that there is always enough for it, and in all as much as the rate:
 * it stands in line like those that wait for more, and is not before them. */
static void who_sends_little_at_a_time_waits_too(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 100000, .burst_bytes = 10000};
    for (uint32_t shards = 1; shards <= 2; shards++) {
        begin_shared(1, shards, (sally_rate){0}, rate);
        metered.fill = 0;
        metered_dial(1);
        metered.fill = UINT64_MAX;
        metered_dial(3);
        metered_run(500, false);
        struct mark from = mark_now();
        for (int ms = 0; ms < 2000; ms++) {
            metered_do(0, metered_say, NULL);
            metered_run(0, false);
        }
        struct mark now = mark_now();
        METERED_WITHIN(now.sent - from.sent, 2000, rate, 10000);
        check(now.each_sent[0] - from.each_sent[0] < 80000);
        for (int i = 1; i < 4; i++) check(now.each_sent[i] - from.each_sent[i] > 40000);
        metered_finish();
    }
}

/* ---- Life ---- */

static void abort_it(sally_conn *conn, void *arg)
{
    (void)arg;
    sally_conn_abort(conn);
}

static void members_go_and_the_rest_goes_on(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 60000, .burst_bytes = 6000};
    begin_shared(1, 2, rate, rate);
    metered_dial(6);
    metered_run(500, true);
    metered_do(0, abort_it, NULL); /* they stand in line */
    metered_do(3, abort_it, NULL);
    sally_rates own = {.recv = {.bytes_s = 200000}, .send = {.bytes_s = 200000}};
    metered_do(4, set, &own);
    metered_run(100, true);
    check_equal(stats().conns, 3);
    uint64_t free_before = metered.conns[4].received;
    uint64_t sent = metered.conns[1].sent + metered.conns[2].sent + metered.conns[5].sent;
    for (int ms = 0; ms < 2000; ms += STEP) metered_run(STEP, true);
    check(metered.conns[4].received - free_before > 350000); /* it has left */
    METERED_WITHIN(metered.conns[1].sent + metered.conns[2].sent + metered.conns[5].sent - sent,
                   2000, rate, 8000);
    metered_finish();
}

/* Its owner lets go of it: who shares it, and who comes to the server later, is limited as before.
 */
static void destroyed_it_lives_as_long_as_somebody_shares_it(const struct setting *setting)
{
    (void)setting;
    const sally_rate rate = {.bytes_s = 30000, .burst_bytes = 3000};
    begin_shared(2, 2, rate, rate);
    metered_dial(3);
    sally_bandwidth_destroy(shared);
    sally_bandwidth_destroy(NULL);
    metered_dial(3);
    metered_run(1000, true);
    struct mark from = mark_now();
    for (int ms = 0; ms < 3000; ms += STEP) metered_run(STEP, true);
    METERED_WITHIN(metered_sent() - from.sent, 3000, rate, 9000);
    METERED_WITHIN(metered_received() - from.received, 3000, rate, 9000);
    metered_finish();
}

static void limits_change_for_all(const struct setting *setting)
{
    (void)setting;
    const sally_rate slow = {.bytes_s = 200, .burst_bytes = 100};
    const sally_rate fast = {.bytes_s = 100000, .burst_bytes = 10000};
    begin_shared(1, 2, slow, slow);
    metered_dial(4);
    metered_run(3000, true);
    const sally_rate *each[] = {&fast, &slow, &fast};
    for (int i = 0; i < 3; i++) {
        check_error(sally_bandwidth_set(shared, *each[i], *each[i]), 0);
        for (int ms = 0; ms < 1000; ms += STEP) metered_run(STEP, true);
        struct mark from = mark_now();
        for (int ms = 0; ms < 3000; ms += STEP) metered_run(STEP, true);
        METERED_WITHIN(metered_sent() - from.sent, 3000, *each[i], each[i]->bytes_s / 10 + 200);
        METERED_WITHIN(metered_received() - from.received, 3000, *each[i],
                       each[i]->bytes_s / 10 + 200);
    }
    check_error(sally_bandwidth_set(shared, (sally_rate){0}, (sally_rate){0}), 0);
    metered_run(1000, true);
    check_equal(stats().send_waiting + stats().recv_waiting, 0);
    metered_finish();
}

static void set_foreign(sally_conn *conn, void *arg)
{
    sally_rates foreign = {.shared = arg};
    check_error(sally_conn_set_rates(conn, &foreign), SALLY_EINVAL);
}

static void what_makes_no_sense_is_refused(const struct setting *setting)
{
    (void)setting;
    const sally_rate none = {0}, wrong = {.bytes_s = 1000000, .burst_bytes = 1};
    sally_bandwidth_stats told;
    begin_shared(1, 1, none, none);
    sally_engine *other;
    sally_bandwidth *foreign;
    check_error(sally_sim_engine(metered.sim, NULL, &other), 0);
    check_error(sally_bandwidth_create(&foreign, other, none, none), 0);
    metered_dial(1);
    metered_do(0, set_foreign, foreign);
    check_error(sally_bandwidth_create(NULL, other, none, none), SALLY_EINVAL);
    check_error(sally_bandwidth_create(&foreign, NULL, none, none), SALLY_EINVAL);
    check_error(sally_bandwidth_create(&foreign, other, wrong, none), SALLY_EINVAL);
    check_error(sally_bandwidth_create(&foreign, other, none, wrong), SALLY_EINVAL);
    check_error(sally_bandwidth_set(foreign, wrong, none), SALLY_EINVAL);
    check_error(sally_bandwidth_set(NULL, none, none), SALLY_EINVAL);
    check_error(sally_bandwidth_get_stats(foreign, NULL), SALLY_EINVAL);
    check_error(sally_bandwidth_get_stats(NULL, &told), SALLY_EINVAL);
    check_error(sally_engine_destroy(other), 0);
    metered_finish();
}

/* ---- Anything at any time ---- */

static sally_bandwidth *pool[3];

static void random_do(sally_conn *conn, void *arg)
{
    sally_sim *sim = metered.sim;
    (void)arg;
    if (!conn) return;
    sally_rates both = {.shared = pool[sally_sim_random(sim, 3)]};
    if (sally_sim_random(sim, 2)) both.recv.bytes_s = 100 + sally_sim_random(sim, 100000);
    if (sally_sim_random(sim, 2)) both.send.bytes_s = 100 + sally_sim_random(sim, 100000);
    switch (sally_sim_random(sim, 10)) {
    case 0: sally_conn_pause(conn); break;
    case 1: sally_conn_shutdown(conn); break;
    case 2: sally_conn_close(conn); break;
    case 3: sally_conn_abort(conn); break;
    case 4: sally_conn_set_rates(conn, NULL); break;
    case 5:
    case 6: sally_conn_set_rates(conn, &both); break;
    default: sally_conn_resume(conn); break;
    }
}

/* Somebody's turn comes, and in the middle of it others of the line close, leave or join. */
static void on_received(sally_conn *conn, struct metered_conn *of)
{
    (void)conn;
    (void)of;
    if (sally_sim_random(metered.sim, 40)) return;
    sally_id id = metered.conns[sally_sim_random(metered.sim, metered.count)].id;
    if (sally_sim_random(metered.sim, 2))
        sally_abort(metered.engine, id);
    else
        (void)sally_post(metered.engine, id, random_do, NULL);
}

static void one_life(uint64_t seed)
{
    const sally_rate rate = {.bytes_s = 40000, .burst_bytes = 4000};
    sally_sim_faults faults;
    metered_begin();
    metered.fill = 100000;
    metered.narrow = seed % 2;
    metered.shards = 1 + (uint32_t)(seed % 4);
    metered.on_received = on_received;
    metered_serve(seed, SALLY_SIM_BY_SEED);
    pool[2] = NULL;
    for (int i = 0; i < 2; i++)
        check_error(sally_bandwidth_create(&pool[i], metered.engine, rate, rate), 0);
    naming = (sally_rates){.shared = pool[0]};
    metered.options.conn.rates = &naming;
    metered_dial(10);
    sally_sim_draw_faults(metered.sim, &faults);
    sally_sim_set_faults(metered.sim, &faults);
    for (int i = 0; i < 40; i++) {
        metered_run(sally_sim_random(metered.sim, 60), true);
        sally_id id = metered.conns[sally_sim_random(metered.sim, metered.count)].id;
        (void)sally_post(metered.engine, id, random_do, NULL);
        uint32_t bytes_s = sally_sim_random(metered.sim, 100000);
        sally_rate other = {.bytes_s = sally_sim_random(metered.sim, 4) ? bytes_s : 0};
        if (!sally_sim_random(metered.sim, 10))
            check_error(sally_bandwidth_set(pool[1], other, other), 0);
    }
    if (seed % 3 == 0)
        for (int i = 0; i < 2; i++) sally_bandwidth_destroy(pool[i]);
    sally_sim_set_faults(metered.sim, NULL);
}

static void whatever_happens_nothing_is_lost_or_left(const struct setting *setting)
{
    (void)setting;
    metered_seeds(10, 3000, one_life);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(eight_have_an_eighth_each, ANYWHERE),
        BEHAVIOUR(parts_are_fair_between_shards, ANYWHERE),
        BEHAVIOUR(nobody_starves_in_a_crowd, ANYWHERE),
        BEHAVIOUR(what_nobody_wants_is_not_lost, ANYWHERE),
        BEHAVIOUR(a_connection_may_have_both, ANYWHERE),
        BEHAVIOUR(who_is_stuck_takes_nothing_from_the_others, ANYWHERE),
        BEHAVIOUR(who_is_stuck_keeps_one_piece, ANYWHERE),
        BEHAVIOUR(who_sends_little_at_a_time_waits_too, ANYWHERE),
        BEHAVIOUR(members_go_and_the_rest_goes_on, ANYWHERE),
        BEHAVIOUR(destroyed_it_lives_as_long_as_somebody_shares_it, ANYWHERE),
        BEHAVIOUR(limits_change_for_all, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(whatever_happens_nothing_is_lost_or_left, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
