/* Scripted peers: the other ends of an engine's connections, with nothing of the library between
 * the test and the wire. They belong to the sim, live as long as it, and to its thread. */
#include <string.h>

#include "sim/sim.h"

enum { SIM_INBOX_MAX = 4 << 20, SIM_PEER_BACKLOG = 128 };

struct sally_sim_peer {
    sally_sim *sim;
    sally_sim_peer *next;
    struct sim_sock *s; /* NULL: it has none any more */
    sally_sim_peer_state state;
    bool reading;
    bool finished;
    uint64_t bytes;
    unsigned char *inbox;
    size_t inbox_room;
    size_t inbox_len;
    struct addr addr;
    void *user;
};

struct sally_sim_listener {
    sally_sim *sim;
    sally_sim_listener *next;
    struct sim_sock *s; /* NULL: closed */
    struct address at;
};

/* ---- Reading ---- */

static void inbox_grow(sally_sim_peer *peer, size_t len)
{
    struct sim_world *world = peer->sim->world;
    size_t room = peer->inbox_room ? peer->inbox_room : 256;
    while (room - peer->inbox_len < len) room *= 2;
    if (room == peer->inbox_room) return;
    peer->inbox = sim_grow(world, peer->inbox, peer->inbox_room, room);
    peer->inbox_room = room;
}

static void peer_drain(sally_sim_peer *peer)
{
    struct sim_sock *s = peer->s;
    if (!s || !peer->reading) return;
    size_t room = SIM_INBOX_MAX - peer->inbox_len;
    uint32_t len = s->rx.len < room ? s->rx.len : (uint32_t)room;
    if (len) {
        inbox_grow(peer, len);
        sim_tcp_read(s, peer->inbox + peer->inbox_len, len);
        peer->inbox_len += len;
        peer->bytes += len;
    }
    if (s->rx.len) return;
    if (s->fin_received && !peer->finished) {
        peer->finished = true;
        if (peer->state == SALLY_SIM_OPEN) peer->state = SALLY_SIM_FINISHED;
    }
    if (s->error) peer->state = SALLY_SIM_RESET;
}

/* The socket is not closed here even if it is broken: who tells may still be using it. */
static void peer_notify(void *owner, unsigned notices)
{
    sally_sim_peer *peer = owner;
    struct sim_sock *s = peer->s;
    if (notices & SIM_CONNECTED && peer->state == SALLY_SIM_CONNECTING) {
        if (s->state == SIM_FAILED) {
            peer->state = SALLY_SIM_REFUSED;
            return;
        }
        peer->state = SALLY_SIM_OPEN;
    }
    if (peer->state == SALLY_SIM_OPEN || peer->state == SALLY_SIM_FINISHED) peer_drain(peer);
}

/* ---- Making ---- */

static sally_sim_peer *peer_make(sally_sim *sim, struct sim_sock *s, sally_sim_peer_state state)
{
    sally_sim_peer *peer = sim_alloc(sim->world, sizeof *peer);
    peer->sim = sim;
    peer->s = s;
    peer->state = state;
    peer->reading = true;
    peer->next = sim->peers;
    sim->peers = peer;
    sim->peer_count++;
    s->owner = peer;
    s->notify = peer_notify;
    s->attached = true;
    sim_address_of(&s->local, &peer->addr);
    return peer;
}

sally_sim_peer *sally_sim_dial(sally_sim *sim, const char *text)
{
    struct address to;
    if (!sim || !text || address_parse(&to, text)) return NULL;
    if (to.kind != ADDRESS_IP && to.kind != ADDRESS_PATH) return NULL;
    /* from machines of their own: the addresses that are kept for documents, RFC 5737 */
    struct addr from = {.family = ADDR_V4, .ip = {198, 51, 100, 0}};
    from.ip[3] = (uint8_t)(1 + sim->peer_count % 250);
    bool v4 = to.kind == ADDRESS_IP && to.ip.family == ADDR_V4;
    struct sim_sock *s = sim_tcp_connect(sim->world, &to, v4 ? &from : NULL);
    return peer_make(sim, s, SALLY_SIM_CONNECTING);
}

sally_sim_listener *sally_sim_listen(sally_sim *sim, const char *text, unsigned backlog)
{
    struct address at;
    struct sim_sock *s = NULL;
    if (!sim || !text || address_parse(&at, text)) return NULL;
    if (sim_listen(sim->world, &at, backlog ? backlog : SIM_PEER_BACKLOG, false, false, &s))
        return NULL;
    sally_sim_listener *listener = sim_alloc(sim->world, sizeof *listener);
    listener->sim = sim;
    listener->s = s;
    listener->at = s->local;
    listener->next = sim->listeners;
    sim->listeners = listener;
    s->attached = true;
    return listener;
}

