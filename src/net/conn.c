/* The life of a connection; see conn.h. */
#include "net/conn.h"

#include <assert.h>
#include <string.h>

#include "filter/framer.h"
#include "net/budget.h"
#include "net/chain.h"
#include "net/client.h"
#include "net/dial.h"
#include "net/file_send.h"
#include "net/flow.h"
#include "net/gate.h"
#include "net/greeting.h"
#include "net/group.h"
#include "net/guest.h"
#include "net/inbound.h"
#include "net/limits.h"
#include "net/lobby.h"
#include "net/newcomer.h"
#include "net/produce.h"
#include "net/record.h"
#include "net/server.h"
#include "net/throttle.h"
#include "net/tunnel.h"
#include "net/websocket.h"

/* ---- Begin ---- */

void conn_init(sally_conn *conn, struct shard *shard, struct policy *policy)
{
    conn->sock.handle = PORT_NO_HANDLE;
    conn->sock.role = ROLE_CONN;
    conn->shard = shard;
    conn->policy = policy;
    conn->user = policy->handler.user;
    conn_set_state(conn, CONN_NEW);
    conn->timer.kind = TIMER_CONN;
    conn->opened_ms = shard->now_ms & CONN_MS_MAX;
}

sally_conn *conn_name(struct shard *shard, const struct policy *policy)
{
    sally_conn *conn = slots_take(&shard->slots);
    if (!conn) return NULL;
    inbound_open(&shard->inbound[conn->sock.slot.index], policy->send_bytes_max,
                 policy->framing ? policy->framing->number : 0);
    return conn;
}

/* ---- The cold part ---- */

size_t conn_extra_own_bytes(const sally_conn *conn)
{
    if (conn->policy->route) return sizeof(struct conn_extra_tunnel);
    return conn->proxied ? sizeof(struct conn_extra_proxied) : sizeof(struct conn_extra);
}

static size_t conn__extra_bytes(const sally_conn *conn)
{
    size_t bytes = conn_extra_own_bytes(conn);
    return conn->ws_extra ? bytes + sizeof(struct ws_conn) : bytes;
}

struct conn_extra *conn_extra(sally_conn *conn)
{
    assert(conn->state != CONN_DIALING);
    if (conn->extra) return conn->extra;
    conn->ws_extra = conn->policy->ws != NULL;
    conn->extra = mem_zalloc(&conn->shard->engine->mem, conn__extra_bytes(conn));
    return conn->extra;
}

static void conn__free_extra(sally_conn *conn)
{
    if (!conn->extra) return;
    assert(!conn->extra->held);
    if (conn->policy->route) tunnel_free(conn);
    mem_free(&conn->shard->engine->mem, conn->extra, conn__extra_bytes(conn));
    conn->extra = NULL;
}

bool conn_set_peer(sally_conn *conn, const struct addr *peer)
{
    if (peer->family == ADDR_V6) {
        if (!conn_extra(conn)) return false;
        conn->extra->peer_scope = peer->scope;
        memcpy(conn->extra->peer_ip, peer->ip, sizeof peer->ip);
    }
    conn->peer_family = peer->family;
    conn->peer_port = peer->port;
    memcpy(conn->peer_v4, peer->ip, sizeof conn->peer_v4);
    return true;
}

struct addr conn_peer(const sally_conn *conn)
{
    if (conn->state == CONN_DIALING) return conn->dial->peer;
    struct addr peer = {.family = conn->peer_family, .port = conn->peer_port};
    if (peer.family == ADDR_V6) {
        peer.scope = conn->extra->peer_scope;
        memcpy(peer.ip, conn->extra->peer_ip, sizeof peer.ip);
    } else {
        memcpy(peer.ip, conn->peer_v4, sizeof conn->peer_v4);
    }
    return peer;
}

/* ---- Accepted ---- */

/* The name and what belongs to it; nobody was told of the connection. */
static void conn__unname(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    struct inbound *account = &shard->inbound[conn->sock.slot.index];
    inbound_close(account);
    if (account->jobs) account->jobs = 0; /* they will find nobody */
    slots_give(&shard->slots, conn);
}

static bool conn__set_source(sally_conn *conn, uint32_t source)
{
    if (!source) return true;
    if (!conn_extra(conn)) return false;
    conn->extra->source = source;
    return true;
}

