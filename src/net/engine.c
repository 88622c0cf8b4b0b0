/* The engine: making, running, ending; see engine.h. */
#include "net/engine.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net/bandwidth.h"
#include "net/client.h"
#include "net/door.h"
#include "net/group.h"
#include "net/letter.h"
#include "net/profile.h"
#include "net/server.h"
#include "net/shard.h"
#include "net/websocket.h"
#include "os/address.h"
#include "os/clock.h"
#include "os/limits.h"
#include "os/log.h"
#include "os/random.h"
#include "os/signals.h"
#include "port/choose.h"

enum {
    TURN_EVENTS_MAX = 256,
    MAILBOX_LETTERS_MAX = 65536,
    MAILBOX_BYTES_MAX = 64 << 20,
    SEND_CHUNK_BYTES = 4096,
    SEND_CHUNKS_MAX = 65536,
    MEMORY_MAX_MIN = 1 << 20,
    SIGNAL_DRAIN_MS = 10 * 1000,
    DESCRIPTORS_KEPT = 32, /* for the program's own files, the ports' and what libraries open */
    DESCRIPTORS_KEPT_MAX = 512,
    CONNS_MIN = 8, /* fewer than that is no server */
    CONNS_MAX = 16000000,
};

/* ---- Small things that everybody needs ---- */

void engine_log(const sally_engine *engine, sally_log_level level, const char *format, ...)
{
    const sally_engine_options *options = &engine->options;
    if (level > options->log_level) return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (options->log)
        options->log(options->log_user, level, line);
    else
        os_log_line(line);
}

uint64_t engine_now_ns(const sally_engine *engine) { return engine->host.now_ns(engine->host.ctx); }

uint64_t engine_now_ms(const sally_engine *engine) { return engine_now_ns(engine) / 1000000; }

uint64_t engine_due_ms(const sally_engine *engine, uint32_t after_ms)
{
    return (engine->host.now_ns(engine->host.ctx) + 999999) / 1000000 + after_ms;
}

struct shard *engine_pick_shard(sally_engine *engine)
{
    struct shard *best = engine->shards[0];
    unsigned least = atomic_load_explicit(&best->conns, memory_order_relaxed);
    for (unsigned i = 1; i < engine->shard_count; i++) {
        struct shard *shard = engine->shards[i];
        unsigned conns = atomic_load_explicit(&shard->conns, memory_order_relaxed);
        if (conns >= least) continue;
        least = conns;
        best = shard;
    }
    return shard_promise(best) ? best : NULL;
}

void engine_wake_listeners(sally_engine *engine)
{
    if (!atomic_load(&engine->waiting)) return;
    for (unsigned i = 0; i < engine->shard_count; i++) {
        struct shard *shard = engine->shards[i];
        if (!atomic_exchange(&shard->retry, true) && shard != shard_current()) shard_wake(shard);
    }
}

/* ---- Create ---- */

static int engine__options(sally_engine *engine, const sally_engine_options *given)
{
    sally_engine_options *options = &engine->options;
    if (given) *options = *given;
    if (options->shards > ENGINE_SHARDS_MAX || options->conns_max > CONNS_MAX ||
        options->timers_max > 1u << SLOTS_INDEX_BITS ||
        (unsigned)options->log_level > SALLY_LOG_DEBUG)
        return SALLY_EINVAL;
    if (options->send_chunk_bytes && options->send_chunk_bytes < 256) return SALLY_EINVAL;
    if (options->spin_us > SALLY_SPIN_US_MAX || profile_apply(options) != 0) return SALLY_EINVAL;
    if (options->memory_max && options->memory_max < MEMORY_MAX_MIN) return SALLY_EINVAL;
    if (options->memory_max) {
        engine->mem.bytes_max =
            options->memory_max < SIZE_MAX ? (size_t)options->memory_max : SIZE_MAX;
        atomic_store(&engine->has_budget, true);
    }
    if (!options->log && !options->log_level) options->log_level = SALLY_LOG_WARN;
    if (!options->shards) options->shards = engine->host.threads ? os_cores() : 1;
    if (options->shards > ENGINE_SHARDS_MAX) options->shards = ENGINE_SHARDS_MAX;
    if (!options->turn_events_max) options->turn_events_max = TURN_EVENTS_MAX;
    if (!options->mailbox_letters_max) options->mailbox_letters_max = MAILBOX_LETTERS_MAX;
    if (!options->mailbox_bytes_max) options->mailbox_bytes_max = MAILBOX_BYTES_MAX;
    if (!options->send_chunk_bytes) options->send_chunk_bytes = SEND_CHUNK_BYTES;
    if (!options->send_chunks_max) options->send_chunks_max = SEND_CHUNKS_MAX;
    if (!options->signal_drain_ms) options->signal_drain_ms = SIGNAL_DRAIN_MS;
    return 0;
}

