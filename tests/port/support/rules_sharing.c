/* P9: nobody starves. A peer that never stops sending is served a bounded number of events while
 * another one that is ready waits. What is counted are events, not time. */
#include <string.h>

#include "port/support/rules.h"

enum { ECHOES = 20, ECHO_BYTES = 1, WAIT_ROUNDS_MAX = 16, ON_THE_WAY_EVENTS = 20000 };

struct crowd {
    struct peer *hose_peer;
    struct actor *hose;
    uint64_t hose_events; /* also newcomers, where those are the flood */
    struct peer *peers[ECHOES];
    struct actor *actors[ECHOES];
    uint64_t asked_at[ECHOES]; /* hose_events when the request was written */
    bool waits[ECHOES];        /* its request has not been received */
    unsigned rounds[ECHOES];
    struct address flood_at;
    unsigned flood_left;
};

static struct crowd crowd; /* one trial a process */

/* As soon as some bytes are taken there are new ones: always ready. */
static void on_hose(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    (void)stage, (void)actor, (void)event;
    crowd.hose_events++;
    peer_wrote(crowd.hose_peer, crowd.hose_peer->wrote + 65536);
}

/* Rounds of all buffers that one may be passed over. In a simulated network a request is on its way
 * for a while after it was written, in which the flood goes on. */
static void check_waits(struct stage *stage)
{
    uint64_t most = (uint64_t)WAIT_ROUNDS_MAX * stage->port->bufs_total;
    if (most < 64) most = 64;
    if (!stage->ground->real) most += ON_THE_WAY_EVENTS;
    for (unsigned i = 0; i < ECHOES; i++)
        if (crowd.waits[i] && crowd.hose_events - crowd.asked_at[i] > most)
            trial_fail("P9", __FILE__, __LINE__,
                       "peer %u of %u, in round %u, is ready and waits for %llu events of another",
                       i, ECHOES, crowd.rounds[i],
                       (unsigned long long)(crowd.hose_events - crowd.asked_at[i]));
}

static void on_echo(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    (void)stage;
    if (event->op != PORT_RECV) return;
    unsigned i = 0;
    while (crowd.actors[i] != actor) i++;
    crowd.waits[i] = false;
}

static void make_echoes(struct stage *stage)
{
    memset(&crowd, 0, sizeof crowd);
    for (unsigned i = 0; i < ECHOES; i++) {
        crowd.actors[i] = stage_pair(stage, &crowd.peers[i]);
        crowd.actors[i]->tag_out = crowd.actors[i]->tag_in; /* an echo */
        crowd.peers[i]->tag_in = crowd.peers[i]->tag_out;
        crowd.actors[i]->on_event = on_echo;
        crowd.actors[i]->echo = true;
        stage_recv(stage, crowd.actors[i]);
    }
}

static bool all_echoed(unsigned rounds)
{
    for (unsigned i = 0; i < ECHOES; i++)
        if (crowd.rounds[i] < rounds) return false;
    return true;
}

/* Each peer that has its answer asks again. A turn ends although the flood does not. */
static void echo_rounds(struct stage *stage, unsigned rounds)
{
    while (!all_echoed(rounds)) {
        for (unsigned i = 0; i < ECHOES; i++) {
            uint64_t asked = (uint64_t)crowd.rounds[i] * ECHO_BYTES;
            if (crowd.peers[i]->wrote > asked) {
                if (!peer_got(crowd.peers[i], asked + ECHO_BYTES)) continue;
                crowd.rounds[i]++;
                asked += ECHO_BYTES;
            }
            crowd.asked_at[i] = crowd.hose_events;
            crowd.waits[i] = peer_wrote(crowd.peers[i], asked + ECHO_BYTES);
        }
        uint64_t before = crowd.hose_events;
        CHECK_EQUAL(port_wait(stage->port, 1), 0);
        while (stage_take(stage)) {
            check_waits(stage);
            if (crowd.hose_events - before > 10000)
                trial_fail("P9", __FILE__, __LINE__, "one turn brings events without end");
        }
    }
}

static void start_hose(struct stage *stage)
{
    crowd.hose = stage_pair(stage, &crowd.hose_peer);
    crowd.hose->on_event = on_hose;
    stage_recv(stage, crowd.hose);
    peer_wrote(crowd.hose_peer, 65536);
}

static void one_hose(struct stage *stage)
{
    make_echoes(stage);
    start_hose(stage);
    echo_rounds(stage, 30);
    CHECK(crowd.hose_events > 0);
}

static void one_hose_one_event(struct stage *stage)
{
    stage->take_max = 1;
    make_echoes(stage);
    start_hose(stage);
    echo_rounds(stage, 20);
}

static void on_newcomer(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    (void)actor, (void)event;
    crowd.hose_events++;
    if (crowd.flood_left == 0) return;
    crowd.flood_left--;
    peer_close(peer_connect(stage, &crowd.flood_at), PORT_CLOSE_RST);
}

static void newcomer_flood(struct stage *stage)
{
    struct address loopback = stage_loopback();
    make_echoes(stage);
    struct actor *listener = stage_listener(stage, &loopback, NULL, &crowd.flood_at);
    listener->refuse = true;
    listener->on_event = on_newcomer;
    crowd.flood_left = 800;
    stage_accept(stage, listener);
    for (unsigned i = 0; i < 20; i++)
        peer_close(peer_connect(stage, &crowd.flood_at), PORT_CLOSE_RST);
    echo_rounds(stage, 20);
    if (!actor_flies(listener, PORT_ACCEPT)) stage_accept(stage, listener);
}

/* With few buffers, one that always has bytes must not get them all. */
static void hose_with_two_buffers(struct stage *stage)
{
    make_echoes(stage);
    start_hose(stage);
    echo_rounds(stage, 10);
}

static void on_sent(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (event->op != PORT_SEND || event->error) return;
    crowd.hose_events++;
    peer_read(actor->user, 1 << 20);
    (void)stage;
}

static void one_sender_without_end(struct stage *stage)
{
    make_echoes(stage);
    crowd.hose = stage_pair(stage, &crowd.hose_peer);
    crowd.hose->user = crowd.hose_peer;
    crowd.hose->on_event = on_sent;
    crowd.hose->chunk = 1000;
    stage_send_all(stage, crowd.hose, UINT64_C(1) << 40);
    echo_rounds(stage, 10);
}

static const struct rule rules[] = {
    {"P9_01_one_flood_and_twenty_echoes", one_hose, 0, 0, 0, 1024},
    {"P9_02_the_same_with_one_event_at_a_time", one_hose_one_event, 0, 0, 0, 1024},
    {"P9_03_a_flood_of_newcomers_and_twenty_echoes", newcomer_flood},
    {"P9_04_one_flood_with_two_buffers", hose_with_two_buffers, 0, 0, 2, 1024},
    {"P9_05_one_sender_without_end_and_twenty_echoes", one_sender_without_end},
};
const struct rule_set rules_sharing = {rules, sizeof rules / sizeof rules[0]};