static void adopt__unmake(sally_conn *conn)
{
    limits_detach(conn);
    flow_free(conn);
    conn__free_extra(conn);
    conn__unname(conn);
}

/* NULL without room or memory. */
static sally_conn *adopt__make(struct shard *shard, struct policy *policy,
                               const struct newcomer *newcomer)
{
    sally_conn *conn = conn_name(shard, policy);
    if (!conn) return NULL;
    conn_init(conn, shard, policy);
    conn->proxied = newcomer->proxied_at != NULL;
    if (limits_attach(conn) && throttle_attach(conn) && chain_attach(conn) &&
        conn_set_peer(conn, &newcomer->peer) && conn__set_source(conn, newcomer->source) &&
        (!conn->proxied || greeting_make(conn, newcomer)))
        return conn;
    adopt__unmake(conn);
    return NULL;
}

static void adopt__undo(struct shard *shard, struct policy *policy, const struct newcomer *newcomer)
{
    bool stops = engine_stopping(shard->engine);
    newcomer_count_refused(policy->server, shard,
                           stops ? SALLY_REFUSED_CLOSING : SALLY_REFUSED_NO_MEMORY);
    if (newcomer->source) gate_leave(policy->server->gate, newcomer->source);
    port_refuse(shard->port, newcomer->handle, PORT_CLOSE_RST);
    atomic_fetch_sub(&shard->conns, 1);
    server_release_conn(policy->server);
    policy_release(policy);
}

void conn_adopt(struct shard *shard, struct policy *policy, const struct newcomer *newcomer,
                bool inherits)
{
    sally_conn *conn = NULL;
    if (!engine_stopping(shard->engine)) conn = adopt__make(shard, policy, newcomer);
    if (!conn) {
        adopt__undo(shard, policy, newcomer);
        return;
    }
    conn->counted_server = true;
    port_attach(shard->port, &conn->sock, newcomer->handle, inherits ? NULL : &policy->sock);
    if (conn->proxied) {
        greeting_begin(conn, &newcomer->first);
        return;
    }
    conn_begin(conn);
    if (newcomer->first.len) conn_first_bytes(conn, &newcomer->first);
}

void conn_begin(sally_conn *conn)
{
    if (conn->policy->filters)
        chain_begin(conn);
    else
        conn_open(conn);
}

void conn_open(sally_conn *conn)
{
    uint64_t now = conn->shard->now_ms;
    bool waits = conn->policy->server; /* a server may wait for us */
    if (conn->policy->client && !client_wants(conn->policy->client)) {
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_LOCAL, SALLY_ECANCELED, 0);
        return;
    }
    conn_set_state(conn, CONN_OPEN);
    if (!waits && !conn->policy->guest) counter_add(&conn->shard->counters.connected, 1);
    conn->opened_ms = conn->active_ms = conn->write_ms = now & CONN_MS_MAX;
    conn->on_open_ran = true;
    if (!waits) conn->flags |= CONN_FIRST_BYTE;
    if (conn->policy->has_budget) conn->flags |= CONN_FLOW;
    if (!conn_has(conn, CONN_FIRST_BYTE)) conn->first_from_ms = now;
    if (conn_limits(conn)) limits_begin(conn);
    if (conn->out.bytes) shard_mark_dirty(conn->shard, conn); /* sent by id before it was open */
    if (conn->policy->framing) conn_update_waits(conn);       /* it may have to be asked for */
    if (conn->policy->client) client_on_open(conn->policy->client, conn);
    if (conn->policy->handler.on_open) conn->policy->handler.on_open(conn);
    if (conn_has(conn, CONN_DRAIN_DUE)) conn_owe_drain(conn);
    /* one of these reads already, and the end of that may be among the events at hand */
    if (conn->proxied || conn->policy->route || conn->policy->filters)
        shard_mark_dirty(conn->shard, conn);
    else
        conn_update_reading(conn);
    conn_update_timer(conn);
}

/* ---- Middle ---- */

