/* The simulator's life, and what an engine in it takes for its machine: clock, names, memory. One
 * thread; the caller owns the sim, and each engine in it. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

#define SIM_JOB_MAX     (500 * SIM_MS)
#define WORLD_BEGINS_MS INT64_C(946684800000) /* 1 January 2000 */
#define WORLD_MAX_MS    (INT64_MAX / 4)       /* so that nobody's sum or difference is too large */

enum { SIM_CONNS_MAX = 1024 };

/* ---- The engine's machine ---- */

static uint64_t host_now(void *ctx) { return ((sally_sim *)ctx)->world->now_ns; }

static int64_t host_world(void *ctx) { return sally_sim_world_ms(ctx); }

static uint64_t host_random(void *ctx) { return sim_random(((sally_sim *)ctx)->world); }

static const struct sim_name *name_find(const sally_sim *sim, const char *name)
{
    for (const struct sim_name *at = sim->names; at; at = at->next)
        if (strcmp(at->name, name) == 0) return at;
    return NULL;
}

static int host_resolve(void *ctx, const char *name, uint16_t port, struct addr *addrs,
                        unsigned max, unsigned *count)
{
    sally_sim *sim = ctx;
    *count = 0;
    const struct sim_name *found = name_find(sim, name);
    if (!found || sim_chance(sim->world, sim->world->faults.resolve_fails)) return SALLY_ENONAME;
    for (; *count < found->count && *count < max; ++*count) {
        addrs[*count] = found->addrs[*count];
        addrs[*count].port = port;
    }
    return 0;
}

int sally_sim_name(sally_sim *sim, const char *name, const char *ip)
{
    if (!sim || !name || !ip) return SALLY_EINVAL;
    if (strlen(name) >= SIM_NAME_MAX) return SALLY_EINVAL;
    char text[ADDRESS_TEXT_MAX];
    struct address address;
    snprintf(text, sizeof text, strchr(ip, ':') ? "[%s]:0" : "%s:0", ip);
    if (address_parse(&address, text) || address.kind != ADDRESS_IP) return SALLY_EADDRESS;
    struct sim_name *entry = (struct sim_name *)name_find(sim, name);
    if (!entry) {
        entry = mem_zalloc(&sim->mem, sizeof *entry);
        if (!entry) return SALLY_ENOMEM;
        snprintf(entry->name, sizeof entry->name, "%s", name);
        entry->next = sim->names;
        sim->names = entry;
    }
    if (entry->count == SIM_NAME_ADDRS) return SALLY_EINVAL;
    entry->addrs[entry->count++] = address.ip;
    return 0;
}

int sally_sim_black_hole(sally_sim *sim, const char *text)
{
    struct address address;
    if (!sim || !text) return SALLY_EINVAL;
    if (address_parse(&address, text)) return SALLY_EADDRESS;
    if (address.kind != ADDRESS_IP && address.kind != ADDRESS_PATH) return SALLY_EADDRESS;
    return sim_hole_add(sim->world, &address);
}

/* Files are the real machine's. The port asks for the length before each part; the rest of one that
 * another program makes shorter within that call is zeros. */
static uint64_t host_file_bytes(void *user)
{
    uint64_t bytes = 0;
    int sys_error;
    return os_file_judge((os_file)(intptr_t)user, &bytes, &sys_error) ? 0 : bytes;
}

static void host_file_read(void *user, uint64_t offset, void *to, uint32_t len)
{
    int sys_error;
    int64_t got = 1;
    for (; len && got > 0; offset += (uint64_t)got, len -= (uint32_t)got) {
        got = os_file_read((os_file)(intptr_t)user, offset, to, len, &sys_error);
        if (got > 0) to = (char *)to + got;
    }
    memset(to, 0, len);
}

static os_file host_file_take(void *ctx, os_file file, uint64_t bytes)
{
    struct sim_world *world = ((sally_sim *)ctx)->world;
    os_file shown = sim_file_make(world, bytes, host_file_read, (void *)(intptr_t)file);
    sim_file_of(world, shown)->size = host_file_bytes;
    return shown;
}

static void host_file_drop(void *ctx, os_file file)
{
    sim_file_close(((sally_sim *)ctx)->world, file);
}

/* In the order in which they came: what the seed draws must not depend on addresses. */
static void host_step_add(void *ctx, struct stepper *stepper)
{
    struct stepper **at = &((sally_sim *)ctx)->steppers;
    while (*at) at = &(*at)->next;
    stepper->next = NULL;
    *at = stepper;
}

static void host_step_remove(void *ctx, struct stepper *stepper)
{
    struct stepper **at = &((sally_sim *)ctx)->steppers;
    while (*at != stepper) at = &(*at)->next;
    *at = stepper->next;
}

/* Mostly short, at times as long as a connection's whole life. */
static uint64_t host_job_ns(void *ctx)
{
    return sim_skewed(((sally_sim *)ctx)->world, SIM_JOB_MAX);
}

/* ---- Memory that can fail ---- */

static bool alloc_fails(sally_sim *sim)
{
    sim->allocations++;
    bool at = sim->fail_at &&
              (sim->fail_on ? sim->allocations >= sim->fail_at : sim->allocations == sim->fail_at);
    if (at) sim->failed = true;
    return at || sim_chance(sim->world, sim->world->faults.no_memory);
}

static void *host_alloc(void *user, size_t bytes)
{
    sally_sim *sim = user;
    if (alloc_fails(sim)) {
        sim_trace(sim->world, "no memory for %zu bytes", bytes);
        return NULL;
    }
    return mem_alloc(&sim->engine, bytes);
}

static void host_free(void *user, void *block, size_t bytes)
{
    sally_sim *sim = user;
    mem_free(&sim->engine, block, bytes);
}

