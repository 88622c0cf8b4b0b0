/* The machine's own ports, and raw peers by its sockets; see world.h. The clock is the scenario's:
 * an engine reads it through its host. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/support/raw.h"
#include "trace/support/world.h"

enum { NAP_US = 100, CLOCK_START_MS = 1000, HOLE_BACKLOG = 1 };

struct wire {
    int fd; /* -1: none, or none any more */
    bool refused;
    bool listens;
};

/* ---- The engine's machine ---- */

static uint64_t now_ns(void *ctx) { return ((struct world *)ctx)->now_ns; }

static int resolve(void *ctx, const char *name, uint16_t port, struct addr *addrs, unsigned max,
                   unsigned *count)
{
    (void)ctx, (void)name, (void)port, (void)addrs, (void)max;
    *count = 0;
    return SALLY_ENONAME;
}

static int machine_engine(struct world *world, const sally_engine_options *given,
                          sally_engine **engine)
{
    sally_engine_options options = *given;
    options.shards = world->shards;
    options.port_features_off |= world->column->features_off;
    world->host = (struct host){.ctx = world,
                                .ops = world->column->ops,
                                .world = world->system,
                                .now_ns = now_ns,
                                .resolve = resolve,
                                .threads = false,
                                .reason = "asked for by a scenario"};
    return engine_create_on(engine, &options, &world->host);
}

static void machine_turn(struct world *world)
{
    if (!world->engine) return;
    for (unsigned i = 0; i < engine_shards(world->engine); i++) (void)engine_step(world->engine, i);
}

static void machine_pass(struct world *world, uint32_t ms)
{
    world->now_ns += (uint64_t)ms * 1000000;
    machine_turn(world);
    machine_turn(world);
}

/* Loopback answers at once, nearly always; what doesn't gets a little time. */
static void machine_nap(void) { usleep(NAP_US); }

static void machine_destroy(struct world *world)
{
    for (unsigned i = 0; i < world->holes; i++) raw_close(world->hole[i]);
    for (unsigned i = 0; i < world->fillers; i++) raw_close(world->filler[i]);
    if (world->system) world->column->system_free(world->system);
}

/* ---- Wires ---- */

static struct wire *wire_make(int fd, bool listens)
{
    struct wire *wire = calloc(1, sizeof *wire);
    if (!wire) abort();
    *wire = (struct wire){.fd = fd, .refused = fd < 0, .listens = listens};
    return wire;
}

static struct wire *machine_dial(struct world *world, const char *address, int recv_buf_bytes)
{
    (void)world;
    bool path = strncmp(address, "unix:", 5) == 0;
    return wire_make(path ? wire_unix_connect(address + 5) : raw_connect(address, recv_buf_bytes),
                     false);
}

static struct wire *machine_listen(struct world *world, char *address, size_t size)
{
    (void)world;
    int fd = raw_listen(address, size, 16);
    return fd < 0 ? NULL : wire_make(fd, true);
}

static bool readable(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, 0) == 1;
}

static struct wire *machine_accept(struct wire *listener)
{
    if (!readable(listener->fd)) return NULL;
    int fd = raw_accept(listener->fd);
    return fd < 0 ? NULL : wire_make(fd, false);
}

static void machine_nowhere(struct world *world, char *address, size_t size)
{
    (void)world;
    int fd = raw_listen(address, size, 1);
    raw_close(fd);
}

/* A full backlog drops the handshakes of who comes next (listen(2), tcp(7)). */
static void machine_hole(struct world *world, char *address, size_t size)
{
    if (world->holes == WORLD_HOLES_MAX) abort();
    int fd = world->hole[world->holes++] = raw_listen(address, size, HOLE_BACKLOG);
    for (int i = 0; i <= HOLE_BACKLOG && fd >= 0; i++)
        world->filler[world->fillers++] = raw_connect(address, 0);
}

static enum wire_news machine_look(struct wire *wire, void *buf, size_t size, size_t *len)
{
    if (wire->refused) {
        wire->refused = false;
        return WIRE_REFUSED;
    }
    if (wire->fd < 0 || wire->listens || !readable(wire->fd)) return WIRE_NOTHING;
    long got = raw_recv_now(wire->fd, buf, size);
    *len = got > 0 ? (size_t)got : 0;
    if (got > 0) return WIRE_BYTES;
    if (got == 0) return WIRE_FIN;
    return errno == EAGAIN || errno == EINTR ? WIRE_NOTHING : WIRE_RST;
}

static bool machine_ready(struct wire *wire) { return wire->fd >= 0; }

static size_t machine_send(struct wire *wire, const void *data, size_t len)
{
    return wire->fd < 0 ? 0 : raw_send_some(wire->fd, data, len, 0);
}

/* Who doesn't look doesn't read. */
static void machine_stop(struct wire *wire, bool stopped) { (void)wire, (void)stopped; }

static void machine_finish(struct wire *wire)
{
    if (wire->fd >= 0) raw_finish(wire->fd);
}

static void machine_reset(struct wire *wire)
{
    if (wire->fd >= 0) raw_reset(wire->fd);
    wire->fd = -1;
}

static void machine_close(struct wire *wire)
{
    if (wire->fd >= 0) raw_close(wire->fd);
    wire->fd = -1;
}

static void machine_address(struct wire *wire, char *buf, size_t size)
{
    snprintf(buf, size, "-");
    if (wire->fd >= 0) raw_address(wire->fd, buf, size);
}

static void machine_free(struct wire *wire)
{
    machine_close(wire);
    free(wire);
}

static const struct world_ops machine_ops = {
    .engine = machine_engine,
    .turn = machine_turn,
    .pass = machine_pass,
    .nap = machine_nap,
    .destroy = machine_destroy,
    .dial = machine_dial,
    .listen = machine_listen,
    .accept = machine_accept,
    .nowhere = machine_nowhere,
    .hole = machine_hole,
    .look = machine_look,
    .ready = machine_ready,
    .send = machine_send,
    .stop = machine_stop,
    .finish = machine_finish,
    .reset = machine_reset,
    .close = machine_close,
    .address = machine_address,
    .free = machine_free,
};

/* ---- Making ---- */

/* As the engine does before it takes one. */
static int try_port(const struct column *column, void *system)
{
    struct mem mem;
    struct slots slots;
    mem_init(&mem);
    int err = slots_init(&slots, &mem, sizeof(struct port_sock), 16, UINT32_MAX);
    if (err) return err;
    struct port_config config = {
        .mem = &mem, .socks = &slots, .features_off = column->features_off, .world = system};
    struct port *port;
    err = port_create(column->ops, &config, &port);
    if (!err) port_destroy(port);
    slots_free(&slots);
    return err;
}

bool world_machine_make(struct world *world, const char **why)
{
    const struct column *column = world->column;
    world->ops = &machine_ops;
    world->now_ns = (uint64_t)CLOCK_START_MS * 1000000;
    if (column->system_make) world->system = column->system_make();
    int err = try_port(column, world->system);
    if (!err) return true;
    *why = sally_strerror(err);
    if (world->system) column->system_free(world->system);
    world->system = NULL;
    return false;
}