void conn_on_event(sally_conn *conn, const struct port_event *event)
{
    if (conn->state < CONN_SHAKING) {
        if (conn->state == CONN_GREETING)
            greeting_on_event(conn, event);
        else if (conn->state == CONN_TUNNELING)
            tunnel_on_event(conn, event);
        else
            dial_on_event(conn, event);
        return;
    }
    switch ((enum port_op)event->op) {
    case PORT_RECV: conn_on_recv(conn, event); return;
    case PORT_SEND: conn_on_sent(conn, event); return;
    case PORT_CLOSE: conn_finish(conn); return;
    case PORT_ACCEPT:
    case PORT_CONNECT: /* ended by port_close while it was dialing */
    case PORT_OPS: return;
    }
}

/* Our side has nothing left to say: FIN, and then the peer's is waited for. */
static void conn__said_all(sally_conn *conn)
{
    bool closing = conn->state == CONN_DRAINING;
    if (closing && conn_has(conn, CONN_EOF | CONN_EOF_HELD)) {
        conn_end(conn, PORT_CLOSE_FIN, (sally_close_reason)conn->reason, conn->error,
                 conn->sys_error);
        return;
    }
    if (!conn_has(conn, CONN_SHUT)) {
        conn->flags |= CONN_SHUT;
        record_add_more(conn, RECORD_SHUT);
        /* what it fails with, the receive will say too */
        (void)port_shutdown(conn->shard->port, &conn->sock);
    }
    if (!closing) return;
    conn_set_state(conn, CONN_LINGERING);
    record_add_more(conn, RECORD_LINGERING);
    conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    conn_update_reading(conn);
    conn_update_timer(conn);
}

void conn_progress(sally_conn *conn)
{
    if (conn_is_plain(conn)) {
        if (conn->out.bytes && conn_flush_plain(conn)) return;
        if (conn_is_plain(conn) && conn_in_flight(conn, PORT_RECV) && conn_write_is_timed(conn))
            return;
    }
    if (conn_has(conn, CONN_FLOW)) chain_go_on(conn);
    if (conn_takes_in(conn) && conn_has(conn, CONN_HELD | CONN_EOF_HELD)) conn_deliver_held(conn);
    if (conn_has(conn, CONN_FLOW)) produce_turn(conn);
    if (!conn_alive(conn)) return;
    if (conn->out.bytes) conn_flush(conn);
    if (conn_has(conn, CONN_FLOW)) flow_notify(conn);
    if (!conn_alive(conn)) return;
    conn_update_reading(conn);
    if (conn->out.bytes) {
        conn_update_timer(conn);
        return;
    }
    bool finish = conn->state == CONN_DRAINING || conn_has(conn, CONN_SHUT_ASKED);
    if (!finish || conn_in_flight(conn, PORT_SEND) || conn->state == CONN_LINGERING ||
        produce_runs(conn))
        return;
    if (conn_chain(conn) && chain_finish(conn))
        shard_mark_dirty(conn->shard, conn); /* that goes out first */
    else
        conn__said_all(conn);
}

/* ---- End ---- */

static void conn__tell_reason(sally_conn *conn, sally_close_reason reason, int error, int sys_error)
{
    conn->has_reason = true;
    conn->reason = (uint8_t)reason;
    conn->error = (int16_t)error;
    conn->sys_error = (uint16_t)(sys_error > 0 && sys_error <= UINT16_MAX ? sys_error : 0);
}

/* What the peer sent could not be read: that stays the reason, also when the peer then
 * resets, or says nothing until its time is over. */
static bool conn__was_refused(const sally_conn *conn)
{
    return conn->has_reason &&
           (conn->reason == SALLY_CLOSE_MESSAGE_TOO_LONG || conn->reason == SALLY_CLOSE_MALFORMED ||
            conn->reason == SALLY_CLOSE_FILTER || conn->reason == SALLY_CLOSE_HANDSHAKE);
}

/* The library closed it gently for a cause of its own, and all has gone out: that cause stays,
 * however the peer takes its leave. What still waits to go out is lost by such an end, which is the
 * more telling cause then. */
static bool conn__had_said_all(const sally_conn *conn, sally_close_reason now)
{
    bool ours = conn->reason == SALLY_CLOSE_MAX_AGE || conn->reason == SALLY_CLOSE_SHUTDOWN;
    bool leave = now == SALLY_CLOSE_LINGER_TIMEOUT || now == SALLY_CLOSE_PEER_RESET ||
                 now == SALLY_CLOSE_NETWORK;
    return conn->state == CONN_LINGERING && conn->has_reason && ours && leave;
}

