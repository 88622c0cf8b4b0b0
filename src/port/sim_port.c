/* port_sim_ops: a simulated port's life, waiting and taking, receive buffers, and handles. One
 * thread, except the wake-up.
 *
 * It keeps the contract of port.h and uses all the freedom in it: events of different sockets come
 * in any order, those of one direction in theirs, PORT_CLOSE after all of its socket's. It also
 * holds its caller to the contract: what a kernel would answer with memory corruption is a
 * violation here. */
#include <assert.h>
#include <string.h>

#include "port/sim.h"

enum { SIM_BUFS = 256, SIM_BUF_BYTES = 16384, SIM_BACKLOG = 128, SIM_PICK_MAX = 64 };

/* ---- Links ---- */

static void link_notify(void *owner, unsigned notices)
{
    struct sim_link *link = owner;
    if (notices & SIM_CONNECTED) sim_ops_poke(link, PORT_CONNECT);
    if (notices & SIM_READABLE) {
        sim_ops_poke(link, PORT_ACCEPT);
        sim_ops_poke(link, PORT_RECV);
    }
    if (notices & SIM_WRITABLE) sim_ops_poke(link, PORT_SEND);
}

static uint32_t free_link_index(struct sim_world *world)
{
    uint32_t index = 0;
    while (index < world->links_room && world->links[index]) index++;
    if (index < world->links_room) return index;
    uint32_t old = world->links_room;
    uint32_t room = old ? old * 2 : 32;
    world->links =
        sim_grow(world, world->links, old * sizeof *world->links, room * sizeof *world->links);
    world->link_generations =
        sim_grow(world, world->link_generations, old * sizeof(uint32_t), room * sizeof(uint32_t));
    world->links_room = room;
    return index;
}

static struct sim_link *link_make(struct sim_port *port, struct port_sock *sock)
{
    struct sim_world *world = port->world;
    uint32_t index = free_link_index(world);
    struct sim_link *link = sim_alloc(world, sizeof *link);
    link->number = (uint64_t)++world->link_generations[index] << SIM_INDEX_BITS | index;
    link->port = port;
    link->sock = sock;
    link->slot_index = sock->slot.index;
    link->slot_generation = slot_generation(&sock->slot);
    world->links[index] = link;
    port->links++;
    sock->own[0] = link->number;
    sim_link_check(link);
    return link;
}

struct sim_link *sim_link_find(struct sim_world *world, uint64_t number)
{
    uint32_t index = (uint32_t)(number & ((1u << SIM_INDEX_BITS) - 1));
    if (index >= world->links_room) return NULL;
    struct sim_link *link = world->links[index];
    return link && link->number == number ? link : NULL;
}

struct sim_link *sim_link_of(struct sim_port *port, struct port_sock *sock)
{
    struct sim_world *world = port->world;
    if (!port->owned) sim_violation(world, "port %u is used before port_own", port->number);
    if (sock->own[0] == 0) return link_make(port, sock);
    struct sim_link *link = sim_link_find(world, sock->own[0]);
    if (sock->own[0] == SIM_LINK_GONE || !link || link->sock != sock || link->port != port)
        sim_violation(world, "a socket is used after its close was told, or on another port");
    if (link->closing) sim_violation(world, "slot %u is used after port_close", link->slot_index);
    sim_link_check(link);
    return link;
}

void sim_link_check(struct sim_link *link)
{
    if (slots_find(link->port->port.socks, link->slot_index, link->slot_generation) != link->sock)
        sim_violation(link->port->world, "slot %u was given back before PORT_CLOSE was taken",
                      link->slot_index);
}

void sim_link_free(struct sim_link *link)
{
    struct sim_world *world = link->port->world;
    link->port->links--;
    world->links[link->number & ((1u << SIM_INDEX_BITS) - 1)] = NULL;
    sim_free(world, link->spans, link->span_room * sizeof *link->spans);
    sim_free(world, link, sizeof *link);
}

