/* TCP in memory: handshake, segments, windows, FIN, RST. Bytes wait in the sender's send buffer
 * until a segment takes them over into the receiver's buffer; one segment a direction is on its way
 * at a time, so a direction keeps its order. One thread. A connection is two sockets; both are
 * freed when nobody has either.
 *
 * As a kernel does: a close with unread bytes resets; bytes that come to a closed socket are
 * answered with a reset; a reset drops what the send buffer holds; what was received before stays
 * readable (unless the fault reset_drops says otherwise). */
#include <assert.h>
#include <string.h>

#include "port/sim.h"

static void tell(struct sim_sock *sock, unsigned notices)
{
    if (sock->notify && !sock->app_closed) sock->notify(sock->owner, notices);
}

/* ---- Segments ---- */

static bool has_segment(const struct sim_sock *from)
{
    const struct sim_sock *to = from->other;
    if (!to || from->error || from->vanished || from->state != SIM_ESTABLISHED_STATE) return false;
    if (from->tx.len) return to->app_closed || sim_ring_room(&to->rx);
    return from->fin_asked && !from->fin_sent;
}

static void schedule_segment(struct sim_sock *from, uint64_t delay_ns)
{
    struct sim_world *world = from->world;
    if (from->segment_due || !has_segment(from)) return;
    from->segment_due = true;
    uint64_t at_ns = world->now_ns + delay_ns;
    if (at_ns < from->clogged_until_ns) at_ns = from->clogged_until_ns;
    sim_world_later(world, at_ns - world->now_ns, SIM_SEGMENT, from->number, 0);
}

/* Something that belongs to nobody's call happens to the segment instead of its arrival. */
static bool segment_fault(struct sim_sock *from)
{
    struct sim_world *world = from->world;
    if (sim_chance(world, world->faults.reset)) {
        sim_tcp_break(from);
        return true;
    }
    if (sim_chance(world, world->faults.vanish)) {
        sim_tcp_vanish(from);
        return true;
    }
    if (from->clogged_until_ns <= world->now_ns && sim_chance(world, world->faults.clog)) {
        from->clogged_until_ns = world->now_ns + sim_skewed(world, 3 * SIM_S);
        schedule_segment(from, 0);
        return true;
    }
    return false;
}

/* The receiver's application has gone: whoever sends to it is reset, and what it had still to send
 * is lost (T2). */
static void answer_with_reset(struct sim_sock *closed)
{
    struct sim_world *world = closed->world;
    struct sim_sock *sender = closed->other;
    closed->error = SALLY_ERESET;
    sim_ring_clear(world, &closed->tx);
    sim_ring_clear(world, &sender->tx);
    sim_world_later(world, closed->latency_ns, SIM_RESET, sender->number, 0);
}

static void deliver_bytes(struct sim_sock *from, struct sim_sock *to)
{
    struct sim_world *world = from->world;
    unsigned char bytes[4096];
    uint32_t most = (uint32_t)sim_skewed(world, sizeof bytes);
    if (most > sim_ring_room(&to->rx)) most = sim_ring_room(&to->rx);
    uint32_t n = sim_ring_take(&from->tx, bytes, most);
    sim_ring_put(world, &to->rx, bytes, n);
    sim_mix(world, n);
}

static void segment_arrives(struct sim_sock *from)
{
    from->segment_due = false;
    if (!has_segment(from) || segment_fault(from)) return;
    struct sim_sock *to = from->other;
    if (to->error) return;
    if (from->tx.len && to->app_closed) {
        answer_with_reset(to);
        return;
    }
    unsigned to_notices = 0;
    if (from->tx.len) {
        deliver_bytes(from, to);
        to_notices = SIM_READABLE;
    }
    if (!from->tx.len && from->fin_asked && (!to_notices || sim_below(from->world, 2))) {
        from->fin_sent = to->fin_received = true;
        to_notices = SIM_READABLE;
    }
    schedule_segment(from, 1 + sim_below(from->world, from->latency_ns / 8 + 1));
    tell(from, SIM_WRITABLE);
    tell(to, to_notices);
}

