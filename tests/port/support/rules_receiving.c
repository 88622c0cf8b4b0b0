/* P5: bytes come in the order in which the peer sent them, all of them, and the end of the stream
 * or the error after them. The stage compares every byte with the pattern. */
#include "port/support/rules.h"
#include "sallyport/error.h"

static void transfer(struct stage *stage, struct actor *actor, struct peer *peer, uint64_t bytes)
{
    UNTIL(stage, peer_wrote(peer, bytes) && actor->got >= bytes);
    CHECK_EQUAL(actor->got, bytes);
}

static void megabyte_then_end(struct stage *stage)
{
    uint32_t bytes = stage_bulk(stage, 1 << 20);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    UNTIL(stage, peer_wrote(peer, bytes));
    peer_finish(peer);
    AWAIT(stage, actor->endings[PORT_RECV]);
    CHECK_EQUAL(actor->error[PORT_RECV], 0);
    CHECK_EQUAL(actor->got, bytes);
}

/* The reader takes one event and goes away for a turn; its buffers stay lent that long. */
static void slow_reader(struct stage *stage)
{
    uint32_t bytes = stage_bulk(stage, 1 << 20);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage->take_max = 1;
    actor->hold = true;
    stage_recv(stage, actor);
    bool finished = false;
    while (!actor->endings[PORT_RECV]) {
        if (!finished && peer_wrote(peer, bytes)) {
            peer_finish(peer);
            finished = true;
        }
        CHECK_EQUAL(port_wait(stage->port, stage->held_len ? 0 : 1), 0);
        stage_take(stage);
        if (stage->held_len >= 3) stage_release_held(stage);
        if (stage_random(stage, 4) == 0) stage_release_held(stage);
    }
    CHECK_EQUAL(actor->error[PORT_RECV], 0);
    CHECK_EQUAL(actor->got, bytes);
}

static void bytes_before_the_end(struct stage *stage)
{
    for (unsigned i = 0; i < 20; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        uint32_t bytes = 1 + stage_random(stage, 20000);
        peer_wrote(peer, bytes);
        bytes = (uint32_t)peer->wrote;
        peer_close(peer, PORT_CLOSE_FIN);
        stage_settle(stage);
        stage_recv(stage, actor);
        AWAIT(stage, actor->endings[PORT_RECV]);
        CHECK_EQUAL(actor->error[PORT_RECV], 0);
        CHECK_EQUAL(actor->got, bytes);
    }
}

static void bytes_before_a_reset(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    peer_wrote(peer, 30000);
    stage_settle(stage); /* the system has them */
    uint64_t there = stage->ground->real ? peer->wrote : 0;
    peer_close(peer, PORT_CLOSE_RST);
    stage_settle(stage);
    stage_recv(stage, actor);
    AWAIT(stage, actor->endings[PORT_RECV]);
    CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ERESET);
    CHECK(actor->got >= there);
}

static void many_sizes(struct stage *stage)
{
    static const uint32_t sizes[] = {1,     2,     3,     7,     63,    64,    65,
                                     511,   512,   513,   1023,  1024,  1025,  4095,
                                     4096,  4097,  8191,  8192,  8193,  16384, 20000,
                                     32767, 32768, 32769, 65535, 65536, 65537, 100000};
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    uint64_t total = 0;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        total += sizes[i];
        transfer(stage, actor, peer, total);
    }
}

static void one_byte_at_a_time(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    for (unsigned i = 1; i <= 200; i++) {
        peer_write(peer, i);
        AWAIT(stage, actor->got == i);
    }
}

static void buffers_run_out(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    actor->hold = true;
    stage_recv(stage, actor);
    while (actor->got < 200000) {
        peer_wrote(peer, 200000);
        stage_turn(stage, 1);
        CHECK(stage->held_len <= stage->port->bufs_total);
        CHECK(!actor->endings[PORT_RECV]);
        if (stage->port->bufs_lent < stage->port->bufs_total)
            continue; /* an event may have several */
        for (unsigned i = 0; i < 3; i++) CHECK_EQUAL(stage_turn(stage, 0), 0);
        stage_release_held(stage);
    }
    stage_release_held(stage);
    transfer(stage, actor, peer, 200000);
    peer_finish(peer);
    UNTIL(stage, actor->ended);
}

