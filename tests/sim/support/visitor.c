/* The storm's scripted peers: each has a role, sends bytes that say whose they are, and checks that
 * what comes back is what it sent, in order. One thread. */
#include <string.h>

#include "sim/support/record.h"

void visitor_dial(struct storm *storm, struct visitor *visitor, enum role role)
{
    static const char *const doors[] = {"127.0.0.1:5002", "[::1]:5003"};
    *visitor = (struct visitor){.role = (uint8_t)role, .tag = one_of(storm, 100000)};
    visitor->want = 1 + one_of(storm, one_of(storm, 4) ? 256 : BODY_MAX);
    visitor->peer = sally_sim_dial(storm->sim, doors[one_of(storm, 2)]);
    CHECK(storm, visitor->peer);
    if (role == ROLE_STALL) sally_sim_peer_stop_reading(visitor->peer);
}

static void send_some(struct storm *storm, struct visitor *visitor, uint32_t want)
{
    if (visitor->wrote >= want) return;
    uint32_t len = 1 + one_of(storm, want - visitor->wrote);
    size_t took = sally_sim_peer_write(visitor->peer,
                                       body_from(storm, visitor->tag, visitor->wrote, len), len);
    CHECK(storm, took <= len);
    visitor->wrote += (uint32_t)took;
}

static void read_all(struct storm *storm, struct visitor *visitor)
{
    size_t len = 0;
    const unsigned char *bytes = sally_sim_peer_received(visitor->peer, &len);
    CHECK(storm, visitor->got + len <= visitor->wrote);
    for (size_t i = 0; i < len; i++)
        CHECK(storm, bytes[i] == body_at(visitor->tag, visitor->got + (uint32_t)i));
    visitor->got += (uint32_t)len;
    sally_sim_peer_consume(visitor->peer, len);
}

static void act_good(struct storm *storm, struct visitor *visitor)
{
    send_some(storm, visitor, visitor->want);
    if (visitor->wrote < visitor->want || visitor->finished) return;
    if (visitor->got < visitor->want && one_of(storm, 2)) return; /* finishes early, or late */
    sally_sim_peer_finish(visitor->peer);
    visitor->finished = true;
}

/* The other end of an outgoing connection: gives back what it gets. */
static void act_echo(struct storm *storm, struct visitor *visitor)
{
    size_t len = 0;
    const void *bytes = sally_sim_peer_received(visitor->peer, &len);
    sally_sim_peer_consume(visitor->peer, sally_sim_peer_write(visitor->peer, bytes, len));
    if (sally_sim_peer_finished(visitor->peer)) sally_sim_peer_finish(visitor->peer);
    if (!storm->calm && one_of(storm, 16) == 0) sally_sim_peer_reset(visitor->peer);
}

static void act(struct storm *storm, struct visitor *visitor)
{
    sally_sim_peer_state state = sally_sim_peer_get_state(visitor->peer);
    if (visitor->role != ROLE_ECHO) read_all(storm, visitor);
    if (state != SALLY_SIM_OPEN && state != SALLY_SIM_FINISHED) return;
    switch (visitor->role) {
    case ROLE_GOOD: act_good(storm, visitor); break;
    case ROLE_ECHO: act_echo(storm, visitor); break;
    case ROLE_SILENT: break;
    default:
        send_some(storm, visitor, visitor->want);
        if (one_of(storm, 4)) break;
        if (visitor->role == ROLE_RESET) sally_sim_peer_reset(visitor->peer);
        if (visitor->role == ROLE_VANISH) sally_sim_peer_vanish(visitor->peer);
        if (visitor->role == ROLE_LEAVE) sally_sim_peer_close(visitor->peer);
    }
}

struct visitor *visitor_new(struct storm *storm)
{
    return storm->visitors == PEERS ? NULL : &storm->visitor[storm->visitors++];
}

void visitors_act(struct storm *storm)
{
    for (unsigned i = 0; i < storm->visitors; i++) act(storm, &storm->visitor[i]);
    sally_sim_peer *newcomer =
        storm->visitors < PEERS ? sally_sim_listener_accept(storm->elsewhere) : NULL;
    if (newcomer) *visitor_new(storm) = (struct visitor){.peer = newcomer, .role = ROLE_ECHO};
}

bool visitor_is_served(const struct visitor *visitor)
{
    return visitor->role == ROLE_GOOD && visitor->got == visitor->want;
}