uint32_t sim_tcp_write(struct sim_sock *sock, const void *data, uint32_t len)
{
    if (sock->state != SIM_ESTABLISHED_STATE || sock->error || sock->fin_asked) return 0;
    uint32_t n = sim_ring_put(sock->world, &sock->tx, data, len);
    schedule_segment(sock, sock->latency_ns);
    return n;
}

uint32_t sim_tcp_read(struct sim_sock *sock, void *data, uint32_t len)
{
    uint32_t n = sim_ring_take(&sock->rx, data, len);
    if (n && sock->other) schedule_segment(sock->other, sock->latency_ns);
    return n;
}

void sim_tcp_finish(struct sim_sock *sock)
{
    sock->fin_asked = true;
    schedule_segment(sock, sock->latency_ns);
}

/* ---- Handshake ---- */

static void choose_local(struct sim_world *world, const struct address *to, const struct addr *from,
                         struct address *local)
{
    memset(local, 0, sizeof *local);
    local->kind = to->kind;
    if (to->kind == ADDRESS_PATH) return;
    if (from) {
        local->ip = *from;
    } else {
        local->ip.family = to->ip.family;
        if (to->ip.family == ADDR_V4)
            memcpy(local->ip.ip, "\x7f\0\0\1", 4);
        else
            local->ip.ip[15] = 1;
    }
    if (local->ip.port == 0) local->ip.port = world->next_port++;
    if (world->next_port < 32768) world->next_port = 32768;
}

struct sim_sock *sim_tcp_connect(struct sim_world *world, const struct address *to,
                                 const struct addr *from)
{
    struct sim_sock *sock = sim_sock_make(world, SIM_STREAM);
    sock->state = SIM_CONNECTING;
    sock->remote = *to;
    choose_local(world, to, from, &sock->local);
    sim_world_later(world, sock->latency_ns, SIM_SYN, sock->number, 0);
    return sock;
}

static void refuse(struct sim_sock *client, int error)
{
    sim_world_later(client->world, client->latency_ns, SIM_REFUSED, client->number,
                    (uint32_t)-error);
}

/* No room in the backlog: the SYN is dropped and sent again, 1, 2, 4... seconds later. */
static void syn_again(struct sim_sock *client, uint32_t tries)
{
    if (tries >= SIM_SYN_TRIES) {
        refuse(client, SALLY_ETIMEDOUT);
        return;
    }
    sim_world_later(client->world, SIM_S << tries, SIM_SYN, client->number, tries + 1);
}

static void syn_arrives(struct sim_sock *client, uint32_t tries)
{
    struct sim_world *world = client->world;
    if (client->vanished || sim_is_hole(world, &client->remote)) return;
    struct sim_sock *listener = sim_listener_at(world, &client->remote);
    if (!listener) {
        refuse(client, SALLY_EREFUSED);
        return;
    }
    if (listener->backlog_len == listener->backlog_max) {
        syn_again(client, tries);
        return;
    }
    struct sim_sock *server = sim_sock_make(world, SIM_STREAM);
    server->state = SIM_ESTABLISHED_STATE;
    server->in_backlog = true;
    server->latency_ns = client->latency_ns;
    server->local = client->remote;
    server->remote = client->local;
    server->other = client;
    client->other = server;
    listener->backlog[listener->backlog_len++] = server;
    sim_world_later(world, client->latency_ns, SIM_ESTABLISHED, client->number, 0);
    sim_trace(world, "sock %llx: newcomer %llx", (unsigned long long)listener->number,
              (unsigned long long)server->number);
    tell(listener, SIM_READABLE);
}

static void established(struct sim_sock *client)
{
    if (client->state != SIM_CONNECTING || client->error || client->vanished) return;
    client->state = SIM_ESTABLISHED_STATE;
    schedule_segment(client, client->latency_ns); /* closed meanwhile: its FIN */
    tell(client, SIM_CONNECTED | SIM_WRITABLE | SIM_READABLE);
}

