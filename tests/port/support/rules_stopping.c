/* P7: after a stop what was on its way still comes, then the ending; nothing is lost over a stop
 * and a new start. */
#include "port/support/rules.h"
#include "sallyport/error.h"

static void check_recv_stopped(const struct actor *actor)
{
    CHECK(actor->error[PORT_RECV] == SALLY_ECANCELED ||
          (actor->error[PORT_RECV] == 0 && actor->ended));
}

static void stop_before_submit(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    for (unsigned i = 1; i <= 10; i++) {
        stage_recv(stage, actor);
        stage_recv_stop(stage, actor);
        AWAIT(stage, actor->endings[PORT_RECV] == i);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ECANCELED);
    }
    stage_recv(stage, actor);
    peer_write(peer, 1000);
    UNTIL(stage, actor->got == 1000);
}

static void cycles_with_bytes(struct stage *stage)
{
    enum { CYCLES = 300 };
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    for (unsigned i = 1; i <= CYCLES; i++) {
        stage_recv(stage, actor);
        if (i & 1) stage_turn(stage, 0);
        peer_wrote(peer, peer->wrote + stage_random(stage, 9000));
        if (i & 2) stage_turn(stage, 0);
        stage_recv_stop(stage, actor);
        if (i & 4) peer_wrote(peer, peer->wrote + stage_random(stage, 9000));
        AWAIT(stage, actor->endings[PORT_RECV] == i);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ECANCELED);
    }
    stage_recv(stage, actor);
    UNTIL(stage, actor->got == peer->wrote);
}

static void stop_as_the_end_comes(struct stage *stage)
{
    for (unsigned i = 0; i < 20; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        if (i & 1) stage_settle(stage);
        peer_write(peer, 500);
        peer_finish(peer);
        if (i & 2) CHECK_EQUAL(port_wait(stage->port, 1), 0);
        stage_recv_stop(stage, actor);
        AWAIT(stage, actor->endings[PORT_RECV]);
        check_recv_stopped(actor);
        if (!actor->ended) stage_recv(stage, actor);
        UNTIL(stage, actor->ended);
        CHECK_EQUAL(actor->got, 500);
    }
}

static void stop_twice(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_settle(stage);
    stage_recv_stop(stage, actor);
    stage_recv_stop(stage, actor);
    AWAIT(stage, actor->endings[PORT_RECV]);
    stage_settle(stage);
    stage_recv(stage, actor); /* the second stop must not reach this one */
    stage_settle(stage);
    CHECK(actor_flies(actor, PORT_RECV));
    peer_write(peer, 100);
    AWAIT(stage, actor->got == 100);
}

static void stop_leaves_the_send(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_fill(stage, actor);
    stage_recv_stop(stage, actor);
    AWAIT(stage, actor->endings[PORT_RECV]);
    stage_settle(stage);
    CHECK(actor_flies(actor, PORT_SEND));
    uint64_t sent = actor->sent;
    UNTIL(stage, (peer_read(peer, 1 << 20), actor->sent > sent));
}

static void accept_stop_with_newcomers(struct stage *stage)
{
    enum { NEWCOMERS = 40 };
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    stage_accept(stage, listener);
    stage_settle(stage);
    for (unsigned i = 0; i < NEWCOMERS; i++) peer_connect(stage, &at);
    stage_accept_stop(stage, listener);
    AWAIT(stage, listener->endings[PORT_ACCEPT]);
    CHECK_EQUAL(listener->error[PORT_ACCEPT], SALLY_ECANCELED);
    stage_accept(stage, listener);
    UNTIL(stage, listener->newcomers == NEWCOMERS); /* none is lost */
    stage_settle(stage);
    CHECK_EQUAL(listener->newcomers, NEWCOMERS);
}

static void accept_cycles(struct stage *stage)
{
    enum { CYCLES = 100, WAVE = 3 };
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    for (unsigned i = 1; i <= CYCLES; i++) {
        stage_accept(stage, listener);
        if (i & 1) stage_turn(stage, 0);
        for (unsigned j = 0; j < WAVE; j++) peer_connect(stage, &at);
        if (i & 2) stage_turn(stage, 0);
        stage_accept_stop(stage, listener);
        if (i & 4) port_flush(stage->port);
        AWAIT(stage, listener->endings[PORT_ACCEPT] == i);
    }
    stage_accept(stage, listener);
    UNTIL(stage, listener->newcomers == CYCLES * WAVE);
}

static void newcomers_after_stop_are_real(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    for (unsigned i = 0; i < 10; i++) {
        stage_accept(stage, listener);
        struct peer *peer = peer_connect(stage, &at);
        peer->tag_out = 77;
        UNTIL(stage, stage->ground->connected(stage->world, peer->id) == 1);
        if (i & 1) CHECK_EQUAL(port_wait(stage->port, 1), 0);
        stage_accept_stop(stage, listener);
        AWAIT(stage, !actor_flies(listener, PORT_ACCEPT));
        if (!stage_has_newcomer(stage)) {
            stage_accept(stage, listener);
            UNTIL(stage, stage_has_newcomer(stage));
            stage_accept_stop(stage, listener);
            AWAIT(stage, !actor_flies(listener, PORT_ACCEPT));
        }
        struct actor *actor = stage_next(stage);
        actor->tag_in = 77;
        stage_recv(stage, actor);
        peer_write(peer, 1000);
        UNTIL(stage, actor->got == 1000);
    }
}

static void nothing_comes_after_the_stop(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_settle(stage);
    stage_recv_stop(stage, actor);
    AWAIT(stage, actor->endings[PORT_RECV]);
    uint64_t got = actor->got;
    peer_wrote(peer, 10000);
    stage_settle(stage); /* the stage fails on any event */
    CHECK_EQUAL(actor->got, got);
    stage_recv(stage, actor);
    UNTIL(stage, peer_wrote(peer, 10000) && actor->got == 10000);
}

static const struct rule rules[] = {
    {"P7_01_a_receive_stopped_before_the_system_has_it", stop_before_submit},
    {"P7_02_stop_and_start_lose_no_byte", cycles_with_bytes},
    {"P7_03_stop_as_the_end_of_the_stream_comes", stop_as_the_end_comes},
    {"P7_04_a_second_stop_does_not_reach_the_next_receive", stop_twice},
    {"P7_05_stopping_the_receive_leaves_the_send", stop_leaves_the_send},
    {"P7_06_accept_stop_with_newcomers_loses_none", accept_stop_with_newcomers},
    {"P7_07_accept_stop_and_start_lose_no_newcomer", accept_cycles},
    {"P7_08_newcomers_that_come_after_the_stop_are_real", newcomers_after_stop_are_real},
    {"P7_09_no_bytes_come_after_the_ending", nothing_comes_after_the_stop},
};
const struct rule_set rules_stopping = {rules, sizeof rules / sizeof rules[0]};