/* Each connection costs a descriptor. What is open is kept, and a few more, and a tenth of the
 * limit as far as that is not hundreds. */
static int engine__conns_max(sally_engine *engine)
{
    engine->conns_max = engine->options.conns_max;
    if (!engine->host.threads) {
        if (!engine->conns_max) engine->conns_max = 1 << 16;
        return 0;
    }
    uint32_t limit = os_descriptors_max();
    uint32_t kept = os_descriptors_open() + 4 * engine->options.shards + DESCRIPTORS_KEPT;
    uint32_t tenth = limit / 10 < DESCRIPTORS_KEPT_MAX ? limit / 10 : DESCRIPTORS_KEPT_MAX;
    if (kept < tenth) kept = tenth;
    uint32_t room = limit > kept ? limit - kept : 0;
    if (room > CONNS_MAX) room = CONNS_MAX;
    if (room < CONNS_MIN) {
        engine_log(engine, SALLY_LOG_ERROR,
                   "the descriptor limit of %u leaves no room for connections; raise it with "
                   "`ulimit -n`",
                   limit);
        return SALLY_EEXHAUSTED;
    }
    if (engine->conns_max > room)
        engine_log(engine, SALLY_LOG_WARN,
                   "%u connections are allowed, but the descriptor limit of %u has room for %u",
                   engine->conns_max, limit, room);
    if (!engine->conns_max) engine->conns_max = room;
    return 0;
}

static int engine__shards(sally_engine *engine)
{
    size_t bytes = engine->options.shards * sizeof(struct shard *);
    engine->shards = mem_zalloc(&engine->mem, bytes);
    if (!engine->shards) return SALLY_ENOMEM;
    for (; engine->shard_count < engine->options.shards; engine->shard_count++) {
        int err = shard_create(&engine->shards[engine->shard_count], engine, engine->shard_count);
        if (err) return err;
    }
    atomic_store(&engine->shards_left, engine->shard_count);
    return 0;
}

/* The struct itself is the only thing that is not counted in its own mem. */
static void engine__free(sally_engine *engine)
{
    door_close(engine->door); /* before the last letters are looked at */
    for (unsigned i = 0; i < engine->shard_count; i++) shard_destroy(engine->shards[i]);
    clients_free(engine);
    group_free_all(engine);
    for (sally_server *server = engine->servers, *next; server; server = next) {
        next = server->next;
        server_destroy(server);
    }
    bandwidth_free_all(engine);
    if (engine->shards)
        mem_free(&engine->mem, engine->shards, engine->options.shards * sizeof(struct shard *));
    door_release(engine->door);
    os_gate_free(&engine->stopped);
    resolver_free(&engine->resolver);
    framings_free(engine);
    websockets_free(engine);
    os_lock_free(&engine->lock);
    assert(mem_in_use(&engine->mem) == 0);
    struct mem mem = engine->mem;
    mem.free(mem.user, engine, sizeof *engine);
}

