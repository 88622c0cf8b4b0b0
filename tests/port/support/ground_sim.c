/* Raw peers of the simulated network. The world moves when the port under test waits, so nothing is
 * moved here. */
#include "port/support/ground.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/sim.h"
#include "port/support/stage.h"

static int open_world(void **world)
{
    const char *text = getenv("SALLY_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
    struct sim_world *made = NULL;
    int err = sim_world_create(&made, seed, NULL);
    *world = made;
    return err;
}

static void shut_world(void *world) { sim_world_destroy(world); }

static struct sim_sock *find(void *world, intptr_t id)
{
    struct sim_sock *sock = sim_sock_find(world, (uint64_t)id);
    if (!sock) abort();
    return sock;
}

static int sim_ground_listen(void *world, const struct address *at, int backlog, intptr_t *listener,
                             struct address *bound)
{
    struct sim_sock *sock;
    /* as Linux does: one more than asked for */
    if (sim_listen(world, at, (uint32_t)backlog + 1, false, false, &sock) != 0) return -1;
    *listener = (intptr_t)sock->number;
    *bound = sock->local;
    return 0;
}

static bool sim_ground_accept(void *world, intptr_t listener, intptr_t *peer)
{
    struct sim_sock *sock = sim_tcp_accept(find(world, listener));
    if (!sock) return false;
    *peer = (intptr_t)sock->number;
    return true;
}

static int sim_ground_connect(void *world, const struct address *to, intptr_t *peer)
{
    struct sim_sock *sock = sim_tcp_connect(world, to, NULL);
    *peer = (intptr_t)sock->number;
    return 0;
}

static int sim_ground_connected(void *world, intptr_t peer)
{
    struct sim_sock *sock = find(world, peer);
    if (sock->error) return -1;
    return sock->state == SIM_ESTABLISHED_STATE;
}

static int64_t sim_ground_write(void *world, intptr_t peer, const void *data, size_t len)
{
    struct sim_sock *sock = find(world, peer);
    if (sock->error) return PEER_RESET;
    return sim_tcp_write(sock, data, (uint32_t)len);
}

static int64_t sim_ground_read(void *world, intptr_t peer, void *data, size_t len)
{
    struct sim_sock *sock = find(world, peer);
    uint32_t n = sim_tcp_read(sock, data, (uint32_t)len);
    if (n) return n;
    if (sock->error) return PEER_RESET;
    return sock->fin_received ? PEER_END : PEER_WAIT;
}

static void sim_ground_finish(void *world, intptr_t peer) { sim_tcp_finish(find(world, peer)); }

static void sim_ground_close(void *world, intptr_t peer, enum port_close_mode mode)
{
    sim_tcp_close(find(world, peer), mode);
}

static void sim_ground_close_listener(void *world, intptr_t listener)
{
    sim_tcp_close(find(world, listener), PORT_CLOSE_FIN);
}

static void sim_ground_local(void *world, intptr_t peer, struct addr *addr)
{
    sim_address_of(&find(world, peer)->local, addr);
}

static void sim_ground_exhaust(void *world, bool on)
{
    struct sim_world *of = world;
    of->descriptors_all_taken = on;
    if (!on) sim_descriptors_back(of);
}

static unsigned sim_ground_descriptors(void *world)
{
    return ((struct sim_world *)world)->descriptors_used;
}

struct pattern_file {
    uint32_t tag;
    uint64_t at;
    uint64_t offset;
};

static void file_read(void *user, uint64_t offset, void *to, uint32_t len)
{
    const struct pattern_file *file = user;
    uint64_t hole = offset < file->offset ? file->offset - offset : 0;
    if (hole > len) hole = len;
    memset(to, 0, hole);
    pattern_fill(file->tag, file->at + (offset + hole - file->offset), (char *)to + hole,
                 (size_t)(len - hole));
}

static os_file sim_ground_file(void *world, uint32_t tag, uint64_t at, uint64_t offset,
                               uint64_t bytes)
{
    struct pattern_file *file = malloc(sizeof *file);
    if (!file) abort();
    *file = (struct pattern_file){tag, at, offset};
    return sim_file_make(world, offset + bytes, file_read, file);
}

static void sim_ground_file_cut(void *world, os_file file, uint64_t bytes)
{
    sim_file_of(world, file)->bytes = bytes;
}

static void sim_ground_file_close(void *world, os_file file)
{
    free(sim_file_of(world, file)->user);
    sim_file_close(world, file);
}

static os_file sim_ground_file_unreadable(void *world)
{
    os_file file = sim_ground_file(world, 1, 0, 0, 4096);
    sim_file_of(world, file)->fails_at = 0;
    return file;
}

const struct ground ground_sim = {
    .name = "sim",
    .real = false,
    .open = open_world,
    .shut = shut_world,
    .listen = sim_ground_listen,
    .accept = sim_ground_accept,
    .connect = sim_ground_connect,
    .connected = sim_ground_connected,
    .write = sim_ground_write,
    .read = sim_ground_read,
    .finish = sim_ground_finish,
    .close = sim_ground_close,
    .close_listener = sim_ground_close_listener,
    .local = sim_ground_local,
    .exhaust = sim_ground_exhaust,
    .descriptors = sim_ground_descriptors,
    .file = sim_ground_file,
    .file_cut = sim_ground_file_cut,
    .file_close = sim_ground_file_close,
    .file_unreadable = sim_ground_file_unreadable,
};