sally_sim_peer *sally_sim_listener_accept(sally_sim_listener *listener)
{
    struct sim_sock *s = listener->s ? sim_tcp_accept(listener->s) : NULL;
    if (!s) return NULL;
    sally_sim_peer *peer = peer_make(listener->sim, s, SALLY_SIM_OPEN);
    peer_drain(peer);
    return peer;
}

static const char *format_path(const char *path, char *buf, size_t size)
{
    if (!size) return buf;
    size_t len = 0;
    for (const char *part = "unix:"; *part && len + 1 < size;) buf[len++] = *part++;
    for (; *path && len + 1 < size;) buf[len++] = *path++;
    buf[len] = 0;
    return buf;
}

const char *sally_sim_listener_address(const sally_sim_listener *listener, char *buf, size_t size)
{
    if (listener->at.kind == ADDRESS_PATH) return format_path(listener->at.host, buf, size);
    struct addr addr;
    sim_address_of(&listener->at, &addr);
    return addr_format(&addr, buf, size);
}

void sally_sim_listener_close(sally_sim_listener *listener)
{
    if (listener->s) sim_tcp_close(listener->s, PORT_CLOSE_FIN);
    listener->s = NULL;
}

/* ---- Using ---- */

sally_sim_peer_state sally_sim_peer_get_state(const sally_sim_peer *peer) { return peer->state; }

size_t sally_sim_peer_write(sally_sim_peer *peer, const void *data, size_t len)
{
    if (peer->state != SALLY_SIM_OPEN && peer->state != SALLY_SIM_FINISHED) return 0;
    return sim_tcp_write(peer->s, data, len < UINT32_MAX ? (uint32_t)len : UINT32_MAX);
}

void sally_sim_peer_finish(sally_sim_peer *peer)
{
    if (peer->state != SALLY_SIM_OPEN && peer->state != SALLY_SIM_FINISHED) return;
    if (!peer->s->fin_asked) sim_tcp_finish(peer->s);
}

static void peer_end(sally_sim_peer *peer, enum port_close_mode mode, sally_sim_peer_state state)
{
    if (!peer->s || peer->state == SALLY_SIM_VANISHED) return;
    sim_tcp_close(peer->s, mode);
    peer->s = NULL;
    peer->state = state;
}

void sally_sim_peer_close(sally_sim_peer *peer)
{
    peer_end(peer, PORT_CLOSE_FIN, SALLY_SIM_CLOSED);
}

void sally_sim_peer_reset(sally_sim_peer *peer) { peer_end(peer, PORT_CLOSE_RST, SALLY_SIM_RESET); }

void sally_sim_peer_vanish(sally_sim_peer *peer)
{
    if (!peer->s) return;
    sim_tcp_vanish(peer->s);
    peer_end(peer, PORT_CLOSE_RST, SALLY_SIM_VANISHED);
}

void sally_sim_peer_stop_reading(sally_sim_peer *peer) { peer->reading = false; }

void sally_sim_peer_read(sally_sim_peer *peer)
{
    peer->reading = true;
    if (peer->state == SALLY_SIM_OPEN || peer->state == SALLY_SIM_FINISHED) peer_drain(peer);
}

const void *sally_sim_peer_received(const sally_sim_peer *peer, size_t *len)
{
    *len = peer->inbox_len;
    return peer->inbox ? (const void *)peer->inbox : "";
}

void sally_sim_peer_consume(sally_sim_peer *peer, size_t len)
{
    if (len > peer->inbox_len) len = peer->inbox_len;
    if (!len) return;
    peer->inbox_len -= len;
    memmove(peer->inbox, peer->inbox + len, peer->inbox_len);
    if (peer->state == SALLY_SIM_OPEN || peer->state == SALLY_SIM_FINISHED) peer_drain(peer);
}

uint64_t sally_sim_peer_bytes(const sally_sim_peer *peer) { return peer->bytes; }
bool sally_sim_peer_finished(const sally_sim_peer *peer) { return peer->finished; }

const char *sally_sim_peer_address(const sally_sim_peer *peer, char *buf, size_t size)
{
    return addr_format(&peer->addr, buf, size);
}

void sally_sim_peer_set_user(sally_sim_peer *peer, void *user) { peer->user = user; }
void *sally_sim_peer_user(const sally_sim_peer *peer) { return peer->user; }

/* ---- The end of the sim ---- */

void sim_peers_free(sally_sim *sim)
{
    struct sim_world *world = sim->world;
    for (sally_sim_peer *next, *peer = sim->peers; peer; peer = next) {
        next = peer->next;
        if (peer->s) sim_tcp_close(peer->s, PORT_CLOSE_RST);
        sim_free(world, peer->inbox, peer->inbox_room);
        sim_free(world, peer, sizeof *peer);
    }
    for (sally_sim_listener *next, *listener = sim->listeners; listener; listener = next) {
        next = listener->next;
        sally_sim_listener_close(listener);
        sim_free(world, listener, sizeof *listener);
    }
    sim->peers = NULL;
    sim->listeners = NULL;
}