static void release_wakes_receives(struct stage *stage)
{
    enum { WAITING = 6 };
    struct peer *peers[WAITING + 1];
    struct actor *actors[WAITING + 1];
    for (unsigned i = 0; i <= WAITING; i++) {
        actors[i] = stage_pair(stage, &peers[i]);
        stage_recv(stage, actors[i]);
    }
    actors[0]->hold = true;
    UNTIL(stage, (peer_wrote(peers[0], peers[0]->wrote + 100), true) &&
                     stage->held_len == stage->port->bufs_total);
    actors[0]->hold = false;
    for (unsigned i = 1; i <= WAITING; i++) peer_write(peers[i], 100);
    stage_settle(stage);
    for (unsigned i = 1; i <= WAITING; i++) CHECK_EQUAL(actors[i]->got, 0);
    stage_release_held(stage);
    for (unsigned i = 1; i <= WAITING; i++) AWAIT(stage, actors[i]->got == 100);
    CHECK(counter_get(&stage->port->counters.buf_shortages) > 0);
}

static void close_while_waiting_for_a_buffer(struct stage *stage)
{
    struct peer *peers[3];
    struct actor *actors[3];
    for (unsigned i = 0; i < 3; i++) {
        actors[i] = stage_pair(stage, &peers[i]);
        stage_recv(stage, actors[i]);
    }
    actors[0]->hold = true;
    UNTIL(stage, (peer_wrote(peers[0], peers[0]->wrote + 100), true) &&
                     stage->held_len == stage->port->bufs_total);
    peer_write(peers[1], 100);
    peer_write(peers[2], 100);
    stage_settle(stage);
    stage_drop(stage, actors[1], PORT_CLOSE_FIN);
    stage_recv_stop(stage, actors[2]);
    AWAIT(stage, actors[2]->endings[PORT_RECV]);
    stage_recv(stage, actors[2]);
    stage_release_held(stage);
    UNTIL(stage, actors[2]->got == 100);
}

static void peer_half_closes(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    peer_finish(peer);
    AWAIT(stage, actor->ended);
    stage_send_all(stage, actor, 300000);
    UNTIL(stage, peer_got(peer, 300000) && !actor->send_left);
    CHECK_EQUAL(peer->got, 300000);
}

static void port_half_closes(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_send_all(stage, actor, 5000);
    UNTIL(stage, peer_got(peer, 5000) && !actor->send_left);
    CHECK_EQUAL(port_shutdown(stage->port, &actor->sock), 0);
    UNTIL(stage, peer_ended(peer) || peer->reset);
    CHECK(peer->ended);
    CHECK_EQUAL(peer->got, 5000);
    transfer(stage, actor, peer, 300000);
    peer_finish(peer);
    AWAIT(stage, actor->ended);
}

static void half_close_comes_after_bytes(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_send(stage, actor, 60000);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(port_shutdown(stage->port, &actor->sock), 0);
    UNTIL(stage, peer_ended(peer) || peer->reset);
    CHECK(peer->ended);
    CHECK_EQUAL(peer->got, actor->sent);
}

static void both_ways_at_once(struct stage *stage)
{
    uint32_t bytes = stage_bulk(stage, 2 << 20);
    struct peer *peer;
    struct actor *actor = stage_pair_out(stage, &peer);
    stage_recv(stage, actor);
    stage_send_all(stage, actor, bytes);
    UNTIL(stage, all_of(peer_wrote(peer, bytes), peer_got(peer, bytes), actor->got == bytes));
    CHECK_EQUAL(peer->got, bytes);
}

static const struct rule rules[] = {
    {"P5_01_a_megabyte_and_then_the_end", megabyte_then_end},
    {"P5_02_a_megabyte_and_then_the_end_to_a_slow_reader", slow_reader},
    {"P5_03_bytes_that_wait_come_before_the_end", bytes_before_the_end},
    {"P5_04_bytes_that_wait_come_before_a_reset", bytes_before_a_reset, NEEDS_RESET},
    {"P5_05_writes_of_many_sizes", many_sizes, 0, 0, 32, 4096},
    {"P5_06_one_byte_at_a_time_wakes_the_port_each_time", one_byte_at_a_time},
    {"P5_07_buffers_all_lent_lose_nothing", buffers_run_out, 0, 0, 2, 1024},
    {"P5_08_a_release_wakes_receives_that_wait_for_it", release_wakes_receives, 0, 0, 2, 512},
    {"P5_09_close_and_stop_while_waiting_for_a_buffer", close_while_waiting_for_a_buffer, 0, 0, 2,
     512},
    {"P5_10_sending_goes_on_after_the_peer_s_end", peer_half_closes},
    {"P5_11_receiving_goes_on_after_the_half_close", port_half_closes},
    {"P5_12_a_half_close_comes_after_the_bytes_taken", half_close_comes_after_bytes},
    {"P5_13_two_megabytes_both_ways_at_once", both_ways_at_once},
};
const struct rule_set rules_receiving = {rules, sizeof rules / sizeof rules[0]};
