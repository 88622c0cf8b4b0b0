/* P2: starting returns nothing and every failure is an event. P3: no event inside the call; that
 * the bits in flight are untouched when a start returns is checked by the stage at each start, and
 * here for starts that the system finishes at once. */
#include <string.h>

#include "port/support/rules.h"
#include "sallyport/error.h"

/* --- P2 --- */

static void check_connect_fails(struct stage *stage, const struct address *to)
{
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, to, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    CHECK(actor->error[PORT_CONNECT] < 0);
    CHECK_EQUAL(actor->sock.handle, PORT_NO_HANDLE);
    stage_drop(stage, actor, PORT_CLOSE_FIN);
}

static void connect_to_nonsense(struct stage *stage)
{
    struct address to = stage_loopback();
    to.ip.family = ADDR_NONE;
    check_connect_fails(stage, &to);
    memset(&to, 0, sizeof to);
    to.kind = ADDRESS_PATH;
    memset(to.host, 'x', sizeof to.host - 1);
    check_connect_fails(stage, &to);
}

static void connect_without_descriptors(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 8, &listener, &at), 0);
    stage->ground->exhaust(stage->world, true);
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &at, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT] == 1);
    stage->ground->exhaust(stage->world, false);
    CHECK_EQUAL(actor->error[PORT_CONNECT], SALLY_EEXHAUSTED);
    stage_connect(stage, actor, &at, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT] == 2);
    CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
    stage->ground->close_listener(stage->world, listener);
}

static void works_without_memory(struct stage *stage)
{
    struct peer *peer, *other;
    struct actor *actor = stage_pair(stage, &peer);
    struct actor *closed = stage_pair_out(stage, &other);
    atomic_store(&stage->allocs_until, 0);
    stage_recv(stage, actor);
    stage_recv(stage, closed);
    peer_write(peer, 8000);
    peer_write(other, 8000);
    stage_send_all(stage, actor, 8000);
    UNTIL(stage, peer_got(peer, 8000));
    for (unsigned i = 0; i < 20; i++) stage_turn(stage, 1);
    stage_drop(stage, closed, PORT_CLOSE_FIN);
    atomic_store(&stage->allocs_until, -1);
    UNTIL(stage, actor->got == 8000 || actor->endings[PORT_RECV]);
    CHECK(actor->got == 8000 || actor->error[PORT_RECV] != 0);
}

static void accept_on_a_connection(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    peer_write(peer, 1);
    stage_accept(stage, actor);
    AWAIT(stage, actor->endings[PORT_ACCEPT]);
    CHECK_EQUAL(actor->error[PORT_ACCEPT], SALLY_EINVAL);
}

static void send_after_half_close(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    CHECK_EQUAL(port_shutdown(stage->port, &actor->sock), 0);
    stage_send(stage, actor, 100);
    AWAIT(stage, actor->endings[PORT_SEND]);
    CHECK(actor->error[PORT_SEND] != 0); /* and no signal ended the process */
}

/* --- P3 --- */

static void recv_of_waiting_bytes(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    peer_write(peer, 1000);
    peer_finish(peer);
    stage_settle(stage);
    uint64_t events = stage->events;
    stage_recv(stage, actor);
    CHECK_EQUAL(stage->events, events);
    CHECK_EQUAL(counter_get(&stage->port->counters.completed[PORT_RECV]), 0);
    AWAIT(stage, actor->ended);
    CHECK_EQUAL(actor->got, 1000);
}

static void accept_of_waiting_newcomers(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    for (unsigned i = 0; i < 3; i++) peer_connect(stage, &at);
    stage_settle(stage);
    stage_accept(stage, listener);
    CHECK_EQUAL(counter_get(&stage->port->counters.accepted), 0);
    AWAIT(stage, listener->newcomers == 3);
}

static void send_with_room(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    for (unsigned i = 1; i <= 50; i++) {
        stage_send(stage, actor, 10);
        CHECK_EQUAL(counter_get(&stage->port->counters.completed[PORT_SEND]), i - 1);
        AWAIT(stage, actor->endings[PORT_SEND] == i);
        CHECK_EQUAL(actor->error[PORT_SEND], 0);
    }
    UNTIL(stage, peer_got(peer, actor->sent));
}

static void close_of_nothing(struct stage *stage)
{
    struct actor *actor = stage_actor(stage);
    stage_close(stage, actor, PORT_CLOSE_FIN);
    CHECK(!actor->closed);
    AWAIT(stage, actor->closed);
}

static void flush_makes_no_event(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    peer_write(peer, 1000);
    stage_settle(stage);
    stage_recv(stage, actor);
    stage_send(stage, actor, 100);
    port_flush(stage->port);
    CHECK_EQUAL(actor->sock.in_flight, actor->flying);
    CHECK_EQUAL(counter_get(&stage->port->counters.completed[PORT_SEND]), 0);
    AWAIT(stage, actor->got == 1000 && actor->endings[PORT_SEND]);
}

static const struct rule rules[] = {
    {"P2_01_a_connect_that_makes_no_sense_fails_by_event", connect_to_nonsense},
    {"P2_02_a_connect_without_descriptors_fails_by_event", connect_without_descriptors},
    {"P2_03_without_memory_every_operation_still_ends", works_without_memory},
    {"P2_04_accept_on_a_connection_fails_by_event", accept_on_a_connection, NEEDS_REAL},
    {"P2_05_send_after_half_close_fails_by_event", send_after_half_close, NEEDS_REAL},
    {"P3_01_bytes_that_wait_don_t_come_inside_port_recv", recv_of_waiting_bytes},
    {"P3_02_newcomers_that_wait_don_t_come_inside_port_accept", accept_of_waiting_newcomers},
    {"P3_03_a_send_with_room_does_not_end_inside_port_send", send_with_room},
    {"P3_04_a_close_of_nothing_does_not_end_inside_port_close", close_of_nothing},
    {"P3_05_a_flush_ends_nothing", flush_makes_no_event},
};
const struct rule_set rules_starting = {rules, sizeof rules / sizeof rules[0]};
