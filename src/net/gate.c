#include "net/gate.h"

#include <assert.h>
#include <string.h>

#include "admission/bans.h"
#include "net/greeting.h"
#include "net/letter.h"
#include "os/address.h"

enum {
    ADDRESSES_MAX = 65536,
    DELAY_MS = 1000,
    DELAY_MAX_MS = 10000,
    DELAYED_MAX = 64,
    DELAYED_LIMIT = 4096,
    WITHIN_S = 60,
    BAN_S = 600,
    BAN_MAX_S = 86400,
    SITE_FACTOR = 4,
    NS_PER_MS = 1000000,
};

static uint32_t or_default(uint32_t value, uint32_t otherwise) { return value ? value : otherwise; }

static uint32_t times_four(uint32_t n)
{
    return n > UINT32_MAX / SITE_FACTOR ? UINT32_MAX : n * SITE_FACTOR;
}

/* ---- Making ---- */

bool gate_is_wanted(const sally_handler *handler, const sally_server_options *options)
{
    return options->admission || handler->on_accept || options->at_limit == SALLY_AT_LIMIT_FAREWELL;
}

static void gate__strikes(struct gate *gate, const sally_strike_options *given)
{
    sally_strike_options *strikes = &gate->strikes;
    *strikes = *given;
    strikes->within_s = or_default(given->within_s, WITHIN_S);
    strikes->ban_s = or_default(given->ban_s, BAN_S);
    strikes->ban_max_s = or_default(given->ban_max_s, BAN_MAX_S);
    if (strikes->ban_max_s < strikes->ban_s) strikes->ban_max_s = strikes->ban_s;
    for (int i = 0; i < SALLY_STRIKES; i++)
        strikes->weight[i] = given->off >> i & 1 ? 0 : or_default(given->weight[i], 1);
}

/* The lock is held, or nobody else knows the gate yet. */
static void gate__limits(struct gate *gate, const sally_admission_limits *given)
{
    struct source_limits *limits = &gate->limits;
    uint32_t live_max = or_default(given->conns_per_address, UINT32_MAX);
    limits->live_max = live_max;
    limits->site_max = or_default(given->conns_per_site, times_four(live_max));
    limits->rate = rate_of(given->connects_per_s_address, given->connects_burst_address);
    limits->site_rate = rate_of(times_four(given->connects_per_s_address),
                                times_four(given->connects_burst_address));
    struct rate all = rate_of(given->connects_per_s, given->connects_burst);
    atomic_store(&gate->slack_ns, all.slack_ns);
    atomic_store(&gate->period_ns, all.period_ns);
    if (given->conns_per_address || given->conns_per_site || given->connects_per_s_address ||
        gate->strikes.max)
        atomic_store(&gate->counts, true);
}

static int gate__check(const sally_admission *admission)
{
    const sally_strike_options *strikes = &admission->strikes;
    if (admission->farewell_bytes > FAREWELL_BYTES_MAX || admission->delayed_max > DELAYED_LIMIT ||
        (admission->farewell_bytes && !admission->farewell) || strikes->off >> SALLY_STRIKES ||
        (strikes->max && !admission->bans))
        return SALLY_EINVAL;
    return 0;
}

static void gate__options(struct gate *gate, const sally_admission *admission)
{
    gate->bans = bans_ref(admission->bans);
    gate->delay_ms = or_default(admission->delay_ms, DELAY_MS);
    gate->delay_max_ms = or_default(admission->delay_max_ms, DELAY_MAX_MS);
    gate->delayed_max = or_default(admission->delayed_max, DELAYED_MAX);
    gate->farewell_bytes = admission->farewell_bytes;
    if (gate->farewell_bytes)
        memcpy(gate->farewell, admission->farewell, admission->farewell_bytes);
    gate__strikes(gate, &admission->strikes);
    gate__limits(gate, &admission->limits);
}

int gate_create(struct gate **out, sally_engine *engine, const sally_server_options *options)
{
    static const sally_admission none = {0};
    const sally_admission *admission = options->admission ? options->admission : &none;
    int err = gate__check(admission);
    if (err) return err;
    struct gate *gate = mem_zalloc(&engine->mem, sizeof *gate);
    if (!gate) return SALLY_ENOMEM;
    gate->mem = &engine->mem;
    gate->has_admission = options->admission != NULL;
    struct hash_seed seed = {engine->host.seed[0], engine->host.seed[1]};
    os_lock_init(&gate->lock);
    sources_init(&gate->sources, &engine->mem, or_default(admission->addresses_max, ADDRESSES_MAX),
                 seed);
    gate__options(gate, admission);
    err = guest_policy_create(&gate->guests, engine);
    if (err)
        gate_destroy(gate);
    else
        *out = gate;
    return err;
}

void gate_destroy(struct gate *gate)
{
    if (!gate) return;
    assert(gate->sources.live == 0); /* what came in has gone, whatever became of it */
    policy_release(gate->guests);
    sources_free(&gate->sources);
    os_lock_free(&gate->lock);
    sally_bans_destroy(gate->bans);
    mem_free(gate->mem, gate, sizeof *gate);
}