void conn_close_by_us(sally_conn *conn)
{
    bool answers = conn_has(conn, CONN_EOF); /* the peer began */
    conn_close(conn, answers ? SALLY_CLOSE_PEER_CLOSED : SALLY_CLOSE_LOCAL);
}

static void conn__close(sally_conn *conn, sally_close_reason reason)
{
    const uint8_t state = conn->state;
    if (!conn->has_reason) conn__tell_reason(conn, reason, 0, 0);
    if (conn->policy->ws) ws_closing(conn, reason);
    if (conn->state != state) return; /* the goodbye has ended it, or closed it in its turn */
    conn_set_state(conn, CONN_DRAINING);
    record_add_more(conn, RECORD_CLOSING);
    conn->user_due_ms = 0;
    conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    conn_drop_held(conn);
    carry_close(conn_carry(conn), &conn->shard->engine->mem);
    if (conn_has(conn, CONN_FLOW)) {
        chain_drop_input(conn);
        flow_queued(conn); /* less is */
        flow_closing(conn);
    }
    shard_mark_dirty(conn->shard, conn);
}

void conn_close(sally_conn *conn, sally_close_reason reason)
{
    if (conn->state < CONN_OPEN)
        conn_end(conn, PORT_CLOSE_RST, reason, SALLY_ECANCELED, 0);
    else if (conn->state == CONN_OPEN)
        conn__close(conn, reason);
}

void conn_send_off(sally_conn *conn, sally_close_reason reason, int error, int sys_error)
{
    if (!conn->out.bytes || conn_has(conn, CONN_EOF | CONN_EOF_HELD)) {
        conn_end(conn, PORT_CLOSE_FIN, reason, error, sys_error);
        return;
    }
    conn__tell_reason(conn, reason, error, sys_error);
    conn__close(conn, reason);
}

void conn_end(sally_conn *conn, enum port_close_mode mode, sally_close_reason reason, int error,
              int sys_error)
{
    if (conn->state >= CONN_ENDING) return;
    if (conn->state == CONN_SHAKING) chain_ended(conn, reason);
    if (produce_runs(conn) || conn_files(conn)) mode = PORT_CLOSE_RST; /* a part is not the whole */
    if (conn__had_said_all(conn, reason)) reason = (sally_close_reason)conn->reason;
    if (!conn__was_refused(conn)) conn__tell_reason(conn, reason, error, sys_error);
    wheel_cancel(&conn->shard->wheel, &conn->timer);
    bool dialing = conn->state == CONN_DIALING;
    bool closing = dialing && conn->dial->closing;
    conn_set_state(conn, CONN_ENDING);
    if (dialing)
        (void)dial_drop(conn); /* without memory the address is not told */
    else
        conn_drop_held(conn);
    throttle_end(conn);
    if (conn->proxied) greeting_end(conn);
    carry_close(conn_carry(conn), &conn->shard->engine->mem);
    if (!closing) port_close(conn->shard->port, &conn->sock, mode);
}

/* ---- Jobs ---- */

uint32_t conn_jobs(const sally_conn *conn)
{
    return conn->shard->inbound[conn->sock.slot.index].jobs;
}

void conn_job_begun(sally_conn *conn) { conn->shard->inbound[conn->sock.slot.index].jobs++; }

void conn_job_ended(struct shard *shard, sally_id id)
{
    sally_conn *conn = shard_find(shard, id);
    if (!conn || conn->sock.role != ROLE_CONN) return;
    assert(conn_jobs(conn));
    shard->inbound[id_slot(id)].jobs--;
    /* open though a drain has begun: it was left so for its jobs */
    if (!conn_jobs(conn) && conn->state == CONN_OPEN && shard->stop_seen == STOP_DRAIN)
        conn_close(conn, SALLY_CLOSE_SHUTDOWN);
}

void conn_close_after_jobs(sally_conn *conn)
{
    if (conn->state != CONN_OPEN || !conn_jobs(conn)) {
        conn_close(conn, SALLY_CLOSE_SHUTDOWN);
        return;
    }
    conn->flags |= CONN_PAUSED;
    record_add_more(conn, RECORD_PAUSED);
    conn_update_reading(conn);
}

static sally_close_reason reason_of(int error)
{
    switch (error) {
    case SALLY_ERESET: return SALLY_CLOSE_PEER_RESET;
    case SALLY_ENOMEM:
    case SALLY_EEXHAUSTED: return SALLY_CLOSE_NO_MEMORY;
    default: return SALLY_CLOSE_NETWORK;
    }
}