int engine_create_on(sally_engine **out, const sally_engine_options *options,
                     const struct host *host)
{
    struct mem mem;
    int err = mem_init_hooked(&mem, options ? &options->allocator : NULL);
    if (err) return err;
    sally_engine *engine = mem.alloc(mem.user, sizeof *engine);
    if (!engine) return SALLY_ENOMEM;
    memset(engine, 0, sizeof *engine);
    engine->mem = mem;
    engine->host = *host;
    engine->host.reason = engine->port_reason;
    os_lock_init(&engine->lock);
    os_gate_init(&engine->stopped);
    resolver_init(&engine->resolver, &engine->host);
    snprintf(engine->port_reason, sizeof engine->port_reason, "%s", host->reason);
    err = engine__options(engine, options);
    if (!err) err = engine__conns_max(engine);
    if (!err) err = engine__shards(engine);
    if (!err) err = door_create(&engine->door, engine);
    if (err) {
        engine__free(engine);
        return err;
    }
    atomic_store(&engine->driven, !host->threads);
    *out = engine;
    return 0;
}

static uint64_t machine_now(void *ctx)
{
    (void)ctx;
    return os_clock_ns();
}

static int64_t machine_world(void *ctx)
{
    (void)ctx;
    return os_world_ms();
}

static uint64_t machine_random(void *ctx)
{
    (void)ctx;
    uint64_t number;
    os_random(&number, sizeof number);
    return number;
}

static int machine_resolve(void *ctx, const char *name, uint16_t port, struct addr *addrs,
                           unsigned max, unsigned *count)
{
    (void)ctx;
    return os_resolve(name, port, addrs, max, count);
}

static void log_refusal(const sally_engine_options *options, sally_log_level level,
                        const char *reason)
{
    if (options && options->log)
        options->log(options->log_user, level, reason);
    else
        os_log_line(reason);
}

/* A port needs memory and a table of sockets to be tried. */
static int machine_port(const sally_engine_options *options, struct host *host, bool *second_choice,
                        char *reason, size_t reason_bytes)
{
    struct mem mem;
    /* what is wrong with the hooks is for engine_create_on to say */
    (void)mem_init_hooked(&mem, options ? &options->allocator : NULL);
    struct slots slots;
    int err = slots_init(&slots, &mem, sizeof(struct port_sock), 16, UINT32_MAX);
    if (err) return err;
    struct port_config config = {.mem = &mem, .socks = &slots};
    if (options) config.features_off = options->port_features_off;
    err = port_choose(options ? options->port : SALLY_PORT_AUTO, &config, &host->ops, second_choice,
                      reason, reason_bytes);
    slots_free(&slots);
    return err;
}

int sally_engine_create(sally_engine **out, const sally_engine_options *options)
{
    if (!out) return SALLY_EINVAL;
    char reason[ENGINE_REASON_MAX] = "";
    struct host host = {.now_ns = machine_now,
                        .world_ms = machine_world,
                        .random = machine_random,
                        .resolve = machine_resolve,
                        .threads = true,
                        .reason = reason};
    bool second_choice = false;
    os_random(host.seed, sizeof host.seed);
    int err = machine_port(options, &host, &second_choice, reason, sizeof reason);
    if (err) {
        log_refusal(options, SALLY_LOG_ERROR, reason[0] ? reason : sally_strerror(err));
        return err;
    }
    err = engine_create_on(out, options, &host);
    if (err) return err;
    engine_log(*out, second_choice ? SALLY_LOG_WARN : SALLY_LOG_INFO, "port %s: %s", host.ops->name,
               reason);
    return 0;
}

/* ---- Run ---- */

/* One turn of a shard that has no thread of its own, on the thread that does so from the first turn
 * on. */
static bool engine__step(struct shard *shard, uint32_t timeout_ms)
{
    if (!shard->owned) {
        shard->owned = true;
        shard->owner = os_thread_self();
        (void)port_own(shard->port);
    }
    return shard_turn(shard, timeout_ms);
}

