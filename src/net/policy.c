#include "net/policy.h"

#include <string.h>

#include "base/sendq.h"
#include "filter/filters.h"
#include "net/engine.h"
#include "net/route.h"
#include "net/throttle.h"
#include "net/websocket.h"
#include "sallyport/framing.h"

enum {
    FIRST_BYTE_MS = 30 * 1000,
    IDLE_MS = 600 * 1000,
    WRITE_STALL_MS = 30 * 1000,
    LINGER_MS = 10 * 1000,
    MESSAGE_MS = 60 * 1000, /* 1 MiB at 140 kbit/s */
    RATE_WINDOW_MS = 10 * 1000,
};

static uint64_t time_or(uint32_t ms, uint32_t otherwise)
{
    if (ms == SALLY_FOREVER) return POLICY_NEVER;
    return ms ? ms : otherwise;
}

static int policy__queue(struct policy *policy, const sally_conn_options *options)
{
    uint32_t max = options->send_bytes_max ? options->send_bytes_max : POLICY_SEND_BYTES_MAX;
    if (options->memory_max && max > options->memory_max) max = options->memory_max;
    uint32_t high = options->send_high_bytes ? options->send_high_bytes : max / 4;
    uint32_t low = options->send_low_bytes ? options->send_low_bytes : high / 4;
    if (max > SENDQ_BYTES_LIMIT || high > max || low > high) return SALLY_EINVAL;
    if (options->at_full > SALLY_FULL_CLOSE) return SALLY_EINVAL;
    policy->send_bytes_max = max;
    policy->send_high_bytes = high;
    policy->send_low_bytes = low;
    policy->send_plain_bytes = options->at_full == SALLY_FULL_DROP_OLDEST ? 0 : low;
    return 0;
}

static uint64_t time_or_never(uint32_t ms) { return time_or(ms ? ms : SALLY_FOREVER, 0); }

static int policy__more(struct policy_more *more, const sally_conn_limits *limits)
{
    more->idle_read_ms = time_or_never(limits->idle_read_ms);
    more->idle_write_ms = time_or_never(limits->idle_write_ms);
    more->max_age_ms = time_or_never(limits->max_age_ms);
    more->heartbeat_ms = time_or_never(limits->heartbeat_ms);
    more->heartbeat_dead_ms = time_or_never(limits->heartbeat_dead_ms);
    more->min_send_bytes_s = limits->min_send_bytes_s;
    more->min_recv_bytes_s = limits->min_recv_bytes_s;
    more->rate_window_ms = limits->rate_window_ms ? limits->rate_window_ms : RATE_WINDOW_MS;
    more->age_spread_ms = limits->age_spread_ms;
    if (more->rate_window_ms == SALLY_FOREVER || more->age_spread_ms > limits->max_age_ms)
        return SALLY_EINVAL;
    uint64_t earliest = more->idle_read_ms;
    if (more->idle_write_ms < earliest) earliest = more->idle_write_ms;
    if (more->max_age_ms < earliest) earliest = more->max_age_ms;
    if (more->heartbeat_ms < earliest) earliest = more->heartbeat_ms;
    if (more->heartbeat_dead_ms < earliest) earliest = more->heartbeat_dead_ms;
    more->any = earliest != POLICY_NEVER || more->min_send_bytes_s || more->min_recv_bytes_s;
    return 0;
}

/* A handler for the other way of receiving would never hear anything. */
static int policy__framing(struct policy *policy, sally_engine *engine,
                           const sally_framing *framing)
{
    const sally_handler *handler = &policy->handler;
    bool framed = framing && framing->kind != SALLY_FRAMING_NONE;
    bool deaf = framed ? handler->on_data && !handler->on_message
                       : handler->on_message && !handler->on_data;
    int err = deaf ? SALLY_EINVAL : framings_use(engine, framing, &policy->framing);
    if (!err) err = ws_match(policy->framing, handler, !policy->server, &policy->ws);
    if (policy->ws) policy->send_plain_bytes = 0; /* each send by id is looked at */
    return err;
}

static int policy__rates(struct policy *policy, const sally_engine *engine,
                         const sally_rates *plain)
{
    sally_rates rates;
    int err = rates_fill(&rates, engine, plain);
    if (err) return err;
    policy->rates = rates;
    policy->has_rates = rates.recv.bytes_s || rates.send.bytes_s || rates.shared;
    if (rates.shared) bandwidth_ref(rates.shared);
    return 0;
}

/* Whole sends can't be dropped from a stream that filters have made, and a budget below what the
 * states need would end every connection with its first byte. */
static int policy__filters(struct policy *policy, const sally_conn_options *options)
{
    int err =
        filters_create(&policy->filters, policy->mem, options->filters, options->filter_count);
    if (err || !policy->filters) return err;
    if (options->at_full == SALLY_FULL_DROP_OLDEST) return SALLY_EINVAL;
    bool fits = filters_states_bytes(policy->filters) < options->memory_max;
    return !options->memory_max || fits ? 0 : SALLY_EINVAL;
}

int policy_create(struct policy **out, sally_engine *engine, sally_server *server,
                  const sally_handler *handler, const sally_conn_options *options)
{
    struct mem *mem = &engine->mem;
    struct policy *policy = mem_zalloc(mem, sizeof *policy);
    if (!policy) return SALLY_ENOMEM;
    atomic_init(&policy->refs, 1);
    policy->mem = mem;
    policy->server = server;
    policy->handler = *handler;
    policy->first_byte_ms = time_or(options->first_byte_ms, FIRST_BYTE_MS);
    policy->idle_ms = time_or(options->idle_ms, IDLE_MS);
    policy->write_stall_ms = time_or(options->write_stall_ms, WRITE_STALL_MS);
    policy->linger_ms = time_or(options->linger_ms, LINGER_MS);
    policy->at_full = options->at_full;
    policy->conn_bytes_max = options->memory_max;
    policy->has_budget = mem->bytes_max != SIZE_MAX || options->memory_max;
    policy->no_recorder = options->no_recorder;
    policy->message_ms = time_or(options->message_ms, MESSAGE_MS);
    policy->auto_pause = !options->no_auto_pause;
    policy->sock.delay = options->delay;
    policy->sock.keepalive_s = options->keepalive_s;
    policy->sock.send_buf_bytes = options->send_buf_bytes;
    policy->sock.recv_buf_bytes = options->recv_buf_bytes;
    int err = policy__queue(policy, options);
    if (!err) err = policy__framing(policy, engine, options->framing);
    if (!err) err = policy__more(&policy->more, &options->limits);
    if (!err) err = policy__rates(policy, engine, options->rates);
    if (!err) err = policy__filters(policy, options);
    if (err) {
        policy_release(policy);
        return err;
    }
    *out = policy;
    return 0;
}

struct policy *policy_ref(struct policy *policy)
{
    atomic_fetch_add_explicit(&policy->refs, 1, memory_order_relaxed);
    return policy;
}

void policy_release(struct policy *policy)
{
    if (!policy) return;
    if (atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) != 1) return;
    if (policy->rates.shared) bandwidth_unref(policy->rates.shared);
    route_free(policy);
    if (policy->filters) filters_free(policy->filters, policy->mem);
    mem_free(policy->mem, policy, sizeof *policy);
}
