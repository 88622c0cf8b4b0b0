/* The world's sockets: a table in which a number is never used again, byte rings, and who listens
 * where. One thread; the world owns the sockets. */
#include <assert.h>
#include <string.h>

#include "port/sim.h"

/* ---- Table ---- */

static uint32_t number_index(uint64_t number)
{
    return (uint32_t)(number & ((1u << SIM_INDEX_BITS) - 1));
}

static void grow_table(struct sim_world *world)
{
    uint32_t old = world->socks_room;
    uint32_t room = old ? old * 2 : 32;
    if (room > 1u << SIM_INDEX_BITS) sim_violation(world, "more than a million sockets");
    world->socks =
        sim_grow(world, world->socks, old * sizeof *world->socks, room * sizeof *world->socks);
    world->sock_generations =
        sim_grow(world, world->sock_generations, old * sizeof(uint32_t), room * sizeof(uint32_t));
    world->socks_room = room;
}

struct sim_sock *sim_sock_make(struct sim_world *world, enum sim_sock_kind kind)
{
    uint32_t index = 0;
    while (index < world->socks_room && world->socks[index]) index++;
    if (index == world->socks_room) grow_table(world);
    struct sim_sock *sock = sim_alloc(world, sizeof *sock);
    sock->world = world;
    sock->kind = (uint8_t)kind;
    sock->number = (uint64_t)++world->sock_generations[index] << SIM_INDEX_BITS | index;
    sock->latency_ns = sim_skewed(world, world->latency_max_ns);
    sock->tx.size = (uint32_t)(16 + sim_skewed(world, 32768));
    sock->rx.size = (uint32_t)(16 + sim_skewed(world, 32768));
    world->socks[index] = sock;
    world->socks_open++;
    return sock;
}

struct sim_sock *sim_sock_find(struct sim_world *world, uint64_t number)
{
    uint32_t index = number_index(number);
    if (index >= world->socks_room) return NULL;
    struct sim_sock *sock = world->socks[index];
    return sock && sock->number == number ? sock : NULL;
}

void sim_sock_free(struct sim_sock *sock)
{
    struct sim_world *world = sock->world;
    assert(world->socks[number_index(sock->number)] == sock);
    if (sock->other) sock->other->other = NULL;
    sim_ring_clear(world, &sock->tx);
    sim_ring_clear(world, &sock->rx);
    sim_free(world, sock->backlog, sock->backlog_max * sizeof(struct sim_sock *));
    world->socks[number_index(sock->number)] = NULL;
    world->socks_open--;
    sim_free(world, sock, sizeof *sock);
}

/* ---- Rings ---- */

uint32_t sim_ring_room(const struct sim_ring *ring) { return ring->size - ring->len; }

uint32_t sim_ring_put(struct sim_world *world, struct sim_ring *ring, const void *data,
                      uint32_t len)
{
    if (len > sim_ring_room(ring)) len = sim_ring_room(ring);
    if (!len) return 0;
    if (!ring->bytes) ring->bytes = sim_alloc(world, ring->size);
    uint32_t at = (ring->head + ring->len) % ring->size;
    uint32_t first = ring->size - at < len ? ring->size - at : len;
    memcpy(ring->bytes + at, data, first);
    memcpy(ring->bytes, (const unsigned char *)data + first, len - first);
    ring->len += len;
    return len;
}

uint32_t sim_ring_take(struct sim_ring *ring, void *data, uint32_t len)
{
    if (len > ring->len) len = ring->len;
    if (!len) return 0;
    uint32_t first = ring->size - ring->head < len ? ring->size - ring->head : len;
    memcpy(data, ring->bytes + ring->head, first);
    memcpy((unsigned char *)data + first, ring->bytes, len - first);
    ring->head = (ring->head + len) % ring->size;
    ring->len -= len;
    return len;
}

void sim_ring_clear(struct sim_world *world, struct sim_ring *ring)
{
    sim_free(world, ring->bytes, ring->size);
    ring->bytes = NULL;
    ring->head = ring->len = 0;
}

/* ---- Addresses ---- */

bool sim_address_equal(const struct address *a, const struct address *b)
{
    if (a->kind != b->kind) return false;
    if (a->kind == ADDRESS_PATH) return strcmp(a->host, b->host) == 0;
    if (a->ip.port != b->ip.port) return false;
    return a->kind == ADDRESS_ANY || addr_equal(&a->ip, &b->ip);
}

