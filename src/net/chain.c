/* Filters of a connection: life, handshake, what comes; see chain.h. */
#include "net/chain.h"

#include <stddef.h>

#include "net/budget.h"
#include "net/engine.h"
#include "net/gate.h"
#include "net/limits.h"
#include "net/newcomer.h"
#include "net/server.h"

enum {
    STEPS_MAX = 256 /* of one connection in one turn, so that the others get theirs */
};

/* ---- Life ---- */

/* The shard's, made when it is first needed. */
static unsigned char *chain__rooms(struct shard *shard)
{
    if (!shard->filter_rooms)
        shard->filter_rooms = mem_alloc(&shard->engine->mem, STACK_ROOMS_BYTES);
    return shard->filter_rooms;
}

bool chain_attach(sally_conn *conn)
{
    const struct filters *filters = conn->policy->filters;
    struct shard *shard = conn->shard;
    if (!filters) return true;
    if (!chain__rooms(shard) || flow_need(conn)) return false;
    size_t states_bytes = filters_states_bytes(filters);
    size_t head_bytes = mem_aligned(sizeof(struct chain)); /* the states are behind it */
    size_t bytes = head_bytes + states_bytes;
    struct chain *chain = mem_zalloc(&shard->engine->mem, bytes);
    if (!chain) return false;
    chain->bytes = bytes;
    chain->states_bytes = states_bytes;
    chain->shake_due_ms = WHEEL_NEVER;
    stack_init(&chain->stack, filters, &shard->pools, shard->filter_rooms,
               (unsigned char *)chain + head_bytes);
    conn_flow(conn)->chain = chain;
    flow_flag(conn);
    return true;
}

static void chain__wait(sally_conn *conn, bool waits)
{
    struct chain *chain = conn_flow(conn)->chain;
    if (chain->waits == waits) return;
    chain->waits = waits;
    if (waits)
        atomic_fetch_add(&conn->shard->engine->greetings, 1);
    else
        atomic_fetch_sub(&conn->shard->engine->greetings, 1);
}

void chain_free(sally_conn *conn)
{
    struct chain *chain = conn_flow(conn)->chain;
    if (!chain) return;
    chain__wait(conn, false);
    stack_close(&chain->stack);
    sendq_clear(&chain->early, &conn->shard->pools);
    conn_flow(conn)->chain = NULL;
    mem_free(&conn->shard->engine->mem, chain, chain->bytes);
}

uint32_t conn_chain_early(const sally_conn *conn)
{
    const struct chain *chain = conn_chain(conn);
    return chain ? chain->early.bytes : 0;
}

uint32_t conn_chain_holds(const sally_conn *conn)
{
    const struct chain *chain = conn_chain(conn);
    if (!chain) return 0;
    return (uint32_t)chain->states_bytes + stack_holds(&chain->stack) + chain->early.bytes;
}

/* What a peer has done is for who looks closely, a mistake of our own filters for everybody. */
void chain_blame(const sally_conn *conn, sally_log_level level, int error)
{
    const sally_engine *engine = conn->shard->engine;
    const struct chain *chain = conn_chain(conn);
    if (!chain->stack.blamed) return;
    engine_log(engine, level, "connection %llx: filter %s: %s",
               (unsigned long long)sally_conn_id(conn), chain->stack.blamed, sally_strerror(error));
}

/* ---- Handshake ---- */

/* Refused, and told nobody but an outgoing one's handler. What filters have said to that, such as
 * why, still goes out. */
static void chain__fail(sally_conn *conn, int error, int sys_error)
{
    struct shard *shard = conn->shard;
    sally_server *server = conn->policy->server;
    chain_blame(conn, SALLY_LOG_DEBUG, error);
    conn_chain(conn)->failed = true;
    if (server) {
        if (conn_bytes_in(conn))
            (void)conn_strike(conn, SALLY_STRIKE_HANDSHAKE, 1);
        else if (error == SALLY_ETIMEDOUT)
            (void)conn_strike(conn, SALLY_STRIKE_SILENCE, 1);
        newcomer_count_refused(server, shard, SALLY_REFUSED_HANDSHAKE);
    } else {
        counter_add(&shard->counters.connect_failures, 1);
    }
    if (conn->state == CONN_SHAKING) conn_send_off(conn, SALLY_CLOSE_HANDSHAKE, error, sys_error);
}

static sally_refusal refusal_of(sally_close_reason reason)
{
    switch (reason) {
    case SALLY_CLOSE_LOCAL:
    case SALLY_CLOSE_SHUTDOWN:
    case SALLY_CLOSE_DRAIN_TIMEOUT: return SALLY_REFUSED_CLOSING;
    case SALLY_CLOSE_BANNED: return SALLY_REFUSED_BANNED;
    case SALLY_CLOSE_MEMORY:
    case SALLY_CLOSE_NO_MEMORY: return SALLY_REFUSED_NO_MEMORY;
    default: return SALLY_REFUSED_HANDSHAKE;
    }
}

void chain_ended(sally_conn *conn, sally_close_reason reason)
{
    struct chain *chain = conn_chain(conn);
    if (chain->failed) return; /* that was counted */
    chain->failed = true;
    if (conn->policy->server)
        newcomer_count_refused(conn->policy->server, conn->shard, refusal_of(reason));
    else if (refusal_of(reason) != SALLY_REFUSED_CLOSING && reason != SALLY_CLOSE_ABORTED)
        counter_add(&conn->shard->counters.connect_failures, 1);
}

static void chain__open(sally_conn *conn)
{
    chain_send_early(conn);
    if (conn->state != CONN_SHAKING) return;
    chain__wait(conn, false);
    conn_open(conn);
}

