/* P1: a started operation ends exactly once. What is common to all events is checked by the stage;
 * here each kind of operation is led to each of its endings. */
#include <stdlib.h>
#include <string.h>

#include "port/support/rules.h"
#include "sallyport/error.h"

static void check_one_ending(struct stage *stage, const struct actor *actor, enum port_op op,
                             int error)
{
    stage_settle(stage);
    CHECK_EQUAL(actor->endings[op], 1);
    CHECK_EQUAL(actor->error[op], error);
}

static void recv_at_end(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    peer_write(peer, 100);
    peer_finish(peer);
    AWAIT(stage, actor->endings[PORT_RECV]);
    check_one_ending(stage, actor, PORT_RECV, 0);
    CHECK(actor->ended);
    CHECK_EQUAL(actor->got, 100);
}

static void recv_at_reset(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_settle(stage);
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, actor->endings[PORT_RECV]);
    check_one_ending(stage, actor, PORT_RECV, SALLY_ERESET);
}

static void recv_stopped(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_settle(stage);
    stage_recv_stop(stage, actor);
    AWAIT(stage, actor->endings[PORT_RECV]);
    check_one_ending(stage, actor, PORT_RECV, SALLY_ECANCELED);
}

static void send_taken(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_send(stage, actor, 1000);
    AWAIT(stage, actor->endings[PORT_SEND]);
    check_one_ending(stage, actor, PORT_SEND, 0);
    UNTIL(stage, peer_got(peer, actor->sent));
    CHECK_EQUAL(peer->got, actor->sent);
}

static void send_at_reset(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_fill(stage, actor);
    uint32_t before = actor->endings[PORT_SEND];
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    stage_settle(stage);
    CHECK(actor->error[PORT_SEND] == SALLY_ERESET || actor->error[PORT_SEND] == SALLY_ECLOSED);
    CHECK_EQUAL(actor->endings[PORT_SEND], before + 1);
}

static void both_at_reset(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_fill(stage, actor);
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, !actor->flying);
    stage_settle(stage);
    CHECK_EQUAL(actor->endings[PORT_RECV], 1);
    /* which of the two is told of the reset is the system's matter; neither may look well */
    CHECK(actor->error[PORT_SEND] != 0);
    CHECK(actor->error[PORT_RECV] == SALLY_ERESET || actor->error[PORT_SEND] == SALLY_ERESET);
}

static void accept_stopped(struct stage *stage)
{
    struct address loopback = stage_loopback(), bound;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &bound);
    stage_accept(stage, listener);
    stage_settle(stage);
    stage_accept_stop(stage, listener);
    AWAIT(stage, listener->endings[PORT_ACCEPT]);
    check_one_ending(stage, listener, PORT_ACCEPT, SALLY_ECANCELED);
}

static void close_told_once(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_close(stage, actor, PORT_CLOSE_FIN);
    AWAIT(stage, actor->closed);
    check_one_ending(stage, actor, PORT_CLOSE, 0);
}

static void one_event_at_a_time(struct stage *stage)
{
    enum { PAIRS = 8 };
    struct peer *peers[PAIRS];
    struct actor *actors[PAIRS];
    stage->take_max = 1;
    for (unsigned i = 0; i < PAIRS; i++) {
        actors[i] = stage_pair(stage, &peers[i]);
        stage_recv(stage, actors[i]);
        stage_send_all(stage, actors[i], 5000);
        peer_write(peers[i], 5000);
        peer_finish(peers[i]);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        UNTIL(stage, peer_got(peers[i], 5000) && !actors[i]->flying);
        CHECK_EQUAL(actors[i]->got, 5000);
        CHECK_EQUAL(peers[i]->got, 5000);
    }
}

/* --- a random walk: any legal step at any moment --- */

enum { WALKERS = 6, WALK_STEPS = 1500 };

struct walker {
    struct actor *actor;
    struct peer *peer;
    bool shut;
};

static bool can_send(const struct walker *walker)
{
    return !walker->shut && !actor_flies(walker->actor, PORT_SEND) &&
           walker->actor->error[PORT_SEND] == 0;
}