/* ---- Coming and going ---- */

static sally_refusal refusal_of(enum source_answer answer)
{
    switch (answer) {
    case SOURCE_TOO_MANY: return SALLY_REFUSED_ADDRESS_LIMIT;
    case SOURCE_TOO_FAST: return SALLY_REFUSED_ADDRESS_RATE;
    case SOURCE_IN:
    case SOURCE_NO_MEMORY: break;
    }
    return SALLY_REFUSED_NO_MEMORY;
}

bool gate_enter(struct gate *gate, struct newcomer *newcomer, uint64_t now_ms, sally_refusal *why)
{
    newcomer->source = 0;
    if (!cidr_takes(&newcomer->peer)) return true;
    *why = SALLY_REFUSED_BANNED;
    if (gate->bans && bans_refuse(gate->bans, &newcomer->peer)) return false;
    if (!atomic_load_explicit(&gate->counts, memory_order_relaxed)) return true;
    os_lock_take(&gate->lock);
    enum source_answer answer = sources_enter(&gate->sources, &newcomer->peer, &gate->limits,
                                              now_ms * NS_PER_MS, &newcomer->source);
    os_lock_give(&gate->lock);
    if (answer == SOURCE_TOO_FAST)
        (void)gate_strike(gate, &newcomer->peer, SALLY_STRIKE_RATE, 1, now_ms);
    *why = refusal_of(answer);
    return answer == SOURCE_IN;
}

void gate_leave(struct gate *gate, uint32_t source)
{
    os_lock_take(&gate->lock);
    sources_leave(&gate->sources, source);
    os_lock_give(&gate->lock);
}

uint32_t gate_live(struct gate *gate, const struct addr *addr)
{
    if (!cidr_takes(addr) || !atomic_load_explicit(&gate->counts, memory_order_relaxed)) return 0;
    os_lock_take(&gate->lock);
    uint32_t live = sources_live(&gate->sources, addr);
    os_lock_give(&gate->lock);
    return live;
}

/* ---- The rate of all ---- */

static struct rate gate__rate(const struct gate *gate)
{
    return (struct rate){.period_ns = atomic_load_explicit(&gate->period_ns, memory_order_relaxed),
                         .slack_ns = atomic_load_explicit(&gate->slack_ns, memory_order_relaxed)};
}

bool gate_take_turn(struct gate *gate, uint64_t now_ms)
{
    struct rate rate = gate__rate(gate);
    if (!rate.period_ns) return true;
    uint64_t before = atomic_load_explicit(&gate->used_ns, memory_order_relaxed), after;
    do {
        after = before;
        if (!rate_take(&rate, &after, now_ms * NS_PER_MS)) return false;
    } while (!atomic_compare_exchange_weak(&gate->used_ns, &before, after));
    return true;
}

uint64_t gate_wait_ms(const struct gate *gate, uint64_t now_ms)
{
    struct rate rate = gate__rate(gate);
    uint64_t used_ns = atomic_load_explicit(&gate->used_ns, memory_order_relaxed);
    return (rate_wait_ns(&rate, used_ns, now_ms * NS_PER_MS) + NS_PER_MS - 1) / NS_PER_MS;
}

/* ---- Delays ---- */

bool gate_delay(struct gate *gate)
{
    if (atomic_fetch_add(&gate->delayed, 1) >= gate->delayed_max) {
        atomic_fetch_sub(&gate->delayed, 1);
        return false;
    }
    atomic_fetch_add(&gate->delayed_times, 1);
    return true;
}

void gate_undelay(struct gate *gate) { atomic_fetch_sub(&gate->delayed, 1); }

/* ---- Strikes ---- */

/* The n-th ban of an address. */
static uint32_t gate__ban_s(const struct gate *gate, uint32_t bans)
{
    uint64_t ban_s = gate->strikes.ban_s;
    while (--bans && ban_s < gate->strikes.ban_max_s) ban_s *= 2;
    return ban_s < gate->strikes.ban_max_s ? (uint32_t)ban_s : gate->strikes.ban_max_s;
}

bool gate_strike(struct gate *gate, const struct addr *addr, sally_strike kind, uint32_t weight,
                 uint64_t now_ms)
{
    static const char *const reasons[] = {
        [SALLY_STRIKE_MALFORMED] = "strikes: malformed messages",
        [SALLY_STRIKE_HANDSHAKE] = "strikes: failed handshakes",
        [SALLY_STRIKE_SILENCE] = "strikes: silent connections",
        [SALLY_STRIKE_RATE] = "strikes: too many connects",
        [SALLY_STRIKE_OWN] = "strikes",
    };
    const sally_strike_options *strikes = &gate->strikes;
    uint64_t weighted = (uint64_t)strikes->weight[kind] * weight;
    uint32_t bans = 0;
    if (!strikes->max || !weighted || !cidr_takes(addr)) return false;
    os_lock_take(&gate->lock);
    bool reached = sources_strike(&gate->sources, addr,
                                  weighted < UINT32_MAX ? (uint32_t)weighted : UINT32_MAX,
                                  strikes->max, (uint64_t)strikes->within_s * 1000, now_ms, &bans);
    os_lock_give(&gate->lock);
    if (!reached) return false;
    struct cidr network = cidr_around(addr, SOURCE_SUBSCRIBER_BITS);
    if (bans_add(gate->bans, &network, gate__ban_s(gate, bans), reasons[kind]) != 0) return false;
    atomic_fetch_add(&gate->strike_bans, 1);
    return true;
}