/* Start, drive and destroy exclude each other by this one step. */
static bool engine__begin(sally_engine *engine)
{
    int created = SALLY_ENGINE_CREATED;
    return atomic_compare_exchange_strong(&engine->state, &created, SALLY_ENGINE_RUNNING);
}

int sally_engine_start(sally_engine *engine)
{
    if (!engine) return SALLY_EINVAL;
    if (shard_current()) return SALLY_ETHREAD;
    if (atomic_load(&engine->driven) || !engine__begin(engine)) return SALLY_ESTATE;
    for (unsigned i = 0; i < engine->shard_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "sally-%u", i);
        struct shard *shard = engine->shards[i];
        int err = os_thread_start(&shard->thread, name, shard_thread, shard);
        shard->owned = shard->has_thread = err == 0;
        if (!err) continue;
        /* all or nothing: those that run end again */
        (void)sally_engine_stop(engine);
        for (unsigned k = i; k < engine->shard_count; k++)
            while (!engine__step(engine->shards[k], 1)) {
            }
        (void)sally_engine_wait(engine);
        return err;
    }
    return 0;
}

int sally_engine_wait(sally_engine *engine)
{
    if (!engine) return SALLY_EINVAL;
    if (shard_current()) return SALLY_ETHREAD;
    bool stopped = atomic_load(&engine->state) == SALLY_ENGINE_STOPPED;
    if (!stopped && atomic_load(&engine->driven)) return SALLY_ESTATE; /* by whom would it end? */
    os_gate_wait(&engine->stopped);
    return 0;
}

int sally_engine_run(sally_engine *engine)
{
    if (!engine) return SALLY_EINVAL;
    /* before the start: who sees the engine serve may send a signal at once */
    bool watches = !engine->options.leave_signals && os_signals_watch() == 0;
    int err = sally_engine_start(engine);
    if (err && watches) os_signals_unwatch();
    if (err) return err;
    if (!watches) return sally_engine_wait(engine);
    unsigned acted = 0;
    while (!os_gate_wait_for(&engine->stopped, 0)) {
        os_signals_wait(UINT32_MAX);
        unsigned seen = os_signals_seen();
        if (seen > acted && acted == 0)
            (void)sally_engine_drain(engine, engine->options.signal_drain_ms);
        if (seen > 1) (void)sally_engine_stop(engine);
        acted = seen;
    }
    os_signals_unwatch();
    return 0;
}

/* ---- Driven by the program ---- */

/* The thread that drives is found at its first call. */
static int engine__drive(sally_engine *engine)
{
    if (shard_current()) return SALLY_ETHREAD;
    struct shard *shard = engine->shards[0];
    if (!engine->host.threads) return SALLY_ESTATE;
    if (shard->owned) return shard->owner == os_thread_self() ? 0 : SALLY_ETHREAD;
    if (engine->shard_count != 1) return SALLY_ESTATE;
    if (!engine__begin(engine) && !engine_stopping(engine)) return SALLY_ESTATE;
    atomic_store(&engine->driven, true);
    shard->owned = true;
    shard->owner = os_thread_self();
    return port_own(shard->port);
}

int sally_engine_run_once(sally_engine *engine, uint32_t timeout_ms)
{
    if (!engine) return SALLY_EINVAL;
    if (!atomic_load(&engine->driven) && atomic_load(&engine->state) != SALLY_ENGINE_CREATED)
        return SALLY_ESTATE;
    int err = engine__drive(engine);
    if (err) return err;
    struct shard *shard = engine->shards[0];
    if (shard_turn(shard, timeout_ms)) return 1;
    port_flush(shard->port); /* the program may sleep elsewhere next */
    return 0;
}

int64_t sally_engine_fd(sally_engine *engine)
{
    if (!engine || engine->shard_count != 1) return -1;
    struct port *port = engine->shards[0]->port;
    return port->abilities & PORT_CAN_POLL_FD ? port_fd(port) : -1;
}

