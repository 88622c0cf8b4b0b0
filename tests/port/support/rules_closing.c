/* P4: after port_close what is in flight ends, then PORT_CLOSE, last; then the slot is free. Every
 * combination of operations is closed at every step of theirs, in both modes, and each time the
 * peer must see what the mode says. That nothing comes after PORT_CLOSE and that it comes last is
 * checked by the stage. */
#include "port/support/rules.h"
#include "sallyport/error.h"

enum step {
    STEP_STARTED,   /* not yet handed to the system */
    STEP_IN_FLIGHT, /* the system has it */
    STEP_RIPE,      /* bytes or the end of the stream are there, the port has not looked */
    STEP_FETCHED,   /* the port has waited, nothing was taken */
    STEPS
};

/* The peer sees the end of the stream or a reset: a reset where asked for, and where unread bytes
 * were dropped; else, with all bytes taken so far, the end. */
static void check_peer(struct stage *stage, struct peer *peer, const struct actor *actor,
                       enum port_close_mode mode, bool clean)
{
    UNTIL(stage, peer_ended(peer) || peer->reset);
    if (mode == PORT_CLOSE_RST) CHECK(peer->reset);
    if (mode == PORT_CLOSE_FIN && clean) {
        CHECK(peer->ended);
        CHECK(peer->got >= actor->sent);
    }
}

static void close_at(struct stage *stage, unsigned ops, enum step step, enum port_close_mode mode)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    bool ripe = step >= STEP_RIPE;
    if (ops & PORT_BIT(PORT_RECV)) stage_recv(stage, actor);
    if (ops & PORT_BIT(PORT_SEND)) stage_send_all(stage, actor, UINT64_C(1) << 30);
    if (step == STEP_IN_FLIGHT || ripe) stage_settle(stage);
    if (ripe) peer_wrote(peer, 300); /* or what goes in */
    if (step == STEP_FETCHED) CHECK_EQUAL(port_wait(stage->port, 1), 0);
    stage_close(stage, actor, mode);
    actor->send_left = 0;
    AWAIT(stage, actor->closed);
    for (unsigned op = PORT_RECV; op <= PORT_SEND; op++)
        if (ops & PORT_BIT(op)) CHECK(actor->endings[op] > 0);
    check_peer(stage, peer, actor, mode, !ripe);
    stage_give(stage, actor);
    peer_close(peer, PORT_CLOSE_RST);
}

static void close_at_all_steps(struct stage *stage, unsigned ops)
{
    for (int step = STEP_STARTED; step < STEPS; step++) {
        close_at(stage, ops, (enum step)step, PORT_CLOSE_FIN);
        close_at(stage, ops, (enum step)step, PORT_CLOSE_RST);
    }
}

static void close_idle(struct stage *stage) { close_at_all_steps(stage, 0); }
static void close_recv(struct stage *stage) { close_at_all_steps(stage, PORT_BIT(PORT_RECV)); }
static void close_send(struct stage *stage) { close_at_all_steps(stage, PORT_BIT(PORT_SEND)); }
static void close_both(struct stage *stage)
{
    close_at_all_steps(stage, PORT_BIT(PORT_RECV) | PORT_BIT(PORT_SEND));
}

static void close_pending_recv_is_cancelled(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_settle(stage);
    stage_close(stage, actor, PORT_CLOSE_FIN);
    AWAIT(stage, actor->closed);
    CHECK_EQUAL(actor->endings[PORT_RECV], 1);
    CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ECANCELED);
}

static void close_pending_send_is_cancelled(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_fill(stage, actor);
    uint32_t before = actor->endings[PORT_SEND];
    stage_close(stage, actor, PORT_CLOSE_RST);
    AWAIT(stage, actor->closed);
    CHECK_EQUAL(actor->endings[PORT_SEND], before + 1);
    CHECK_EQUAL(actor->error[PORT_SEND], SALLY_ECANCELED);
}