void conn_broken(sally_conn *conn, int error, int sys_error)
{
    sally_close_reason reason = reason_of(error);
    if (conn->state == CONN_SHAKING && reason != SALLY_CLOSE_NO_MEMORY)
        chain_gone(conn, error, sys_error); /* whichever way it is heard of first */
    else
        conn_end(conn, PORT_CLOSE_RST, reason, error, sys_error);
}

static void conn__release(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    struct policy *policy = conn->policy;
    sally_server *server = conn->counted_server ? policy->server : NULL;
    if (conn_source(conn)) gate_leave(server->gate, conn_source(conn));
    limits_detach(conn);
    conn__free_extra(conn);
    conn__unname(conn);
    atomic_fetch_sub(&shard->conns, 1);
    if (server)
        server_release_conn(server);
    else if (policy->guest)
        guest_release(shard->engine);
    else
        engine_release_conn(shard->engine);
    policy_release(policy);
}

uint32_t conn_unsent(const sally_conn *conn)
{
    uint64_t dropped = 0;
    (void)sally_conn_dropped(conn, &dropped);
    uint64_t unsent = dropped + conn_queued(conn) + conn_chain_early(conn);
    return unsent < UINT32_MAX ? (uint32_t)unsent : UINT32_MAX;
}

uint32_t conn_holds(const sally_conn *conn)
{
    uint32_t held = conn_held(conn) ? conn_held(conn)->queue.bytes : 0;
    const struct carry *carry = conn_carry(conn);
    uint32_t begun = carry && carry->bytes ? carry->len : 0; /* else only its length is known */
    if (conn->policy->ws) begun += ws_holds(conn);
    return conn->out.bytes + held + begun + conn_chain_holds(conn);
}

static void conn__log_end(const sally_conn *conn)
{
    const sally_engine *engine = conn->shard->engine;
    if (engine->options.log_level < SALLY_LOG_DEBUG) return;
    char peer[64], why[400];
    engine_log(engine, SALLY_LOG_DEBUG, "connection %llx of %s: %s",
               (unsigned long long)sally_conn_id(conn), sally_conn_peer(conn, peer, sizeof peer),
               sally_conn_why(conn, why, sizeof why));
}

/* A client's attempts that fail are its own to tell. */
static void conn__tell_closed(sally_conn *conn, const sally_close_info *info)
{
    const sally_handler *handler = &conn->policy->handler;
    sally_client *client = conn->policy->client;
    bool opened = conn->on_open_ran;
    if (client) client_on_closing(client);
    bool told = opened || (!client && !conn_is_unknown(conn));
    if (handler->on_close && told) handler->on_close(conn, info);
    if (client) client_on_conn_end(client, opened, info);
}

void conn_finish(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    sally_close_info info = {
        .reason = (sally_close_reason)conn->reason,
        .error = conn->error,
        .sys_error = conn->sys_error,
        .bytes_in = conn_bytes_in(conn),
        .bytes_out = conn->bytes_out,
        .bytes_unsent = conn_unsent(conn),
        .bytes_truncated = conn_message_bytes(conn),
    };
    conn_set_state(conn, CONN_GONE);
    conn__log_end(conn);
    if (conn_has_groups(conn)) group_leave_all(&conn->extra->groups);
    if (conn_carry(conn)) {
        carry_free(conn->extra->carry, &shard->engine->mem);
        conn->extra->carry = NULL;
    }
    if (!conn_is_unknown(conn)) counter_add(&shard->counters.closed, 1);
    if (conn->cut) {
        atomic_fetch_add(&shard->engine->stop_cut, 1);
        atomic_fetch_add(&shard->engine->stop_unsent, info.bytes_unsent);
    }
    flow_end(conn);
    conn__tell_closed(conn, &info);
    if (conn->policy->has_budget) budget_charge(conn);
    conn_drop_queue(conn); /* what was left of it is told until here */
    flow_free(conn);
    assert(!timer_is_set(&conn->timer));
    if (conn_has(conn, CONN_DIRTY)) return; /* released when the dirty list gets to it */
    conn__release(conn);
}

void conn_release(sally_conn *conn) { conn__release(conn); }
