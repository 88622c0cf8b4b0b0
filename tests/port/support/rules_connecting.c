/* C: connecting. What port.h promises of port_connect beside the numbered rules. */
#include <stdio.h>
#include <string.h>

#include "os/address.h"
#include "port/support/rules.h"
#include "sallyport/error.h"

static intptr_t open_target(struct stage *stage, const struct address *at, struct address *bound)
{
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, at, 64, &listener, bound), 0);
    return listener;
}

static struct address closed_target(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    stage->ground->close_listener(stage->world, open_target(stage, &loopback, &at));
    return at;
}

/* Connects, and moves bytes both ways. */
static void connect_and_talk(struct stage *stage, const struct address *at)
{
    struct address bound;
    intptr_t listener = open_target(stage, at, &bound);
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &bound, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
    struct peer *peer = NULL;
    UNTIL(stage, (peer = peer_accept(stage, listener)) != NULL);
    struct addr to;
    CHECK_EQUAL(port_peer(stage->port, actor->sock.handle, &to), 0);
    if (at->kind == ADDRESS_IP) CHECK(addr_equal(&to, &bound.ip));
    peer->tag_out = actor->tag_in = 3;
    peer->tag_in = actor->tag_out = 4;
    stage_recv(stage, actor);
    stage_send_all(stage, actor, 20000);
    UNTIL(stage, all_of(peer_wrote(peer, 20000), peer_got(peer, 20000), actor->got == 20000));
    stage->ground->close_listener(stage->world, listener);
}

static void connect_v4(struct stage *stage)
{
    struct address at = stage_loopback();
    connect_and_talk(stage, &at);
}

static void connect_v6(struct stage *stage)
{
    struct address at = stage_loopback6();
    connect_and_talk(stage, &at);
}

static void connect_unix(struct stage *stage)
{
    struct address at = {.kind = ADDRESS_PATH};
    stage->ground->path(stage->world, at.host, ADDRESS_PATH_MAX - 1);
    connect_and_talk(stage, &at);
    remove(at.host);
    memmove(at.host + 1, at.host, ADDRESS_PATH_MAX);
    at.host[0] = '@';
    connect_and_talk(stage, &at);
}

static void connect_refused(struct stage *stage)
{
    struct address at = closed_target(stage);
    struct actor *actor = stage_actor(stage);
    for (unsigned i = 1; i <= 50; i++) {
        stage_connect(stage, actor, &at, NULL);
        AWAIT(stage, actor->endings[PORT_CONNECT] == i);
        CHECK_EQUAL(actor->error[PORT_CONNECT], SALLY_EREFUSED);
        CHECK_EQUAL(actor->sock.handle, PORT_NO_HANDLE);
    }
    struct address loopback = stage_loopback(), open;
    intptr_t listener = open_target(stage, &loopback, &open);
    stage_connect(stage, actor, &open, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT] == 51);
    CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
    stage->ground->close_listener(stage->world, listener);
}

static void connect_to_no_file(struct stage *stage)
{
    struct address at = {.kind = ADDRESS_PATH};
    stage->ground->path(stage->world, at.host, ADDRESS_PATH_MAX);
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &at, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    CHECK(actor->error[PORT_CONNECT] < 0);
    CHECK_EQUAL(actor->sock.handle, PORT_NO_HANDLE);
}

static void connect_from(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener = open_target(stage, &loopback, &at);
    struct addr from = {.family = ADDR_V4, .ip = {127, 0, 0, 2}}, own;
    for (unsigned i = 0; i < 3; i++) {
        struct actor *actor = stage_actor(stage);
        stage_connect(stage, actor, &at, &from);
        AWAIT(stage, actor->endings[PORT_CONNECT]);
        CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
        CHECK_EQUAL(port_local(stage->port, actor->sock.handle, &own), 0);
        CHECK(memcmp(own.ip, from.ip, 4) == 0 && own.port != 0);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void connect_from_elsewhere(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener = open_target(stage, &loopback, &at);
    struct addr from = {.family = ADDR_V4, .ip = {203, 0, 113, 1}};
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &at, &from);
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    CHECK_EQUAL(actor->error[PORT_CONNECT], SALLY_EADDRNOTAVAIL);
    stage->ground->close_listener(stage->world, listener);
}

static void connect_to_itself(struct stage *stage)
{
    struct address at = closed_target(stage);
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &at, &at.ip);
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    /* a network that knows no such thing refuses it */
    int error = actor->error[PORT_CONNECT];
    CHECK(error == SALLY_EADDRNOTAVAIL || (!stage->ground->real && error == SALLY_EREFUSED));
    CHECK_EQUAL(actor->sock.handle, PORT_NO_HANDLE);
}