void sim_link_bind(struct sim_link *link, struct sim_sock *s)
{
    s->attached = true;
    s->owner = link;
    s->notify = link_notify;
    link->s = s;
    link->sock->handle = (port_handle)s->number;
}

/* ---- Receive buffers ---- */

static bool no_buffer(struct sim_link *link)
{
    struct sim_port *port = link->port;
    if (sim_chance(port->world, port->world->faults.buf_none)) {
        if (!port->bufs_fault)
            sim_world_later(port->world, sim_skewed(port->world, SIM_S / 2), SIM_BUFS_BACK,
                            port->number, 0);
        port->bufs_fault = true;
        return true;
    }
    return port->bufs_used == port->port.bufs_total;
}

/* A buffer has exactly the size of what is in it, and is freed at its release, so that a sanitizer
 * sees every byte read outside of it or after it. */
bool sim_port_lend(struct sim_link *link, struct sim_sock *s, struct port_event *event)
{
    struct sim_port *port = link->port;
    struct sim_world *world = port->world;
    if (no_buffer(link)) return false;
    uint32_t bytes = s->rx.len < port->buf_bytes ? s->rx.len : port->buf_bytes;
    if (sim_chance(world, world->faults.recv_short)) bytes = 1 + (uint32_t)sim_below(world, bytes);
    uint32_t number = port->bufs_next;
    while (port->bufs[number].data) number = (number + 1) % port->port.bufs_total;
    port->bufs_next = (number + 1) % port->port.bufs_total;
    port->bufs_used++;
    struct sim_lent *lent = &port->bufs[number];
    lent->data = sim_alloc(world, bytes);
    lent->bytes = sim_tcp_read(s, lent->data, bytes);
    lent->sum = sim_checksum(0, lent->data, bytes);
    event->bytes = bytes;
    event->buf = number;
    event->data = lent->data;
    return true;
}

bool sim_port_receive(struct sim_link *link)
{
    struct port_event event = {.op = PORT_RECV, .more = true};
    if (!sim_port_lend(link, link->s, &event)) {
        if (!link->ops[PORT_RECV].starved) counter_add(&link->port->port.counters.buf_shortages, 1);
        link->ops[PORT_RECV].starved = true;
        return false;
    }
    sim_port_push(link, &event);
    return true;
}

void sim_port_feed_starved(struct sim_port *port)
{
    struct sim_world *world = port->world;
    for (uint32_t i = 0; i < world->links_room; i++) {
        struct sim_link *link = world->links[i];
        if (!link || link->port != port || !link->ops[PORT_RECV].starved) continue;
        link->ops[PORT_RECV].starved = false;
        sim_ops_poke(link, PORT_RECV);
    }
}

static void sim_buf_release(struct port *base, uint32_t number, const void *data)
{
    struct sim_port *port = sim_port_of(base);
    struct sim_world *world = port->world;
    if (number >= base->bufs_total) sim_violation(world, "buffer %u does not exist", number);
    struct sim_lent *lent = &port->bufs[number];
    if (!lent->data || !lent->taken || lent->data != data)
        sim_violation(world, "buffer %u was given back twice, or was never lent", number);
    if (sim_checksum(0, lent->data, lent->bytes) != lent->sum)
        sim_violation(world, "somebody wrote into lent buffer %u", number);
    memset(lent->data, 0xdb, lent->bytes);
    sim_free(world, lent->data, lent->bytes);
    memset(lent, 0, sizeof *lent);
    port->bufs_used--;
    base->bufs_lent--;
    sim_port_feed_starved(port);
}

/* ---- Events ---- */

void sim_port_push(struct sim_link *link, const struct port_event *event)
{
    struct sim_port *port = link->port;
    if (port->ready_len == port->ready_room) {
        uint32_t room = port->ready_room ? port->ready_room * 2 : 32;
        port->ready = sim_grow(port->world, port->ready, port->ready_room * sizeof *port->ready,
                               room * sizeof *port->ready);
        port->ready_room = room;
    }
    struct sim_ready *ready = &port->ready[port->ready_len++];
    ready->event = *event;
    ready->event.sock = link->sock;
    ready->link = link->number;
}

