/* P6: a send takes 1 to n bytes, the starter sends the rest, and what arrives is what was sent. The
 * stage frees the bytes at the event and the array of spans when the call returns. */
#include "port/support/rules.h"
#include "sallyport/error.h"

static void megabytes_under_pressure(struct stage *stage)
{
    uint32_t bytes = stage_bulk(stage, 4 << 20);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_send_all(stage, actor, bytes);
    UNTIL(stage, (peer_read(peer, 30000), peer->got == bytes || peer->ended || peer->reset));
    CHECK_EQUAL(peer->got, bytes);
    UNTIL(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->sent, bytes);
}

static void many_small_sends(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    actor->chunk = 37;
    stage_send_all(stage, actor, 37 * 500);
    UNTIL(stage, peer_got(peer, 37 * 500));
    CHECK_EQUAL(peer->got, 37 * 500);
}

/* One send after another in spans of these sizes, each starting with another one of them, until all
 * are through. */
static void send_spans_through(struct stage *stage, struct actor *actor, struct peer *peer,
                               uint32_t bytes, const uint32_t *sizes, unsigned count)
{
    uint64_t until = actor->sent + bytes;
    for (unsigned turn = 0; actor->sent < until; turn++) {
        uint32_t left = (uint32_t)(until - actor->sent);
        unsigned first = turn % count;
        stage_send_spans(stage, actor, left < 65536 ? left : 65536, sizes + first, count - first);
        UNTIL(stage, (peer_read(peer, UINT64_MAX), !actor_flies(actor, PORT_SEND)));
        CHECK_EQUAL(actor->error[PORT_SEND], 0);
    }
    UNTIL(stage, peer_got(peer, until));
    CHECK_EQUAL(peer->got, until);
}

static void spans_of_many_sizes(struct stage *stage)
{
    static const uint32_t mixed[] = {1, 2, 3, 4096, 17, 65536, 1, 1000, 16384, 5};
    static const uint32_t ones[] = {1};
    static const uint32_t pairs[] = {9000, 1};
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    send_spans_through(stage, actor, peer, stage_bulk(stage, 300000), mixed, 10);
    send_spans_through(stage, actor, peer, 300, ones, 1);
    send_spans_through(stage, actor, peer, 100000, pairs, 2);
}

static void more_spans_than_the_system_takes(struct stage *stage)
{
    static const uint32_t sizes[] = {3};
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    send_spans_through(stage, actor, peer, 3 * 2000, sizes, 1);
}

static void send_now_between_sends(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    for (unsigned i = 0; i < 200; i++) {
        int64_t taken = stage_send_now(stage, actor, 1 + stage_random(stage, 30000));
        CHECK(taken >= 0);
        stage_send(stage, actor, 1 + stage_random(stage, 30000));
        UNTIL(stage, (peer_read(peer, 40000), !actor_flies(actor, PORT_SEND)));
        CHECK_EQUAL(actor->error[PORT_SEND], 0);
    }
    UNTIL(stage, peer_got(peer, actor->sent));
    CHECK_EQUAL(peer->got, actor->sent);
}

static void send_now_of_a_full_stream(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    int64_t taken;
    do {
        taken = stage_send_now(stage, actor, 100000);
        CHECK(taken >= 0);
    } while (taken > 0);
    stage_settle(stage);
    UNTIL(stage, (peer_read(peer, UINT64_MAX), peer->got == actor->sent));
    CHECK(stage_send_now(stage, actor, 10) >= 0);
}

static void send_now_to_a_reset(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, actor->endings[PORT_RECV]);
    int64_t taken = stage_send_now(stage, actor, 100);
    if (stage->port->abilities & PORT_CAN_SEND_NOW)
        CHECK(taken < 0);
    else
        CHECK(taken <= 0);
}

static void sends_to_a_peer_that_has_gone(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    peer_close(peer, PORT_CLOSE_RST);
    stage_settle(stage);
    actor->chunk = 1000;
    stage_send_all(stage, actor, UINT64_C(1) << 30);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK(actor->error[PORT_SEND] == SALLY_ERESET || actor->error[PORT_SEND] == SALLY_ECLOSED);
}

static void a_waiting_send_goes_on(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_fill(stage, actor);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t endings = actor->endings[PORT_SEND];
        UNTIL(stage, (peer_read(peer, 1 << 20), actor->endings[PORT_SEND] > endings + 1));
        stage_settle(stage);
        CHECK(actor_flies(actor, PORT_SEND));
    }
    CHECK_EQUAL(actor->error[PORT_SEND], 0);
}

static void many_streams_at_once(struct stage *stage)
{
    enum { STREAMS = 16 };
    uint32_t bytes = stage_bulk(stage, 200000);
    struct peer *peers[STREAMS];
    struct actor *actors[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        actors[i] = stage_pair(stage, &peers[i]);
        stage_recv(stage, actors[i]);
        stage_send_all(stage, actors[i], bytes);
    }
    unsigned done = 0;
    while (done < STREAMS) {
        done = 0;
        for (unsigned i = 0; i < STREAMS; i++)
            done += all_of(peer_wrote(peers[i], bytes), peer_got(peers[i], bytes),
                           actors[i]->got == bytes);
        stage_turn(stage, 0);
    }
    for (unsigned i = 0; i < STREAMS; i++) CHECK_EQUAL(peers[i]->got, bytes);
}

static const struct rule rules[] = {
    {"P6_01_megabytes_to_a_slow_peer", megabytes_under_pressure},
    {"P6_02_many_small_sends", many_small_sends},
    {"P6_03_spans_of_many_sizes", spans_of_many_sizes},
    {"P6_04_more_spans_than_the_system_takes_at_once", more_spans_than_the_system_takes},
    {"P6_05_send_now_between_sends_keeps_the_order", send_now_between_sends},
    {"P6_06_send_now_of_a_full_stream_takes_nothing", send_now_of_a_full_stream},
    {"P6_07_send_now_to_a_reset_connection_fails", send_now_to_a_reset},
    {"P6_08_sends_to_a_peer_that_has_gone_fail", sends_to_a_peer_that_has_gone},
    {"P6_09_a_send_that_waits_goes_on_when_there_is_room", a_waiting_send_goes_on},
    {"P6_10_sixteen_streams_both_ways_at_once", many_streams_at_once},
};
const struct rule_set rules_sending = {rules, sizeof rules / sizeof rules[0]};