static void walk_close(struct stage *stage, struct walker *walker)
{
    enum port_close_mode mode = stage_random(stage, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN;
    stage_close(stage, walker->actor, mode);
}

static void step_actor(struct stage *stage, struct walker *walker)
{
    struct actor *actor = walker->actor;
    switch (stage_random(stage, 24)) {
    case 0: walk_close(stage, walker); break;
    case 1:
        if (can_send(walker)) {
            (void)port_shutdown(stage->port, &actor->sock);
            walker->shut = true;
        }
        break;
    case 2:
    case 3:
    case 4:
        if (actor_flies(actor, PORT_RECV)) stage_recv_stop(stage, actor);
        break;
    case 5:
        if (can_send(walker) && stage_send_now(stage, actor, 700) < 0)
            actor->error[PORT_SEND] = SALLY_ERESET;
        break;
    case 6: actor->hold = !actor->hold; break;
    case 7: stage_release_held(stage); break;
    default:
        if (stage_random(stage, 2)) {
            if (can_send(walker)) stage_send(stage, actor, 1 + stage_random(stage, 150000));
        } else if (!actor_flies(actor, PORT_RECV) && !actor->ended &&
                   (actor->error[PORT_RECV] == 0 || actor->error[PORT_RECV] == SALLY_ECANCELED)) {
            stage_recv(stage, actor);
        }
    }
}

static void walk_once(struct stage *stage, struct walker *walker)
{
    if (!walker->actor) {
        memset(walker, 0, sizeof *walker);
        walker->actor = stage_random(stage, 2) ? stage_pair(stage, &walker->peer)
                                               : stage_pair_out(stage, &walker->peer);
        walker->actor->tag_in |= TAG_OF_REUSE;
        walker->peer->tag_out |= TAG_OF_REUSE;
    }
    if (walker->actor->closed) {
        stage_give(stage, walker->actor);
        walker->actor = NULL;
        if (walker->peer->open) peer_close(walker->peer, PORT_CLOSE_RST);
        return;
    }
    bool closing = actor_flies(walker->actor, PORT_CLOSE);
    if (walker->peer->open && (closing || stage_random(stage, 2))) {
        peer_stray(walker->peer, 60000);
    } else if (!closing) {
        step_actor(stage, walker);
    }
}

static void random_walk(struct stage *stage)
{
    struct walker walkers[WALKERS] = {0};
    const char *seed = getenv("SALLY_SEED");
    stage->random = seed ? strtoull(seed, NULL, 0) | 1 : 20260721;
    for (unsigned step = 0; step < WALK_STEPS; step++) {
        walk_once(stage, &walkers[stage_random(stage, WALKERS)]);
        stage->take_max = 1 + (unsigned)stage_random(stage, 8);
        if (stage->held_len > 40) stage_release_held(stage);
        if (stage_random(stage, 3) == 0) stage_turn(stage, 0);
        if (stage_random(stage, 12) == 0) stage_turn(stage, 1);
    }
    stage_release_held(stage);
}

static const struct rule rules[] = {
    {"P1_01_receive_ends_once_at_the_end_of_the_stream", recv_at_end},
    {"P1_02_receive_ends_once_at_a_reset", recv_at_reset},
    {"P1_03_receive_ends_once_when_stopped", recv_stopped},
    {"P1_04_send_ends_once_when_taken", send_taken},
    {"P1_05_send_that_waits_ends_once_at_a_reset", send_at_reset},
    {"P1_06_receive_and_send_both_end_at_a_reset", both_at_reset},
    {"P1_07_accept_ends_once_when_stopped", accept_stopped},
    {"P1_08_close_ends_once", close_told_once},
    {"P1_09_events_taken_one_by_one_are_all_there", one_event_at_a_time},
    {"P1_10_a_random_walk_ends_every_operation_once", random_walk},
};
const struct rule_set rules_ending = {rules, sizeof rules / sizeof rules[0]};