bool sim_port_runnable(struct sim_port *port)
{
    return port->ready_len || atomic_load_explicit(&port->woken, memory_order_acquire);
}

/* Any of those that wait, but none before what has to come first on its socket. */
static uint32_t pick_ready(struct sim_port *port)
{
    uint32_t among = port->ready_len < SIM_PICK_MAX ? port->ready_len : SIM_PICK_MAX;
    uint32_t picked = (uint32_t)sim_below(port->world, among);
    const struct sim_ready *wanted = &port->ready[picked];
    for (uint32_t i = 0; i < picked; i++) {
        const struct sim_ready *before = &port->ready[i];
        if (before->link != wanted->link) continue;
        if (before->event.op == wanted->event.op || wanted->event.op == PORT_CLOSE) return i;
    }
    return picked;
}

static void mix_event(struct sim_port *port, const struct sim_link *link,
                      const struct port_event *event)
{
    struct sim_world *world = port->world;
    sim_mix(world, world->now_ns);
    sim_mix(world, (uint64_t)port->number << 40 ^ (uint64_t)event->op << 36 ^
                       (uint64_t)event->more << 35 ^ link->slot_index);
    sim_mix(world, (uint64_t)(uint32_t)event->error << 32 ^ event->bytes);
    if (event->data) sim_mix(world, port->bufs[event->buf].sum);
    if (event->op == PORT_ACCEPT && !event->error) sim_mix(world, (uint64_t)event->accepted);
    sim_trace(world, "port %u slot %u: %s %s%s, %u bytes", port->number, link->slot_index,
              (const char *const[]){"accept", "connect", "recv", "send", "close"}[event->op],
              event->error ? sally_err_name(event->error) : "ok", event->more ? ", more" : "",
              event->bytes);
}

static void hand_out(struct sim_port *port, struct port_event *event)
{
    uint32_t picked = pick_ready(port);
    struct sim_ready ready = port->ready[picked];
    port->ready_len--;
    memmove(&port->ready[picked], &port->ready[picked + 1],
            (port->ready_len - picked) * sizeof *port->ready);
    struct sim_link *link = sim_link_find(port->world, ready.link);
    assert(link);
    sim_link_check(link);
    *event = ready.event;
    mix_event(port, link, event);
    if (event->data) {
        port->bufs[event->buf].taken = true;
        port->port.bufs_lent++;
    }
    if (!event->more) sim_ops_taken(link, event);
}

static unsigned sim_take(struct port *base, struct port_event *events, unsigned max)
{
    struct sim_port *port = sim_port_of(base);
    if (max > port->ready_len) max = port->ready_len;
    if (max > 1 && sim_below(port->world, 4) == 0) max = 1 + (unsigned)sim_below(port->world, max);
    for (unsigned i = 0; i < max; i++) hand_out(port, &events[i]);
    return max;
}

/* ---- Waiting ---- */

/* Nobody schedules the world (a test drives the port itself, or an engine is being destroyed): so
 * waiting is what moves it. Without a time limit it must find something. */
static void wait_by_moving(struct sim_port *port, uint32_t timeout_ms)
{
    struct sim_world *world = port->world;
    bool forever = timeout_ms == PORT_FOREVER;
    uint64_t until_ns = forever ? SIM_NEVER : world->now_ns + timeout_ms * SIM_MS;
    if (timeout_ms == 0) { /* polled: the world goes on by one thing */
        if (!sim_port_runnable(port) && !sim_world_fire(world))
            sim_world_advance(world, world->now_ns + SIM_MS);
        return;
    }
    while (!sim_port_runnable(port)) {
        uint64_t next_ns = sim_world_next_ns(world);
        if (next_ns == SIM_NEVER && forever)
            sim_violation(world, "port %u waits for ever: nothing is on its way", port->number);
        if (next_ns == SIM_NEVER || next_ns > until_ns) {
            sim_world_advance(world, until_ns);
            return;
        }
        sim_world_fire(world);
    }
}

