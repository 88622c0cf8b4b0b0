/* The simulated world's clock, its heap of later events, its random numbers, trace, hash and
 * descriptors. One thread. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/log.h"
#include "port/sim.h"

enum { SIM_DESCRIPTORS = 4096, SIM_LATENCY_MAX_US = 20000, SIM_TRACE_MAX = 240 };

/* ---- Memory ---- */

/* A world without memory can't go on, and it isn't what is tested. */
void *sim_alloc(struct sim_world *world, size_t bytes)
{
    void *block = mem_zalloc(&world->mem, bytes);
    if (!block) sim_violation(world, "the machine has no memory for the simulation");
    return block;
}

void sim_free(struct sim_world *world, void *block, size_t bytes)
{
    if (block) mem_free(&world->mem, block, bytes);
}

void *sim_grow(struct sim_world *world, void *block, size_t old_bytes, size_t bytes)
{
    void *grown = sim_alloc(world, bytes);
    if (old_bytes) memcpy(grown, block, old_bytes);
    sim_free(world, block, old_bytes);
    return grown;
}

/* ---- Random numbers: xoshiro256**, seeded by splitmix64 ---- */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t rotate(uint64_t x, unsigned by) { return (x << by) | (x >> (64 - by)); }

uint64_t sim_random(struct sim_world *world)
{
    uint64_t *s = world->random;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

/* The remainder's bias is far below what any test could see. */
uint64_t sim_below(struct sim_world *world, uint64_t below)
{
    return below ? sim_random(world) % below : 0;
}

/* Nothing is drawn for what can't happen: so a fault that is off leaves the rest of the run as it
 * was. */
bool sim_chance(struct sim_world *world, uint32_t per_million)
{
    return per_million && sim_below(world, 1000000) < per_million;
}

uint64_t sim_skewed(struct sim_world *world, uint64_t max)
{
    assert(max > 0);
    uint64_t cap = max;
    switch (sim_below(world, 8)) {
    case 0: cap = 1; break;
    case 1:
    case 2: cap = max / 64; break;
    case 3:
    case 4:
    case 5: cap = max / 8; break;
    default: break;
    }
    return 1 + sim_below(world, cap ? cap : 1);
}

uint64_t sim_delay(struct sim_world *world)
{
    uint32_t late_max_us = world->faults.late_max_us ? world->faults.late_max_us : 50000;
    if (sim_chance(world, world->faults.late)) return sim_below(world, late_max_us * SIM_US);
    if (sim_below(world, 2)) return 0; /* done in the call itself, as far as anybody can tell */
    return sim_below(world, 20 * SIM_US);
}

/* ---- Trace ---- */

void sim_mix(struct sim_world *world, uint64_t value)
{
    uint64_t z = (world->hash ^ value) * UINT64_C(0xff51afd7ed558ccd);
    z ^= z >> 33;
    z *= UINT64_C(0xc4ceb9fe1a85ec53);
    world->hash = z ^ (z >> 29);
}

uint64_t sim_checksum(uint64_t sum, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    uint64_t word = 0;
    for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sum = rotate((sum ^ word) * UINT64_C(0x9fb21c651e98df25), 29);
    }
    for (; len; len--) sum = rotate((sum ^ *bytes++) * UINT64_C(0x9fb21c651e98df25), 29);
    return sum;
}

void sim_trace(struct sim_world *world, const char *format, ...)
{
    if (!world->options.trace) return;
    char line[SIM_TRACE_MAX];
    int at = snprintf(line, sizeof line, "%12.6f ms  ",
                      (double)(world->now_ns - world->start_ns) / (double)SIM_MS);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, sizeof line - (size_t)at, format, args);
    va_end(args);
    world->options.trace(world->options.user, line);
}