uint32_t sally_engine_next_ms(sally_engine *engine)
{
    if (!engine || engine->shard_count != 1) return 0;
    return shard_patience_ms(engine->shards[0]);
}

unsigned engine_shards(const sally_engine *engine) { return engine->shard_count; }

bool engine_step(sally_engine *engine, unsigned index)
{
    (void)engine__begin(engine);
    return engine__step(engine->shards[index], 0);
}

uint32_t engine_patience_ms(const sally_engine *engine, unsigned shard)
{
    return shard_patience_ms(engine->shards[shard]);
}

/* ---- End ---- */

void engine_shard_ended(sally_engine *engine)
{
    if (atomic_fetch_sub(&engine->shards_left, 1) != 1) return;
    uint64_t began = atomic_load(&engine->stop_began_ms);
    atomic_store(&engine->stop_took_ms, engine_now_ms(engine) - began);
    atomic_store(&engine->state, SALLY_ENGINE_STOPPED);
    os_gate_open(&engine->stopped);
    os_signals_poke();
}

static void engine__raise_stop(sally_engine *engine, enum stop_level level, uint64_t deadline_ms)
{
    os_lock_take(&engine->lock);
    int now = atomic_load(&engine->stop_level);
    if (now == STOP_NO) {
        atomic_store(&engine->stop_began_ms, engine_now_ms(engine));
        unsigned greetings = atomic_load(&engine->greetings), conns = atomic_load(&engine->conns);
        atomic_store(&engine->stop_conns, conns > greetings ? conns - greetings : 0);
    }
    uint64_t before = atomic_load(&engine->stop_deadline_ms);
    if (level == STOP_DRAIN && now <= STOP_DRAIN && (!before || deadline_ms < before))
        atomic_store(&engine->stop_deadline_ms, deadline_ms);
    if (level == STOP_NOW && now < STOP_NOW)
        atomic_store(&engine->stop_deadline_ms, 0); /* a stop ends the rest, not the drain's time */
    if ((int)level > now) atomic_store(&engine->stop_level, level);
    int created = SALLY_ENGINE_CREATED;
    if (atomic_compare_exchange_strong(&engine->state, &created, SALLY_ENGINE_STOPPED))
        os_gate_open(&engine->stopped); /* nothing ran: only destroying is left */
    else if (created != SALLY_ENGINE_STOPPED)
        atomic_compare_exchange_strong(&engine->state, &created,
                                       level == STOP_NOW ? SALLY_ENGINE_STOPPING
                                                         : SALLY_ENGINE_DRAINING);
    os_lock_give(&engine->lock);
    for (unsigned i = 0; i < engine->shard_count; i++) shard_wake(engine->shards[i]);
}

int sally_engine_stop(sally_engine *engine)
{
    if (!engine) return SALLY_EINVAL;
    engine__raise_stop(engine, STOP_NOW, 0);
    return 0;
}

int sally_engine_drain(sally_engine *engine, uint32_t timeout_ms)
{
    if (!engine) return SALLY_EINVAL;
    uint64_t now = engine_now_ms(engine);
    uint64_t deadline = timeout_ms == SALLY_FOREVER ? UINT64_MAX : now + timeout_ms + 1;
    engine__raise_stop(engine, STOP_DRAIN, deadline);
    return 0;
}

int sally_engine_stop_report(sally_engine *engine, sally_stop_report *report)
{
    if (!engine || !report) return SALLY_EINVAL;
    if (atomic_load(&engine->state) != SALLY_ENGINE_STOPPED) return SALLY_ESTATE;
    uint32_t conns = atomic_load(&engine->stop_conns);
    uint32_t cut = atomic_load(&engine->stop_cut);
    *report = (sally_stop_report){
        .conns = conns,
        .finished = conns > cut ? conns - cut : 0,
        .cut = cut,
        .bytes_unsent = atomic_load(&engine->stop_unsent),
        .jobs = atomic_load(&engine->stop_jobs),
        .jobs_cut = atomic_load(&engine->stop_jobs_cut),
        .took_ms = (uint32_t)atomic_load(&engine->stop_took_ms),
    };
    return 0;
}