static int sim_wait(struct port *base, uint32_t timeout_ms)
{
    struct sim_port *port = sim_port_of(base);
    if (!port->owned) sim_violation(port->world, "port %u waits before port_own", port->number);
    if (!port->world->scheduled) wait_by_moving(port, timeout_ms);
    atomic_store_explicit(&port->woken, false, memory_order_release);
    return 0;
}

static void sim_wake(struct port *base)
{
    atomic_store_explicit(&sim_port_of(base)->woken, true, memory_order_release);
}

static void sim_flush(struct port *base) { (void)base; }

static int64_t sim_fd(struct port *base)
{
    (void)base;
    return -1;
}

static int sim_own(struct port *base)
{
    struct sim_port *port = sim_port_of(base);
    if (port->owned) sim_violation(port->world, "port %u is owned twice", port->number);
    port->owned = true;
    return 0;
}

/* ---- Handles ---- */

static int sim_listen_handle(struct port *base, const struct address *address,
                             const struct port_listen_options *options, port_handle *handle,
                             int *sys_error)
{
    struct sim_world *world = sim_port_of(base)->world;
    if (sys_error) *sys_error = 0;
    if (address->kind == ADDRESS_FD) {
        struct sim_sock *given = sim_sock_find(world, (uint64_t)address->fd);
        if (!given || given->kind != SIM_LISTENER || given->attached) return SALLY_EINVAL;
        *handle = (port_handle)given->number;
        return 0;
    }
    if (!sim_descriptor_take(world)) return SALLY_EEXHAUSTED;
    uint32_t backlog = options && options->backlog > 0 ? (uint32_t)options->backlog : SIM_BACKLOG;
    struct sim_sock *sock = NULL;
    int err = sim_listen(world, address, backlog, options && options->v6_only,
                         options && options->share_port, &sock);
    if (err) {
        sim_descriptor_give(world);
        return err;
    }
    sock->descriptor = true;
    *handle = (port_handle)sock->number;
    return 0;
}

static struct sim_sock *handle_sock(struct port *base, port_handle handle)
{
    struct sim_world *world = sim_port_of(base)->world;
    struct sim_sock *sock = sim_sock_find(world, (uint64_t)handle);
    if (!sock || sock->app_closed)
        sim_violation(world, "handle %llx is used after it was closed", (unsigned long long)handle);
    return sock;
}

static int sim_local(struct port *base, port_handle handle, struct addr *addr)
{
    sim_address_of(&handle_sock(base, handle)->local, addr);
    return 0;
}

static int sim_peer(struct port *base, port_handle handle, struct addr *addr)
{
    const struct sim_sock *sock = handle_sock(base, handle);
    if (sock->kind == SIM_LISTENER || sock->error || !sock->other) return SALLY_ENOCONN;
    sim_address_of(&sock->remote, addr);
    return 0;
}

static void sim_refuse(struct port *base, port_handle handle, enum port_close_mode mode)
{
    struct sim_sock *sock = handle_sock(base, handle);
    if (sock->attached)
        sim_violation(sock->world, "handle %llx is refused, and a socket has it",
                      (unsigned long long)handle);
    if (sock->descriptor) sim_descriptor_give(sock->world);
    sim_tcp_close(sock, mode);
}

static bool sim_pending(struct port *base, port_handle handle)
{
    return handle_sock(base, handle)->backlog_len > 0;
}

static int sim_probe(struct port *base, int *sys_error)
{
    if (sys_error) *sys_error = 0;
    return sim_descriptor_left(sim_port_of(base)->world) ? 0 : SALLY_EEXHAUSTED;
}