_Noreturn void sim_violation(struct sim_world *world, const char *format, ...)
{
    char what[SIM_TRACE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    char line[SIM_TRACE_MAX + 120];
    snprintf(line, sizeof line, "sim: violation: %s (seed=%llu, at %.6f ms, hash %016llx)", what,
             (unsigned long long)world->seed,
             (double)(world->now_ns - world->start_ns) / (double)SIM_MS,
             (unsigned long long)world->hash);
    os_log_line(line);
    if (world->options.violated) world->options.violated(world->options.user, world->seed, what);
    abort();
}

/* ---- What happens later: a binary heap ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void heap_put(struct sim_world *world, const struct sim_event *event)
{
    if (world->heap_len == world->heap_room) {
        size_t room = world->heap_room ? world->heap_room * 2 : 64;
        world->heap =
            sim_grow(world, world->heap, world->heap_room * sizeof *event, room * sizeof *event);
        world->heap_room = room;
    }
    size_t i = world->heap_len++;
    for (; i && event_before(event, &world->heap[(i - 1) / 2]); i = (i - 1) / 2)
        world->heap[i] = world->heap[(i - 1) / 2];
    world->heap[i] = *event;
}

static struct sim_event heap_take(struct sim_world *world)
{
    struct sim_event first = world->heap[0];
    struct sim_event last = world->heap[--world->heap_len];
    size_t i = 0;
    for (size_t child; (child = i * 2 + 1) < world->heap_len; i = child) {
        if (child + 1 < world->heap_len &&
            event_before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!event_before(&world->heap[child], &last)) break;
        world->heap[i] = world->heap[child];
    }
    if (world->heap_len) world->heap[i] = last;
    return first;
}

void sim_world_later(struct sim_world *world, uint64_t delay_ns, enum sim_event_kind kind,
                     uint64_t a, uint32_t b)
{
    struct sim_event event = {.at_ns = world->now_ns + delay_ns,
                              .number = world->event_number++,
                              .kind = kind,
                              .a = a,
                              .b = b};
    heap_put(world, &event);
}

uint64_t sim_world_next_ns(const struct sim_world *world)
{
    return world->heap_len ? world->heap[0].at_ns : SIM_NEVER;
}

void sim_world_advance(struct sim_world *world, uint64_t to_ns)
{
    if (to_ns > world->now_ns) world->now_ns = to_ns;
}

bool sim_world_fire(struct sim_world *world)
{
    if (!world->heap_len) return false;
    struct sim_event event = heap_take(world);
    sim_world_advance(world, event.at_ns);
    sim_mix(world, world->now_ns);
    sim_mix(world, event.a << 8 ^ (uint64_t)event.b << 4 ^ event.kind);
    switch (event.kind) {
    case SIM_MAKE: sim_ops_make(world, event.a, (enum port_op)event.b); break;
    case SIM_GIVE_BACK: sim_descriptors_back(world); break;
    case SIM_BUFS_BACK:
        if (!world->ports[event.a]) break;
        world->ports[event.a]->bufs_fault = false;
        sim_port_feed_starved(world->ports[event.a]);
        break;
    default: sim_tcp_fire(world, &event); break;
    }
    return true;
}

/* ---- Descriptors ---- */

static uint32_t descriptors_free(const struct sim_world *world)
{
    if (world->descriptors_all_taken || world->descriptors_fault) return 0;
    uint64_t out = (uint64_t)world->descriptors_used + world->descriptors_taken;
    return out < world->descriptors_max ? (uint32_t)(world->descriptors_max - out) : 0;
}

bool sim_descriptor_left(const struct sim_world *world) { return descriptors_free(world) > 0; }

bool sim_descriptor_take(struct sim_world *world)
{
    if (!world->descriptors_fault && sim_chance(world, world->faults.exhausted)) {
        world->descriptors_fault = true;
        sim_world_later(world, sim_skewed(world, 3 * SIM_S), SIM_GIVE_BACK, 0, 0);
        sim_trace(world, "all descriptors are taken by another program");
    }
    if (!descriptors_free(world)) return false;
    world->descriptors_used++;
    return true;
}

void sim_descriptor_give(struct sim_world *world)
{
    assert(world->descriptors_used > 0);
    world->descriptors_used--;
}

void sim_descriptors_back(struct sim_world *world)
{
    world->descriptors_fault = false;
    sim_trace(world, "another program gives its descriptors back");
}

/* ---- Life ---- */

int sim_world_create(struct sim_world **out, uint64_t seed, const sally_sim_options *options)
{
    struct mem mem;
    mem_init(&mem);
    struct sim_world *world = mem_zalloc(&mem, sizeof *world);
    if (!world) return SALLY_ENOMEM;
    mem_init(&world->mem);
    if (options) world->options = *options;
    if (!world->options.turns_max) world->options.turns_max = 200000;
    world->seed = seed;
    uint64_t state = seed;
    for (unsigned i = 0; i < 4; i++) world->random[i] = splitmix(&state);
    world->hash = seed;
    /* clocks start anywhere: at 1 ns as well as after years */
    world->start_ns = world->now_ns = sim_skewed(world, UINT64_C(1) << 56);
    uint32_t latency_us = world->options.latency_max_us;
    world->latency_max_ns = (latency_us ? latency_us : SIM_LATENCY_MAX_US) * SIM_US;
    world->descriptors_max =
        world->options.descriptors_max ? world->options.descriptors_max : SIM_DESCRIPTORS;
    world->send_now = world->options.send_now == SALLY_SIM_BY_SEED
                          ? sim_below(world, 2)
                          : world->options.send_now == SALLY_SIM_YES;
    world->next_port = (uint16_t)(32768 + sim_below(world, 16384));
    *out = world;
    return 0;
}

void sim_world_destroy(struct sim_world *world)
{
    if (!world) return;
    for (uint32_t i = 0; i < world->port_count; i++)
        if (world->ports[i])
            sim_violation(world, "the world ends, and port %u in it was not destroyed", i);
    if (world->descriptors_used)
        sim_violation(world, "%u sockets of ports are left", world->descriptors_used);
    for (uint32_t i = 0; i < world->socks_room; i++)
        if (world->socks[i]) sim_sock_free(world->socks[i]);
    sim_free(world, world->socks, world->socks_room * sizeof(struct sim_sock *));
    sim_free(world, world->sock_generations, world->socks_room * sizeof(uint32_t));
    sim_free(world, world->links, world->links_room * sizeof(struct sim_link *));
    sim_free(world, world->link_generations, world->links_room * sizeof(uint32_t));
    sim_free(world, world->files, world->files_room * sizeof *world->files);
    sim_free(world, world->holes, world->hole_count * sizeof(struct address));
    sim_free(world, world->heap, world->heap_room * sizeof(struct sim_event));
    assert(mem_in_use(&world->mem) == 0);
    struct mem mem;
    mem_init(&mem);
    atomic_store(&mem.bytes_in_use, sizeof *world);
    mem_free(&mem, world, sizeof *world);
}
