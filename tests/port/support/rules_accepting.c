/* P8: accepting goes on whatever happens to single connections, or says that it ended. */
#include <stdio.h>
#include <string.h>

#include "os/address.h"
#include "port/support/rules.h"
#include "sallyport/error.h"

static struct actor *open_listener(struct stage *stage, struct address *at)
{
    struct address loopback = stage_loopback();
    return stage_listener(stage, &loopback, NULL, at);
}

static void burst(struct stage *stage)
{
    enum { NEWCOMERS = 500, AT_ONCE = 100 };
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    listener->refuse = true;
    stage_accept(stage, listener);
    for (unsigned i = 0; i < NEWCOMERS; i += AT_ONCE) {
        for (unsigned j = 0; j < AT_ONCE; j++) peer_connect(stage, &at);
        UNTIL(stage, listener->newcomers == i + AT_ONCE);
    }
    stage_settle(stage);
    CHECK_EQUAL(listener->newcomers, NEWCOMERS);
    CHECK_EQUAL(listener->accept_errors, 0);
    CHECK_EQUAL(counter_get(&stage->port->counters.accepted), NEWCOMERS);
}

/* Connections that are reset before they are accepted may cost an event each, or come out dead. */
static void reset_storm(struct stage *stage)
{
    enum { STORM = 1000, WAVE = 50 };
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    listener->refuse = true;
    stage_accept(stage, listener);
    for (unsigned i = 0; i < STORM; i += WAVE) {
        for (unsigned j = 0; j < WAVE; j++) {
            struct peer *peer = peer_connect(stage, &at);
            if (j & 1) stage_turn(stage, 0);
            peer_close(peer, PORT_CLOSE_RST);
        }
        stage_turn(stage, 0);
        if (!actor_flies(listener, PORT_ACCEPT)) stage_accept(stage, listener);
    }
    stage_settle(stage);
    if (!actor_flies(listener, PORT_ACCEPT)) stage_accept(stage, listener);
    listener->refuse = false;
    struct peer *peer = peer_connect(stage, &at);
    UNTIL(stage, stage_has_newcomer(stage));
    struct actor *actor = stage_next(stage);
    peer->tag_out = actor->tag_in = 5;
    stage_recv(stage, actor);
    peer_write(peer, 100);
    UNTIL(stage, actor->got == 100);
}

/* In the queue, dead before anybody accepts. */
static void dead_in_the_queue(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    for (unsigned i = 0; i < 20; i++) {
        struct peer *peer = peer_connect(stage, &at);
        UNTIL(stage, stage->ground->connected(stage->world, peer->id) == 1);
        if (i & 1) peer_write(peer, 1);
        peer_close(peer, PORT_CLOSE_RST);
    }
    struct peer *last = peer_connect(stage, &at);
    stage_settle(stage);
    stage_accept(stage, listener);
    UNTIL(stage, stage->arrivals_len && listener->newcomers + listener->accept_errors >= 21);
    (void)last;
    while (stage_has_newcomer(stage)) {
        struct actor *actor = stage_next(stage);
        stage_recv(stage, actor);
        stage_send(stage, actor, 10);
    }
    stage_settle(stage);
}

static void exhausted_and_back(struct stage *stage)
{
    enum { NEWCOMERS = 5 };
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    for (unsigned round = 1; round <= 5; round++) {
        for (unsigned i = 0; i < NEWCOMERS; i++) peer_connect(stage, &at);
        stage_settle(stage);
        stage->ground->exhaust(stage->world, true);
        int sys_error = 0;
        CHECK_EQUAL(port_probe(stage->port, &sys_error), SALLY_EEXHAUSTED);
        stage_accept(stage, listener);
        AWAIT(stage, listener->endings[PORT_ACCEPT] == round);
        CHECK_EQUAL(listener->error[PORT_ACCEPT], SALLY_EEXHAUSTED);
        CHECK_EQUAL(listener->newcomers, (round - 1) * NEWCOMERS);
        stage_settle(stage); /* it doesn't go on by itself */
        stage->ground->exhaust(stage->world, false);
        CHECK_EQUAL(port_probe(stage->port, &sys_error), 0);
        stage_accept(stage, listener);
        AWAIT(stage, listener->newcomers == round * NEWCOMERS);
        stage_accept_stop(stage, listener);
        AWAIT(stage, !actor_flies(listener, PORT_ACCEPT));
        listener->endings[PORT_ACCEPT] = round; /* those by exhaustion */
    }
}

static void refusing(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < 6; i++) {
        struct peer *peer = peer_connect(stage, &at);
        AWAIT(stage, stage_has_newcomer(stage));
        enum port_close_mode mode = i & 1 ? PORT_CLOSE_RST : PORT_CLOSE_FIN;
        port_refuse(stage->port, stage->arrivals[stage->arrivals_head].handle, mode);
        stage->arrivals_head++;
        stage->arrivals_len--;
        UNTIL(stage, peer_ended(peer) || peer->reset);
        CHECK_EQUAL(peer->reset, mode == PORT_CLOSE_RST);
    }
}