bool conn_strike(sally_conn *conn, sally_strike kind, uint32_t weight)
{
    const sally_server *server = conn->policy->server;
    if (!server || !server->gate) return false;
    struct addr peer = conn_judged_peer(conn);
    return gate_strike(server->gate, &peer, kind, weight, conn->shard->now_ms);
}

int sally_conn_strike(sally_conn *conn, uint32_t weight)
{
    if (!conn || !weight) return SALLY_EINVAL;
    const sally_server *server = conn->policy->server;
    struct addr peer = conn_judged_peer(conn);
    if (!server || !server->gate || !server->gate->strikes.max || !cidr_takes(&peer))
        return SALLY_ESTATE;
    return conn_strike(conn, SALLY_STRIKE_OWN, weight);
}

/* ---- Steering and asking ---- */

int sally_server_set_limits(sally_server *server, const sally_admission_limits *limits)
{
    if (!server || !limits) return SALLY_EINVAL;
    struct gate *gate = server->gate;
    if (!gate || !gate->has_admission) return SALLY_ESTATE;
    os_lock_take(&gate->lock);
    gate__limits(gate, limits);
    os_lock_give(&gate->lock);
    server_wake_listeners(server); /* those that wait for the old rate */
    return 0;
}

sally_bans *sally_server_bans(const sally_server *server)
{
    return server && server->gate ? server->gate->bans : NULL;
}

int sally_server_conns_from(sally_server *server, const char *text)
{
    struct addr addr;
    if (!server || !text) return SALLY_EINVAL;
    if (address_parse_peer(&addr, text) != 0) return SALLY_ENETWORK;
    if (!server->gate || !atomic_load(&server->gate->counts)) return SALLY_ESTATE;
    return (int)gate_live(server->gate, &addr);
}

static int gate__ask_to_cut(sally_server *server, struct shard *shard)
{
    struct letter_cut *cut = mem_zalloc(&server->engine->mem, sizeof *cut);
    if (!cut) return SALLY_ENOMEM;
    cut->letter.mail = (struct mail){sizeof *cut, LETTER_CUT};
    cut->server = server;
    int err = shard_post(shard, &cut->letter, false);
    if (err) mem_free(&server->engine->mem, cut, sizeof *cut);
    return err;
}

int sally_server_cut_banned(sally_server *server)
{
    if (!server) return SALLY_EINVAL;
    int err = 0;
    if (!server->gate || !server->gate->bans) return 0;
    for (unsigned i = 0; i < server->engine->shard_count; i++) {
        int failed = gate__ask_to_cut(server, server->engine->shards[i]);
        if (failed) err = failed;
    }
    return err;
}

static void conn__cut_if_banned(sally_conn *conn, const struct gate *gate)
{
    if (!conn_alive(conn) || !conn->policy->server || conn->policy->server->gate != gate) return;
    struct addr peer = conn_judged_peer(conn);
    if (cidr_takes(&peer) && bans_hold(gate->bans, &peer))
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_BANNED, 0, 0);
}

void gate_cut_banned(const struct gate *gate, struct shard *shard)
{
    for (uint32_t i = 0; i < shard->slots.capacity; i++) {
        struct port_sock *sock = slots_at(&shard->slots, i);
        if (!sock) break;
        bool taken = atomic_load_explicit(&sock->slot.generation, memory_order_acquire) & 1;
        if (taken && sock->role == ROLE_CONN) conn__cut_if_banned((sally_conn *)sock, gate);
    }
}

static void gate__stats(struct gate *gate, sally_admission_stats *stats)
{
    stats->delayed = atomic_load(&gate->delayed);
    stats->delayed_times = atomic_load(&gate->delayed_times);
    stats->strike_bans = atomic_load(&gate->strike_bans);
    os_lock_take(&gate->lock);
    stats->addresses = gate->sources.live;
    os_lock_give(&gate->lock);
}

int sally_server_admission_stats(sally_server *server, sally_admission_stats *stats)
{
    if (!server || !stats) return SALLY_EINVAL;
    *stats = (sally_admission_stats){.farewells = atomic_load(&server->farewells)};
    for (int why = 0; why < SALLY_REFUSALS; why++)
        stats->refused_for[why] = atomic_load(&server->refused_for[why]);
    if (server->gate) gate__stats(server->gate, stats);
    return 0;
}