static void resize_ring(struct sim_ring *ring, uint32_t bytes)
{
    if (bytes && !ring->bytes && bytes < ring->size) ring->size = bytes;
}

static void sim_attach(struct port *base, struct port_sock *sock, port_handle handle,
                       const struct port_sock_options *options)
{
    struct sim_link *link = sim_link_of(sim_port_of(base), sock);
    struct sim_sock *s = handle_sock(base, handle);
    if (s->attached || link->s)
        sim_violation(s->world, "slot %u: a handle is attached twice", link->slot_index);
    sim_link_bind(link, s);
    if (s->kind != SIM_LISTENER) sock->hears = 0;
    if (sock->hears) sim_hold_begin(link, options->accept_held_max ? options->accept_held_max : 1);
    if (!options || s->kind == SIM_LISTENER) return;
    resize_ring(&s->tx, options->send_buf_bytes);
    resize_ring(&s->rx, options->recv_buf_bytes);
}

/* ---- Life ---- */

static int sim_create(struct port **out, const struct port_config *config)
{
    struct sim_world *world = config->world;
    if (!world || world->port_count == SIM_PORTS_MAX) return SALLY_ENOPORT;
    struct sim_port *port = mem_zalloc(config->mem, sizeof *port);
    if (!port) return SALLY_ENOMEM;
    port->port.ops = &port_sim_ops;
    port->port.mem = config->mem;
    port->port.socks = config->socks;
    port->port.abilities = PORT_CAN_SEND_FILE | (world->send_now ? PORT_CAN_SEND_NOW : 0);
    port->port.bufs_total = config->bufs_max ? config->bufs_max : SIM_BUFS;
    port->world = world;
    port->buf_bytes =
        config->buf_bytes ? config->buf_bytes : (uint32_t)(64 + sim_skewed(world, SIM_BUF_BYTES));
    port->bufs = sim_alloc(world, port->port.bufs_total * sizeof *port->bufs);
    port->number = world->port_count++;
    world->ports[port->number] = port;
    atomic_init(&port->woken, true); /* its first turn needs no reason */
    *out = &port->port;
    return 0;
}

static void sim_destroy(struct port *base)
{
    struct sim_port *port = sim_port_of(base);
    struct sim_world *world = port->world;
    for (uint32_t i = 0; i < world->links_room; i++)
        if (world->links[i] && world->links[i]->port == port)
            sim_violation(world, "port %u is destroyed, and PORT_CLOSE of slot %u was not taken",
                          port->number, world->links[i]->slot_index);
    if (port->bufs_used)
        sim_violation(world, "port %u is destroyed with %u buffers lent", port->number,
                      port->bufs_used);
    world->ports[port->number] = NULL;
    sim_free(world, port->bufs, base->bufs_total * sizeof *port->bufs);
    sim_free(world, port->ready, port->ready_room * sizeof *port->ready);
    mem_free(base->mem, port, sizeof *port);
}

const struct port_ops port_sim_ops = {
    .name = "sim",
    .create = sim_create,
    .destroy = sim_destroy,
    .own = sim_own,
    .wait = sim_wait,
    .take = sim_take,
    .flush = sim_flush,
    .wake = sim_wake,
    .fd = sim_fd,
    .listen = sim_listen_handle,
    .local = sim_local,
    .peer = sim_peer,
    .refuse = sim_refuse,
    .probe = sim_probe,
    .attach = sim_attach,
    .accept = sim_op_accept,
    .accept_stop = sim_op_accept_stop,
    .connect = sim_op_connect,
    .recv = sim_op_recv,
    .recv_stop = sim_op_recv_stop,
    .send_now = sim_op_send_now,
    .send = sim_op_send,
    .send_file = sim_op_send_file,
    .shutdown = sim_op_shutdown,
    .close = sim_op_close,
    .buf_release = sim_buf_release,
    .pending = sim_pending,
};