static void check_peer_address(struct stage *stage, const struct address *at)
{
    struct actor *listener;
    struct address bound;
    listener = stage_listener(stage, at, NULL, &bound);
    stage_accept(stage, listener);
    struct peer *peer = peer_connect(stage, &bound);
    UNTIL(stage,
          stage_has_newcomer(stage) && stage->ground->connected(stage->world, peer->id) == 1);
    struct arrival arrival = stage->arrivals[stage->arrivals_head];
    struct addr is, told, own;
    stage->ground->local(stage->world, peer->id, &is);
    if (arrival.peer.family != ADDR_NONE) CHECK(addr_equal(&arrival.peer, &is));
    CHECK_EQUAL(port_peer(stage->port, arrival.handle, &told), 0);
    CHECK(addr_equal(&told, &is));
    CHECK_EQUAL(port_local(stage->port, arrival.handle, &own), 0);
    if (at->kind == ADDRESS_IP) CHECK(addr_equal(&own, &bound.ip));
    CHECK_EQUAL(own.family, is.family);
    struct actor *actor = stage_next(stage);
    stage_drop(stage, listener, PORT_CLOSE_FIN);
    peer->tag_out = actor->tag_in = 9;
    peer->tag_in = actor->tag_out = 10;
    stage_recv(stage, actor);
    stage_send_all(stage, actor, 20000);
    UNTIL(stage, all_of(peer_wrote(peer, 20000), actor->got == 20000, peer_got(peer, 20000)));
    peer_finish(peer);
    AWAIT(stage, actor->ended);
}

static void addresses_v4(struct stage *stage)
{
    struct address at = stage_loopback();
    check_peer_address(stage, &at);
}

static void addresses_v6(struct stage *stage)
{
    struct address at = stage_loopback6();
    check_peer_address(stage, &at);
}

static void addresses_unix(struct stage *stage)
{
    struct address at = {.kind = ADDRESS_PATH};
    stage->ground->path(stage->world, at.host, ADDRESS_PATH_MAX);
    check_peer_address(stage, &at);
    remove(at.host);
    memmove(at.host + 1, at.host, ADDRESS_PATH_MAX);
    at.host[0] = '@';
    check_peer_address(stage, &at);
}

static void v4_at_any(struct stage *stage)
{
    struct address any = {.kind = ADDRESS_ANY}, at;
    struct actor *listener = stage_listener(stage, &any, NULL, &at);
    struct address to = stage_loopback();
    to.ip.port = at.ip.port;
    stage_accept(stage, listener);
    struct peer *peer = peer_connect(stage, &to);
    UNTIL(stage, stage_has_newcomer(stage));
    struct addr is, told;
    UNTIL(stage, stage->ground->connected(stage->world, peer->id) == 1);
    stage->ground->local(stage->world, peer->id, &is);
    CHECK_EQUAL(port_peer(stage->port, stage->arrivals[0].handle, &told), 0);
    CHECK(addr_equal(&told, &is)); /* IPv4, not IPv6 with IPv4 in it */
}

static void peer_has_gone(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    struct peer *peer = peer_connect(stage, &at);
    UNTIL(stage, stage->ground->connected(stage->world, peer->id) == 1);
    stage_accept(stage, listener);
    AWAIT(stage, stage_has_newcomer(stage));
    peer_close(peer, PORT_CLOSE_RST);
    stage_settle(stage);
    struct addr told;
    CHECK_EQUAL(port_peer(stage->port, stage->arrivals[0].handle, &told), SALLY_ENOCONN);
}

static void two_on_one_port(struct stage *stage)
{
    struct port_listen_options options = {.share_port = true};
    struct address loopback = stage_loopback(), at, again;
    struct actor *first = stage_listener(stage, &loopback, &options, &at);
    struct actor *second = stage_listener(stage, &at, &options, &again);
    stage_accept(stage, first);
    stage_accept(stage, second);
    for (unsigned i = 0; i < 60; i++) peer_connect(stage, &at);
    UNTIL(stage, first->newcomers + second->newcomers == 60);
}

static void pending(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    CHECK(!port_pending(stage->port, listener->sock.handle));
    peer_connect(stage, &at);
    UNTIL(stage, port_pending(stage->port, listener->sock.handle));
    stage_accept(stage, listener);
    AWAIT(stage, listener->newcomers == 1);
    CHECK(!port_pending(stage->port, listener->sock.handle));
}

static const struct rule rules[] = {
    {"P8_01_five_hundred_newcomers", burst},
    {"P8_02_a_thousand_resets_before_the_accept", reset_storm},
    {"P8_03_connections_that_died_in_the_queue", dead_in_the_queue},
    {"P8_04_without_descriptors_it_ends_and_starts_again", exhausted_and_back},
    {"P8_05_a_refused_newcomer_sees_what_the_mode_says", refusing},
    {"P8_06_addresses_of_IPv4", addresses_v4},
    {"P8_07_addresses_of_IPv6", addresses_v6, NEEDS_V6},
    {"P8_08_addresses_of_unix_sockets", addresses_unix, NEEDS_REAL | NEEDS_UNIX},
    {"P8_09_IPv4_newcomers_at_any_address_are_IPv4", v4_at_any, NEEDS_V6},
    {"P8_10_the_peer_of_a_dead_newcomer_is_gone", peer_has_gone},
    {"P8_11_two_listeners_share_a_port", two_on_one_port, NEEDS_SHARED},
    {"P8_12_pending_tells_whether_somebody_waits", pending},
};
const struct rule_set rules_accepting = {rules, sizeof rules / sizeof rules[0]};