static void close_connecting(struct stage *stage)
{
    struct address hole;
    intptr_t listener = stage_hole(stage, &hole);
    for (unsigned i = 0; i < 4; i++) {
        struct actor *actor = stage_actor(stage);
        stage_connect(stage, actor, &hole, NULL);
        if (i & 1) stage_settle(stage);
        stage_close(stage, actor, i & 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        AWAIT(stage, actor->closed);
        CHECK_EQUAL(actor->endings[PORT_CONNECT], 1);
        if (i & 1) CHECK_EQUAL(actor->error[PORT_CONNECT], SALLY_ECANCELED);
        stage_give(stage, actor);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void close_as_connect_succeeds(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 64, &listener, &at), 0);
    for (unsigned i = 0; i < 30; i++) {
        struct actor *actor = stage_actor(stage);
        stage_connect(stage, actor, &at, NULL);
        if (i % 3 == 1) port_flush(stage->port);
        if (i % 3 == 2) CHECK_EQUAL(port_wait(stage->port, 0), 0);
        stage_drop(stage, actor, i & 1 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void close_accepting(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    for (unsigned i = 0; i < 8; i++) {
        struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
        stage_accept(stage, listener);
        if (i & 1) stage_settle(stage);
        if (i & 2) peer_connect(stage, &at);
        if (i & 4) stage_accept_stop(stage, listener);
        stage_close(stage, listener, PORT_CLOSE_FIN);
        AWAIT(stage, listener->closed);
        CHECK_EQUAL(listener->endings[PORT_ACCEPT], 1);
        stage_give(stage, listener);
        struct port_listen_options options = {0};
        port_handle handle = PORT_NO_HANDLE;
        int err = port_listen(stage->port, &at, &options, &handle, NULL);
        CHECK_EQUAL(err, 0); /* nobody listens there any more */
        port_refuse(stage->port, handle, PORT_CLOSE_FIN);
    }
}

static void close_listener_idle(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    struct peer *peer = peer_connect(stage, &at);
    stage_settle(stage);
    stage_drop(stage, listener, PORT_CLOSE_FIN);
    UNTIL(stage, peer_was_reset(peer) || peer->ended); /* who waited there is let go */
}

static void close_stopping(struct stage *stage)
{
    for (unsigned i = 0; i < 8; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        if (i & 1) stage_settle(stage);
        if (i & 2) peer_wrote(peer, 5000);
        stage_recv_stop(stage, actor);
        if (i & 4) port_flush(stage->port);
        stage_close(stage, actor, PORT_CLOSE_FIN);
        AWAIT(stage, actor->closed);
        CHECK_EQUAL(actor->endings[PORT_RECV], 1);
        stage_give(stage, actor);
        peer_close(peer, PORT_CLOSE_RST);
    }
}

static void close_without_handle(struct stage *stage)
{
    for (unsigned i = 0; i < 4; i++) {
        struct actor *actor = stage_actor(stage);
        stage_drop(stage, actor, i & 1 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
}

static void close_after_endings(struct stage *stage)
{
    for (unsigned i = 0; i < 4; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        stage_send(stage, actor, 100);
        if (i & 1)
            peer_finish(peer);
        else
            peer_close(peer, PORT_CLOSE_RST);
        AWAIT(stage, !actor->flying);
        stage_drop(stage, actor, i & 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
}

static void close_fin_delivers(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_fill(stage, actor);
    actor->send_left = 0;
    UNTIL(stage, peer_read(peer, UINT64_MAX) == 0 && !actor_flies(actor, PORT_SEND));
    stage_send_all(stage, actor, 100000);
    UNTIL(stage, peer_read(peer, UINT64_MAX) == 0 && !actor_flies(actor, PORT_SEND));
    stage_drop(stage, actor, PORT_CLOSE_FIN);
    UNTIL(stage, peer_ended(peer) || peer->reset);
    CHECK(peer->ended);
}

static void close_fin_bytes(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_send(stage, actor, 50000);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    uint64_t sent = actor->sent;
    stage_drop(stage, actor, PORT_CLOSE_FIN);
    UNTIL(stage, peer_ended(peer) || peer->reset);
    CHECK(peer->ended);
    CHECK_EQUAL(peer->got, sent);
}

/* Half of the buffers, however small the pieces are that bytes come in. */
static void hold_four(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    (void)event;
    if (stage->held_len == 4) actor->hold = false;
}

static void lent_after_close(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    actor->hold = true;
    actor->on_event = hold_four;
    stage_recv(stage, actor);
    peer_write(peer, 3000);
    AWAIT(stage, actor->got == 3000);
    stage_drop(stage, actor, PORT_CLOSE_RST);
    actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    UNTIL(stage, peer_wrote(peer, 30000) && actor->got == 30000);
    stage_release_held(stage); /* checks that they are as they were */
}

static void close_many(struct stage *stage)
{
    enum { MANY = 60 };
    struct actor *actors[MANY];
    struct peer *peer;
    for (unsigned i = 0; i < MANY; i++) {
        actors[i] = stage_pair(stage, &peer);
        stage_recv(stage, actors[i]);
        if (i & 1) peer_wrote(peer, 2000);
    }
    for (unsigned i = 0; i < MANY; i++)
        stage_close(stage, actors[i], i % 3 ? PORT_CLOSE_FIN : PORT_CLOSE_RST);
    for (unsigned i = 0; i < MANY; i++) AWAIT(stage, actors[i]->closed);
}

/* Closing, and nothing else, from inside the batch that brings the socket's own events. */
static void close_at_event(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (event->op == PORT_RECV && !actor->closed && !actor_flies(actor, PORT_CLOSE))
        stage_close(stage, actor, PORT_CLOSE_FIN);
}

static void close_in_batch(struct stage *stage)
{
    for (unsigned i = 0; i < 20; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        actor->on_event = close_at_event;
        stage_recv(stage, actor);
        stage_send(stage, actor, 100);
        peer_wrote(peer, 20000); /* as much as goes in at once */
        if (i & 1) peer_finish(peer);
        AWAIT(stage, actor->closed);
        stage_give(stage, actor);
        peer_close(peer, PORT_CLOSE_RST);
    }
}

/* Closed, cleared behind the slot and used again under the same name. */
static void close_and_use_again(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 64, &listener, &at), 0);
    struct actor *actor = stage_actor(stage);
    uint32_t generation = slot_generation(&actor->sock.slot);
    for (unsigned i = 0; i < 40; i++) {
        stage_connect(stage, actor, &at, NULL);
        AWAIT(stage, actor->endings[PORT_CONNECT]);
        CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
        struct peer *peer = NULL;
        UNTIL(stage, (peer = peer_accept(stage, listener)) != NULL);
        peer->tag_out = actor->tag_in = TAG_OF_REUSE | (i + 1);
        stage_recv(stage, actor);
        if (i & 1) stage_fill(stage, actor);
        peer_write(peer, 100);
        if (i & 2) UNTIL(stage, actor->got == 100);
        actor->send_left = 0;
        stage_close(stage, actor, i & 4 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        if (i & 8) peer_wrote(peer, 1000);
        AWAIT(stage, actor->closed);
        stage_renew(stage, actor);
        CHECK_EQUAL(slot_generation(&actor->sock.slot), generation);
        peer_close(peer, PORT_CLOSE_RST);
    }
    stage->ground->close_listener(stage->world, listener);
}

static const struct rule rules[] = {
    {"P4_01_close_of_an_idle_socket_in_each_mode_at_each_step", close_idle},
    {"P4_02_close_with_a_receive_at_each_step", close_recv},
    {"P4_03_close_with_a_send_at_each_step", close_send},
    {"P4_04_close_with_receive_and_send_at_each_step", close_both},
    {"P4_05_a_pending_receive_is_cancelled", close_pending_recv_is_cancelled},
    {"P4_06_a_pending_send_is_cancelled", close_pending_send_is_cancelled},
    {"P4_07_close_cancels_a_connect_that_nobody_answers", close_connecting},
    {"P4_08_close_while_a_connect_succeeds", close_as_connect_succeeds},
    {"P4_09_close_of_an_accepting_listener_at_each_step", close_accepting},
    {"P4_10_close_of_a_listener_lets_its_queue_go", close_listener_idle},
    {"P4_11_close_with_a_receive_that_is_being_stopped", close_stopping},
    {"P4_12_close_without_a_handle", close_without_handle},
    {"P4_13_close_after_everything_ended_by_itself", close_after_endings},
    {"P4_14_fin_after_a_drained_stream", close_fin_delivers},
    {"P4_15_fin_comes_after_every_byte_taken", close_fin_bytes},
    {"P4_16_lent_bytes_outlive_the_socket", lent_after_close, 0, 0, 8, 0},
    {"P4_17_sixty_sockets_closed_in_one_turn", close_many},
    {"P4_18_close_while_the_socket_s_events_are_handed_out", close_in_batch},
    {"P4_19_a_closed_socket_used_again_under_its_name", close_and_use_again},
};
const struct rule_set rules_closing = {rules, sizeof rules / sizeof rules[0]};