/* After anything that a filter was asked. */
static void chain__look(sally_conn *conn)
{
    chain_reply(conn);
    if (conn->state == CONN_SHAKING && stack_is_ready(&conn_chain(conn)->stack)) chain__open(conn);
}

void chain_begin(sally_conn *conn)
{
    struct chain *chain = conn_flow(conn)->chain;
    uint64_t now_ms = conn->shard->now_ms;
    flow_flag(conn);
    conn_set_state(conn, CONN_SHAKING);
    chain->early = conn->out; /* no filter has seen it */
    conn->out = (struct sendq){0};
    conn->flags &= (uint16_t)~CONN_AUTO_PAUSED; /* nothing of it will go before the handshake has */
    chain__wait(conn, conn->policy->server != NULL);
    chain->shake_due_ms = policy_due_ms(now_ms, conn->policy->first_byte_ms);
    conn->active_ms = conn->write_ms = now_ms & CONN_MS_MAX;
    flow_queued(conn);
    int err = stack_open(&chain->stack, conn);
    if (err)
        chain__fail(conn, err, 0);
    else
        chain__look(conn);
    if (conn->state != CONN_SHAKING) return;
    conn_update_timer(conn);
    shard_mark_dirty(conn->shard, conn); /* it reads and sends from there */
}

uint64_t chain_due_ms(const sally_conn *conn) { return conn_chain(conn)->shake_due_ms; }

void chain_on_timer(sally_conn *conn)
{
    if (chain_due_ms(conn) <= conn->shard->now_ms) chain__fail(conn, SALLY_ETIMEDOUT, 0);
}

void chain_gone(sally_conn *conn, int error, int sys_error)
{
    conn->flags |= CONN_EOF; /* nothing waits for its end any more */
    chain__fail(conn, error ? error : SALLY_ECLOSED, sys_error);
}

/* ---- What comes ---- */

static bool chain__goes_on(const sally_conn *conn)
{
    return conn_takes_in(conn) && !conn_has(conn, CONN_STOPS);
}

/* False when there is nothing. Taken out meanwhile: the handler may close the connection, which
 * drops what waits, and still read these bytes until it returns. */
static bool chain__hand_up(sally_conn *conn)
{
    struct sendq *made = stack_made(&conn_chain(conn)->stack), taken = *made;
    const sally_handler *handler = &conn->policy->handler;
    if (!taken.bytes || conn->state != CONN_OPEN) return false;
    *made = (struct sendq){0};
    struct span span = sendq_front(&taken);
    size_t used = span.len;
    if (conn->policy->framing)
        used = conn_deliver_messages(conn, span.data, span.len);
    else if (handler->on_data)
        handler->on_data(conn, span.data, span.len);
    if (conn->state != CONN_OPEN) used = span.len;
    sendq_consume(&taken, &conn->shard->pools, used);
    *made = taken;
    return true;
}

static void chain__refuse(sally_conn *conn, int error)
{
    if (error == SALLY_ENOMEM) {
        conn_broken(conn, error, 0);
    } else if (conn->state == CONN_SHAKING) {
        chain__fail(conn, error, 0);
    } else {
        chain_blame(conn, SALLY_LOG_DEBUG, error);
        (void)conn_strike(conn, SALLY_STRIKE_MALFORMED, 1);
        conn_close(conn, SALLY_CLOSE_FILTER);
        conn->error = (int16_t)error;
    }
}

/* One call of a filter; false: there is nothing to do. */
static bool chain__step(sally_conn *conn, struct stack_wire *wire)
{
    struct stack *stack = &conn_chain(conn)->stack;
    int did = stack_step(stack, wire);
    if (!did) return false;
    if (did < 0)
        chain_reply(conn); /* to say why */
    else
        chain__look(conn);
    bool early = conn->state == CONN_SHAKING && stack_made(stack)->bytes;
    if (early && did > 0) did = SALLY_EINVAL; /* a filter that isn't ready makes nothing */
    if (did < 0 && conn_takes_in(conn)) chain__refuse(conn, did);
    return did > 0;
}

static void chain__fall_behind(sally_conn *conn)
{
    conn_chain(conn)->behind = true;
    conn_update_waits(conn);
    shard_mark_dirty(conn->shard, conn);
}

size_t chain_feed(sally_conn *conn, const void *data, size_t len)
{
    struct chain *chain = conn_chain(conn);
    struct stack_wire wire = {.data = data, .len = len, .over = chain->wire_over};
    for (unsigned steps = 0; chain__goes_on(conn); steps++) {
        if (steps == STEPS_MAX)
            chain__fall_behind(conn);
        else if (!chain__hand_up(conn) && !chain__step(conn, &wire))
            break;
    }
    flow_queued(conn);
    if (conn->policy->conn_bytes_max) budget_bound(conn);
    return wire.used;
}

void chain_end_input(sally_conn *conn)
{
    conn_chain(conn)->wire_over = true;
    (void)chain_feed(conn, NULL, 0);
}

bool chain_is_pending(const sally_conn *conn)
{
    const struct chain *chain = conn_chain(conn);
    return chain && stack_is_pending(&chain->stack, chain->wire_over);
}

bool chain_is_over(const sally_conn *conn)
{
    const struct chain *chain = conn_chain(conn);
    return chain && stack_is_over(&chain->stack);
}

bool chain_is_behind(const sally_conn *conn)
{
    const struct chain *chain = conn_chain(conn);
    return chain && chain->behind;
}

void chain_go_on(sally_conn *conn)
{
    if (!chain_is_behind(conn)) return;
    conn_chain(conn)->behind = false;
    conn_update_waits(conn);
    conn_restart_message(conn);
    if (conn_limits(conn)) limits_resumed(conn);
}

void chain_drop_input(sally_conn *conn)
{
    struct chain *chain = conn_chain(conn);
    if (chain) stack_drop(&chain->stack);
}