void sally_sim_fail_alloc_at(sally_sim *sim, uint64_t n, bool persistent)
{
    sim->fail_at = n ? sim->allocations + n : 0;
    sim->fail_on = persistent;
    sim->failed = false;
}

bool sally_sim_alloc_failed(const sally_sim *sim) { return sim->failed; }
uint64_t sally_sim_allocations(const sally_sim *sim) { return sim->allocations; }
uint64_t sally_sim_memory_bytes(const sally_sim *sim) { return mem_in_use(&sim->engine); }

/* What an engine says goes into the trace. */
static void host_log(void *user, sally_log_level level, const char *line)
{
    sally_sim *sim = user;
    sim_trace(sim->world, "log %d: %s", (int)level, line);
}

/* ---- Life ---- */

int sally_sim_create(sally_sim **out, uint64_t seed, const sally_sim_options *options)
{
    if (!out) return SALLY_EINVAL;
    if (options && (unsigned)options->send_now > SALLY_SIM_NO) return SALLY_EINVAL;
    struct mem mem;
    mem_init(&mem);
    sally_sim *sim = mem_zalloc(&mem, sizeof *sim);
    if (!sim) return SALLY_ENOMEM;
    mem_init(&sim->mem);
    mem_init(&sim->engine);
    int err = sim_world_create(&sim->world, seed, options);
    if (err) {
        mem_free(&mem, sim, sizeof *sim);
        return err;
    }
    sim->world_at_0_ms = WORLD_BEGINS_MS;
    snprintf(sim->reason, sizeof sim->reason, "simulated, seed %llu", (unsigned long long)seed);
    sim->host = (struct host){.ctx = sim,
                              .ops = &port_sim_ops,
                              .world = sim->world,
                              .now_ns = host_now,
                              .world_ms = host_world,
                              .random = host_random,
                              .resolve = host_resolve,
                              .threads = false,
                              .step_add = host_step_add,
                              .step_remove = host_step_remove,
                              .job_ns = host_job_ns,
                              .file_take = host_file_take,
                              .file_drop = host_file_drop,
                              .seed = {seed, ~seed},
                              .reason = sim->reason};
    *out = sim;
    return 0;
}

void sally_sim_destroy(sally_sim *sim)
{
    if (!sim) return;
    sim_peers_free(sim);
    struct sim_world *world = sim->world;
    if (mem_in_use(&sim->engine))
        sim_violation(world, "%zu bytes of engines are left", mem_in_use(&sim->engine));
    sim_world_destroy(world);
    for (struct sim_name *next; sim->names; sim->names = next) {
        next = sim->names->next;
        mem_free(&sim->mem, sim->names, sizeof *sim->names);
    }
    assert(mem_in_use(&sim->mem) == 0);
    struct mem mem;
    mem_init(&mem);
    atomic_store(&mem.bytes_in_use, sizeof *sim);
    mem_free(&mem, sim, sizeof *sim);
}

/* Shards whose ports have gone make room. */
static void forget_dead(sally_sim *sim)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < sim->shard_count; i++)
        if (sim->world->ports[sim->shards[i].port]) sim->shards[kept++] = sim->shards[i];
    sim->shard_count = kept;
}

int sally_sim_engine(sally_sim *sim, const sally_engine_options *given, sally_engine **out)
{
    if (!sim || !out) return SALLY_EINVAL;
    sally_engine_options options = {0};
    if (given) options = *given;
    if (!options.shards) options.shards = 1;
    if (!options.conns_max) options.conns_max = SIM_CONNS_MAX;
    if (!options.allocator.alloc && !options.allocator.free)
        options.allocator = (sally_allocator){.alloc = host_alloc, .free = host_free, .user = sim};
    if (!options.log) {
        options.log = host_log;
        options.log_user = sim;
        options.log_level = SALLY_LOG_DEBUG;
    }
    forget_dead(sim);
    uint32_t first = sim->world->port_count;
    int err = engine_create_on(out, &options, &sim->host);
    if (err) return err;
    for (unsigned i = 0; i < engine_shards(*out); i++)
        sim->shards[sim->shard_count++] =
            (struct sim_shard){.engine = *out, .index = i, .port = first + i};
    return 0;
}

uint64_t sally_sim_now_ms(const sally_sim *sim)
{
    return (sim->world->now_ns - sim->world->start_ns) / SIM_MS;
}

int64_t sally_sim_world_ms(const sally_sim *sim)
{
    return sim->world_at_0_ms + (int64_t)sally_sim_now_ms(sim);
}

void sally_sim_set_world_ms(sally_sim *sim, int64_t unix_ms)
{
    if (unix_ms > WORLD_MAX_MS) unix_ms = WORLD_MAX_MS;
    if (unix_ms < -WORLD_MAX_MS) unix_ms = -WORLD_MAX_MS;
    sim->world_at_0_ms = unix_ms - (int64_t)sally_sim_now_ms(sim);
}

uint64_t sally_sim_seed(const sally_sim *sim) { return sim->world->seed; }
uint64_t sally_sim_hash(const sally_sim *sim) { return sim->world->hash; }
uint32_t sally_sim_sockets(const sally_sim *sim) { return sim->world->descriptors_used; }

uint32_t sally_sim_random(sally_sim *sim, uint32_t below)
{
    return (uint32_t)sim_below(sim->world, below);
}

/* ---- Descriptors ---- */

void sally_sim_take_descriptors(sally_sim *sim, uint32_t n)
{
    sim->world->descriptors_all_taken |= n == UINT32_MAX;
    if (n != UINT32_MAX) sim->world->descriptors_taken += n;
}

void sally_sim_give_descriptors(sally_sim *sim)
{
    sim->world->descriptors_all_taken = false;
    sim->world->descriptors_taken = 0;
}
