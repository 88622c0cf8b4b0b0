/* P12: an event never reaches another socket than its own, also when slots and descriptors are used
 * again at once. Each connection has a pattern of its own, so a byte that comes to another one is
 * seen. */
#include <stdlib.h>

#include "port/support/rules.h"

enum { SLOTS = 4, CONNECTIONS = 2000 };

struct guest {
    struct actor *actor;
    struct peer *peer;
};

static void welcome(struct stage *stage, struct guest *guest)
{
    guest->actor = stage_pair(stage, &guest->peer);
    guest->actor->tag_in |= TAG_OF_REUSE;
    guest->peer->tag_out |= TAG_OF_REUSE;
    stage_recv(stage, guest->actor);
}

static void see_off(struct stage *stage, struct guest *guest)
{
    enum port_close_mode mode = stage_random(stage, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN;
    stage_close(stage, guest->actor, mode);
    if (guest->peer->open && stage_random(stage, 2)) {
        peer_wrote(guest->peer, guest->peer->wrote + 500); /* after the close */
    }
    UNTIL(stage, guest->actor->closed);
    stage_give(stage, guest->actor);
    guest->actor = NULL;
}

static void leave(struct stage *stage, struct guest *guest)
{
    if (!guest->peer->open) return;
    peer_close(guest->peer, stage_random(stage, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
}

static void churn(struct stage *stage)
{
    struct guest guests[SLOTS - 1] = {0};
    unsigned count = stage->ground->real ? CONNECTIONS : CONNECTIONS / 4;
    for (unsigned i = 0; i < count; i++) {
        struct guest *guest = &guests[stage_random(stage, SLOTS - 1)];
        if (guest->actor) {
            see_off(stage, guest);
            leave(stage, guest);
        }
        welcome(stage, guest);
        peer_wrote(guest->peer, 1 + stage_random(stage, 6000));
        if (stage_random(stage, 3) == 0) stage_turn(stage, 0);
        if (stage_random(stage, 4) == 0) leave(stage, guest);
        if (stage_random(stage, 4) == 0 && !actor_flies(guest->actor, PORT_SEND))
            stage_send(stage, guest->actor, 2000);
    }
}

/* One event's handler closes another socket whose event is in the same batch, and opens a new one,
 * which gets its descriptor. */
struct swap {
    struct actor *victim;
    struct actor *fresh;
    struct address to;
};

static void on_swap(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    struct swap *swap = actor->user;
    if (event->op != PORT_RECV || !swap || swap->fresh) return;
    if (swap->victim->closed || actor_flies(swap->victim, PORT_CLOSE)) return;
    stage_close(stage, swap->victim, PORT_CLOSE_RST);
    swap->fresh = stage_actor(stage);
    stage_connect(stage, swap->fresh, &swap->to, NULL);
}

static void same_batch(struct stage *stage)
{
    struct address loopback = stage_loopback();
    struct swap swap = {0};
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 64, &listener, &swap.to), 0);
    for (unsigned i = 0; i < 60; i++) {
        struct guest first, second;
        welcome(stage, &first);
        welcome(stage, &second);
        bool swapped = i & 1;
        first.actor->user = swapped ? NULL : &swap;
        second.actor->user = swapped ? &swap : NULL;
        first.actor->on_event = second.actor->on_event = on_swap;
        swap.victim = swapped ? first.actor : second.actor;
        swap.fresh = NULL;
        peer_wrote(first.peer, 200);
        peer_wrote(second.peer, 200);
        AWAIT(stage, swap.fresh && swap.fresh->endings[PORT_CONNECT]);
        CHECK_EQUAL(swap.fresh->error[PORT_CONNECT], 0);
        struct peer *peer = NULL;
        UNTIL(stage, (peer = peer_accept(stage, listener)) != NULL);
        peer->tag_out = swap.fresh->tag_in = TAG_OF_REUSE | (5000 + i);
        stage_recv(stage, swap.fresh);
        peer_write(peer, 300);
        UNTIL(stage, swap.fresh->got == 300 && swap.victim->closed);
        stage_give(stage, swap.victim);
        stage_drop(stage, swap.fresh, PORT_CLOSE_RST);
        (swapped ? second : first).actor->user = NULL;
        stage_drop(stage, (swapped ? second : first).actor, PORT_CLOSE_RST);
        peer_close(peer, PORT_CLOSE_RST);
        leave(stage, &first);
        leave(stage, &second);
    }
    stage->ground->close_listener(stage->world, listener);
}

static void two_ports(struct stage *stage)
{
    struct stage *other = calloc(1, sizeof *other);
    if (!other) abort();
    stage_open_door(stage); /* the other counts descriptors from here on */
    stage_open(other, &stage->config);
    struct guest here, there;
    for (unsigned i = 0; i < 20; i++) {
        welcome(stage, &here);
        welcome(other, &there);
        CHECK_EQUAL(here.actor->sock.slot.index, there.actor->sock.slot.index);
        here.actor->tag_in = here.peer->tag_out = TAG_OF_REUSE | 1;
        there.actor->tag_in = there.peer->tag_out = TAG_OF_REUSE | 2;
        peer_write(here.peer, 1000);
        peer_write(there.peer, 2000);
        UNTIL(stage, here.actor->got == 1000);
        UNTIL(other, there.actor->got == 2000);
        see_off(stage, &here);
        see_off(other, &there);
        leave(stage, &here);
        leave(other, &there);
    }
    stage_shut(other);
    free(other);
}

/* The receive of one that has gone must not take the bytes of the next one with its descriptor. */
static void pending_receives_and_reuse(struct stage *stage)
{
    unsigned count = stage->ground->real ? 300 : 60;
    for (unsigned i = 0; i < count; i++) {
        struct guest guest;
        welcome(stage, &guest);
        if (i & 1) stage_turn(stage, 0);
        stage_close(stage, guest.actor, i & 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        struct guest next;
        if (i & 4) UNTIL(stage, guest.actor->closed);
        welcome(stage, &next);
        peer_wrote(next.peer, 800);
        uint64_t wrote = next.peer->wrote;
        UNTIL(stage, next.actor->got == wrote && guest.actor->closed);
        stage_give(stage, guest.actor);
        see_off(stage, &next);
        leave(stage, &guest);
        leave(stage, &next);
    }
}

static const struct rule rules[] = {
    {"P12_01_two_thousand_connections_through_four_slots", churn, 0, SLOTS, 16, 1024},
    {"P12_02_a_descriptor_used_again_in_the_same_batch", same_batch},
    {"P12_03_two_ports_with_the_same_slots", two_ports},
    {"P12_04_a_closed_one_s_receive_takes_nothing_of_the_next", pending_receives_and_reuse},
};
const struct rule_set rules_reusing = {rules, sizeof rules / sizeof rules[0]};