void sim_address_of(const struct address *address, struct addr *addr)
{
    memset(addr, 0, sizeof *addr);
    switch (address->kind) {
    case ADDRESS_IP: *addr = address->ip; break;
    case ADDRESS_PATH: addr->family = ADDR_UNIX; break;
    case ADDRESS_ANY:
        addr->family = ADDR_V6;
        addr->port = address->ip.port;
        break;
    case ADDRESS_NAME:
    case ADDRESS_FD: break;
    }
}

static bool all_zero(const struct addr *ip)
{
    static const uint8_t zero[16];
    return memcmp(ip->ip, zero, sizeof zero) == 0;
}

/* Which of IPv4 (1) and IPv6 (2) a listening address takes when it is a wildcard; 0: it is none. */
static unsigned wildcard_families(const struct address *address, bool v6_only)
{
    if (address->kind == ADDRESS_ANY) return v6_only ? 2 : 3;
    if (address->kind != ADDRESS_IP || !all_zero(&address->ip)) return 0;
    if (address->ip.family == ADDR_V4) return 1;
    return v6_only ? 2 : 3;
}

static unsigned families(const struct address *address, bool v6_only)
{
    unsigned wild = wildcard_families(address, v6_only);
    return wild ? wild : address->ip.family == ADDR_V4 ? 1 : 2;
}

static bool listens(const struct sim_sock *sock)
{
    return sock && sock->kind == SIM_LISTENER && !sock->app_closed;
}

static bool clash(const struct sim_sock *sock, const struct address *address, bool v6_only)
{
    const struct address *bound = &sock->local;
    if (bound->kind == ADDRESS_PATH || address->kind == ADDRESS_PATH)
        return sim_address_equal(bound, address);
    if (bound->ip.port != address->ip.port) return false;
    if (!(families(bound, sock->v6_only) & families(address, v6_only))) return false;
    if (wildcard_families(bound, sock->v6_only) || wildcard_families(address, v6_only)) return true;
    return sim_address_equal(bound, address);
}

static bool in_use(const struct sim_world *world, const struct address *address, bool v6_only,
                   bool share_port)
{
    for (uint32_t i = 0; i < world->socks_room; i++) {
        const struct sim_sock *sock = world->socks[i];
        if (!listens(sock) || !clash(sock, address, v6_only)) continue;
        if (!share_port || !sock->share_port || address->kind == ADDRESS_PATH) return true;
    }
    return false;
}

static bool takes(const struct sim_sock *sock, const struct address *to)
{
    const struct address *bound = &sock->local;
    if (bound->kind == ADDRESS_PATH || to->kind == ADDRESS_PATH)
        return sim_address_equal(bound, to);
    if (bound->ip.port != to->ip.port) return false;
    if (wildcard_families(bound, sock->v6_only) & families(to, false)) return true;
    return sim_address_equal(bound, to);
}

/* ---- Listeners ---- */

int sim_listen(struct sim_world *world, const struct address *address, uint32_t backlog,
               bool v6_only, bool share_port, struct sim_sock **out)
{
    if (address->kind == ADDRESS_NAME || address->kind == ADDRESS_FD) return SALLY_EINVAL;
    struct address at = *address;
    if (at.kind != ADDRESS_PATH && at.ip.port == 0) {
        do {
            at.ip.port = world->next_port++;
            if (world->next_port < 32768) world->next_port = 32768;
        } while (in_use(world, &at, v6_only, false));
    }
    if (in_use(world, &at, v6_only, share_port)) return SALLY_EADDRINUSE;
    struct sim_sock *sock = sim_sock_make(world, SIM_LISTENER);
    sock->local = at;
    sock->v6_only = v6_only;
    sock->share_port = share_port;
    sock->backlog_max = backlog;
    sock->backlog = sim_alloc(world, backlog * sizeof *sock->backlog);
    *out = sock;
    return 0;
}

struct sim_sock *sim_listener_at(struct sim_world *world, const struct address *to)
{
    struct sim_sock *found = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->socks_room; i++) {
        struct sim_sock *sock = world->socks[i];
        if (listens(sock) && takes(sock, to) && sim_below(world, ++count) == 0) found = sock;
    }
    return found;
}

bool sim_is_hole(const struct sim_world *world, const struct address *to)
{
    for (uint32_t i = 0; i < world->hole_count; i++)
        if (sim_address_equal(&world->holes[i], to)) return true;
    return false;
}

int sim_hole_add(struct sim_world *world, const struct address *at)
{
    if (sim_is_hole(world, at)) return 0;
    world->holes = sim_grow(world, world->holes, world->hole_count * sizeof *at,
                            (world->hole_count + 1) * sizeof *at);
    world->holes[world->hole_count++] = *at;
    return 0;
}