/* Shards with threads end by themselves. The others are stepped here, all of them in turn, since
 * one may wait for what another sends. */
static void engine__finish_shards(sally_engine *engine)
{
    for (unsigned left = 1; left;) {
        left = 0;
        for (unsigned i = 0; i < engine->shard_count; i++) {
            struct shard *shard = engine->shards[i];
            if (!shard->has_thread) left += !engine__step(shard, 1);
        }
    }
}

static void engine__join_shards(sally_engine *engine)
{
    for (unsigned i = 0; i < engine->shard_count; i++)
        if (engine->shards[i]->has_thread) os_thread_join(&engine->shards[i]->thread);
}

int sally_engine_destroy(sally_engine *engine)
{
    if (!engine) return 0;
    if (shard_current()) return SALLY_ETHREAD;
    struct shard *first = engine->shards[0];
    if (atomic_load(&engine->driven) && first->owned && first->owner != os_thread_self())
        return SALLY_ETHREAD;
    (void)sally_engine_stop(engine);
    engine__finish_shards(engine);
    (void)sally_engine_wait(engine);
    resolver_close(&engine->resolver);
    engine__join_shards(engine);
    engine__free(engine);
    return 0;
}

/* ---- Asking ---- */

sally_engine_state sally_engine_get_state(const sally_engine *engine)
{
    return engine ? (sally_engine_state)atomic_load(&engine->state) : SALLY_ENGINE_STOPPED;
}

const char *sally_engine_port(const sally_engine *engine)
{
    return engine ? engine->host.ops->name : "";
}

const char *sally_engine_port_reason(const sally_engine *engine)
{
    return engine ? engine->port_reason : "";
}

static void stats__add(sally_engine_stats *stats, const struct shard *shard)
{
    const struct shard_counters *counters = &shard->counters;
    const struct port_counters *port = &shard->port->counters;
    stats->accepted += counter_get(&counters->accepted);
    stats->accept_failures += counter_get(&counters->accept_failures);
    stats->refused += counter_get(&counters->refused);
    stats->connected += counter_get(&counters->connected);
    stats->connect_failures += counter_get(&counters->connect_failures);
    stats->closed += counter_get(&counters->closed);
    stats->bytes_in += counter_get(&counters->bytes_in);
    stats->bytes_out += counter_get(&counters->bytes_out);
    stats->messages += counter_get(&counters->messages);
    stats->messages_copied += counter_get(&counters->messages_copied);
    stats->letters += counter_get(&counters->letters);
    stats->letters_refused += atomic_load(&shard->letters_refused);
    stats->turns += counter_get(&counters->turns);
    stats->spins += counter_get(&counters->spins);
    for (int op = 0; op < PORT_OPS; op++) {
        stats->ops_started += counter_get(&port->started[op]);
        stats->ops_completed += counter_get(&port->completed[op]);
        stats->ops_cancelled += counter_get(&port->cancelled[op]);
        stats->ops_failed += counter_get(&port->failed[op]);
    }
    stats->recv_buf_shortages += counter_get(&port->buf_shortages);
}

int sally_engine_get_stats(sally_engine *engine, sally_engine_stats *stats)
{
    if (!engine || !stats) return SALLY_EINVAL;
    *stats = (sally_engine_stats){
        .shards = engine->shard_count,
        .conns = atomic_load(&engine->conns),
        .conns_max = engine->conns_max,
        .memory_bytes = mem_in_use(&engine->mem),
    };
    for (unsigned i = 0; i < engine->shard_count; i++) stats__add(stats, engine->shards[i]);
    return 0;
}