static void refused(struct sim_sock *client, int error)
{
    client->state = SIM_FAILED;
    client->error = error;
    tell(client, SIM_CONNECTED);
}

struct sim_sock *sim_tcp_accept(struct sim_sock *listener)
{
    if (!listener->backlog_len) return NULL;
    struct sim_sock *sock = listener->backlog[0];
    listener->backlog_len--;
    memmove(listener->backlog, listener->backlog + 1,
            listener->backlog_len * sizeof(struct sim_sock *));
    sock->in_backlog = false;
    return sock;
}

/* ---- Ends ---- */

/* Two sockets that nobody has are no more; one whose other end somebody has stays, to answer it. */
static void reap(struct sim_sock *sock)
{
    struct sim_sock *other = sock->other;
    if (other && !other->app_closed) return;
    if (other) sim_sock_free(other);
    sim_sock_free(sock);
}

static void send_reset(struct sim_sock *sock)
{
    struct sim_world *world = sock->world;
    sim_ring_clear(world, &sock->tx);
    if (!sock->error && !sock->vanished && sock->other)
        sim_world_later(world, sock->latency_ns, SIM_RESET, sock->other->number, 0);
    if (!sock->error) sock->error = SALLY_ERESET;
}

static void close_listener(struct sim_sock *listener)
{
    for (struct sim_sock *sock; (sock = sim_tcp_accept(listener));)
        sim_tcp_close(sock, PORT_CLOSE_RST);
    sim_sock_free(listener);
}

void sim_tcp_close(struct sim_sock *sock, enum port_close_mode mode)
{
    assert(!sock->app_closed);
    sock->app_closed = true;
    sock->notify = NULL;
    if (sock->kind == SIM_LISTENER) {
        close_listener(sock);
        return;
    }
    if (mode == PORT_CLOSE_RST || sock->rx.len) send_reset(sock);
    sim_ring_clear(sock->world, &sock->rx);
    if (!sock->error) sim_tcp_finish(sock);
    reap(sock);
}

static void reset_arrives(struct sim_sock *sock)
{
    struct sim_world *world = sock->world;
    if (sock->error || sock->vanished) return;
    sock->error = SALLY_ERESET;
    sim_ring_clear(world, &sock->tx);
    if (sim_chance(world, world->faults.reset_drops)) sim_ring_clear(world, &sock->rx);
    sim_trace(world, "sock %llx: reset", (unsigned long long)sock->number);
    tell(sock, SIM_READABLE | SIM_WRITABLE | SIM_CONNECTED);
}

void sim_tcp_break(struct sim_sock *sock)
{
    struct sim_world *world = sock->world;
    struct sim_sock *ends[2] = {sock, sock->other};
    sim_trace(world, "sock %llx: the network resets it", (unsigned long long)sock->number);
    for (unsigned i = 0; i < 2; i++) {
        if (!ends[i] || ends[i]->error) continue;
        ends[i]->error = SALLY_ERESET;
        sim_ring_clear(world, &ends[i]->tx);
        tell(ends[i], SIM_READABLE | SIM_WRITABLE | SIM_CONNECTED);
    }
}

void sim_tcp_vanish(struct sim_sock *sock)
{
    sock->vanished = true;
    if (sock->other) sock->other->vanished = true;
    sim_trace(sock->world, "sock %llx: the path is dead", (unsigned long long)sock->number);
}

void sim_tcp_fire(struct sim_world *world, const struct sim_event *event)
{
    struct sim_sock *sock = sim_sock_find(world, event->a);
    if (!sock) return;
    switch (event->kind) {
    case SIM_SYN: syn_arrives(sock, event->b); break;
    case SIM_ESTABLISHED: established(sock); break;
    case SIM_REFUSED: refused(sock, -(int)event->b); break;
    case SIM_SEGMENT: segment_arrives(sock); break;
    case SIM_RESET: reset_arrives(sock); break;
    default: sim_violation(world, "an event of kind %u", event->kind);
    }
}