static void connect_many(struct stage *stage)
{
    enum { MANY = 100 };
    struct address loopback = stage_loopback(), open, closed = closed_target(stage);
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 128, &listener, &open), 0);
    struct actor *actors[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        actors[i] = stage_actor(stage);
        stage_connect(stage, actors[i], i % 3 ? &open : &closed, NULL);
    }
    for (unsigned i = 0; i < MANY; i++) {
        AWAIT(stage, actors[i]->endings[PORT_CONNECT]);
        CHECK_EQUAL(actors[i]->error[PORT_CONNECT], i % 3 ? 0 : SALLY_EREFUSED);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void connect_to_one_that_leaves(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener = open_target(stage, &loopback, &at);
    for (unsigned i = 0; i < 20; i++) {
        struct actor *actor = stage_actor(stage);
        stage_connect(stage, actor, &at, NULL);
        struct peer *peer = NULL;
        UNTIL(stage, (peer = peer_accept(stage, listener)) != NULL);
        enum port_close_mode mode = i & 1 ? PORT_CLOSE_RST : PORT_CLOSE_FIN;
        peer_close(peer, mode);
        AWAIT(stage, actor->endings[PORT_CONNECT]);
        if (actor->error[PORT_CONNECT]) { /* the reset was there before the port looked */
            CHECK_EQUAL(mode, PORT_CLOSE_RST);
            continue;
        }
        stage_recv(stage, actor);
        AWAIT(stage, actor->endings[PORT_RECV]);
        CHECK_EQUAL(actor->error[PORT_RECV], mode == PORT_CLOSE_RST ? SALLY_ERESET : 0);
        stage_drop(stage, actor, PORT_CLOSE_FIN);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void both_ends_are_ours(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    stage_accept(stage, listener);
    struct actor *caller = stage_actor(stage);
    stage_connect(stage, caller, &at, NULL);
    AWAIT(stage, caller->endings[PORT_CONNECT] && stage_has_newcomer(stage));
    struct actor *called = stage_next(stage);
    uint32_t bytes = stage_bulk(stage, 1 << 20);
    caller->tag_in = called->tag_out = 11;
    caller->tag_out = called->tag_in = 12;
    stage_recv(stage, caller);
    stage_recv(stage, called);
    stage_send_all(stage, caller, bytes);
    stage_send_all(stage, called, bytes);
    AWAIT(stage, caller->got == bytes && called->got == bytes);
    stage_close(stage, caller, PORT_CLOSE_FIN);
    AWAIT(stage, called->ended && caller->closed);
}

static const struct rule rules[] = {
    {"C_01_connect_to_IPv4", connect_v4},
    {"C_02_connect_to_IPv6", connect_v6, NEEDS_V6},
    {"C_03_connect_to_unix_sockets", connect_unix, NEEDS_REAL | NEEDS_UNIX},
    {"C_04_a_refused_connect_may_be_tried_again", connect_refused},
    {"C_05_connect_to_a_path_that_is_not_there", connect_to_no_file, NEEDS_REAL | NEEDS_UNIX},
    {"C_06_connect_from_a_given_address", connect_from},
    {"C_07_connect_from_an_address_of_another_machine", connect_from_elsewhere, NEEDS_REAL},
    {"C_08_a_socket_does_not_connect_to_itself", connect_to_itself},
    {"C_09_a_hundred_connects_at_once", connect_many},
    {"C_10_connect_to_one_that_leaves_at_once", connect_to_one_that_leaves, NEEDS_RESET},
    {"C_11_both_ends_on_one_port", both_ends_are_ours},
};
const struct rule_set rules_connecting = {rules, sizeof rules / sizeof rules[0]};
