/* Time limits. One timer serves them all: it is set to the earliest and, when it fires, what has
 * moved meanwhile is looked at again. So traffic costs no timer operation: it only notes the time.
 */
#include "filter/framer.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/dial.h"
#include "net/flow.h"
#include "net/gate.h"
#include "net/greeting.h"
#include "net/limits.h"
#include "net/record.h"
#include "net/throttle.h"
#include "net/tunnel.h"
#include "net/websocket.h"

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t first_byte_due(const sally_conn *conn)
{
    if (conn_has(conn, CONN_FIRST_BYTE)) return WHEEL_NEVER;
    return policy_due_ms(conn->first_from_ms, conn->policy->first_byte_ms);
}

static uint64_t write_due(const sally_conn *conn)
{
    if (!conn->out.bytes || flow_holds(conn) || throttle_holds(conn)) return WHEEL_NEVER;
    return policy_due_ms(conn->write_ms, conn->policy->write_stall_ms);
}

/* A peer can't finish what isn't read. */
static uint64_t message_due(const sally_conn *conn)
{
    const struct carry *carry = conn_carry(conn);
    uint64_t began = carry && carry->bytes ? carry->began_ms : WHEEL_NEVER;
    if (conn->policy->ws && ws_began_ms(conn)) began = earlier(began, ws_began_ms(conn));
    if (began == WHEEL_NEVER || conn_has(conn, CONN_STOPS)) return WHEEL_NEVER;
    return policy_due_ms(began, conn->policy->message_ms);
}

static uint64_t idle_due(const sally_conn *conn)
{
    return throttle_waits(conn) ? WHEEL_NEVER
                                : policy_due_ms(conn->active_ms, conn->policy->idle_ms);
}

static uint64_t open_due(sally_conn *conn)
{
    uint64_t due = earlier(first_byte_due(conn), write_due(conn));
    due = earlier(due, earlier(idle_due(conn), flow_due_ms(conn)));
    due = earlier(due, message_due(conn));
    if (conn_limits(conn)) due = earlier(due, limits_due_ms(conn));
    return conn->user_due_ms ? earlier(due, conn->user_due_ms) : due;
}

static uint64_t draining_due(sally_conn *conn)
{
    uint64_t due = earlier(write_due(conn), flow_due_ms(conn));
    return conn_limits(conn) ? earlier(due, limits_draining_due_ms(conn)) : due;
}

static uint64_t conn__due(sally_conn *conn)
{
    switch ((enum conn_state)conn->state) {
    case CONN_DIALING: return dial_due_ms(conn);
    case CONN_TUNNELING: return tunnel_due_ms(conn);
    case CONN_GREETING: return greeting_due_ms(conn);
    case CONN_SHAKING: return earlier(chain_due_ms(conn), flow_due_ms(conn));
    case CONN_OPEN: return open_due(conn);
    case CONN_DRAINING: return draining_due(conn);
    case CONN_LINGERING: return policy_due_ms(conn->write_ms, conn->policy->linger_ms);
    case CONN_NEW:
    case CONN_ENDING:
    case CONN_GONE: break;
    }
    return WHEEL_NEVER;
}

void conn_update_timer(sally_conn *conn)
{
    uint64_t due = conn__due(conn);
    if (due == WHEEL_NEVER) return;
    if (!timer_is_set(&conn->timer) || due < conn->timer.due_ms)
        wheel_set(&conn->shard->wheel, &conn->timer, due);
}

static const struct {
    sally_close_reason reason;
    enum port_close_mode mode;
    enum record_kind kept;
} on_limit[] = {
    [SALLY_TIMEOUT_FIRST_BYTE] = {SALLY_CLOSE_FIRST_BYTE_TIMEOUT, PORT_CLOSE_FIN,
                                  RECORD_FIRST_BYTE_OVER},
    [SALLY_TIMEOUT_IDLE] = {SALLY_CLOSE_IDLE_TIMEOUT, PORT_CLOSE_FIN, RECORD_IDLE_OVER},
    [SALLY_TIMEOUT_WRITE] = {SALLY_CLOSE_WRITE_TIMEOUT, PORT_CLOSE_RST, RECORD_WRITE_OVER},
    [SALLY_TIMEOUT_MESSAGE] = {SALLY_CLOSE_MESSAGE_TIMEOUT, PORT_CLOSE_FIN, RECORD_MESSAGE_OVER},
    [SALLY_TIMEOUT_IDLE_READ] = {SALLY_CLOSE_IDLE_READ_TIMEOUT, PORT_CLOSE_FIN, RECORD_IDLE_OVER},
    [SALLY_TIMEOUT_IDLE_WRITE] = {SALLY_CLOSE_IDLE_WRITE_TIMEOUT, PORT_CLOSE_FIN, RECORD_IDLE_OVER},
    [SALLY_TIMEOUT_SEND_RATE] = {SALLY_CLOSE_SEND_RATE, PORT_CLOSE_RST, RECORD_RATE_OVER},
    [SALLY_TIMEOUT_RECV_RATE] = {SALLY_CLOSE_RECV_RATE, PORT_CLOSE_FIN, RECORD_RATE_OVER},
    [SALLY_TIMEOUT_AGE] = {SALLY_CLOSE_MAX_AGE, PORT_CLOSE_FIN, RECORD_AGE_OVER},
    [SALLY_TIMEOUT_HEARTBEAT] = {SALLY_CLOSE_HEARTBEAT_TIMEOUT, PORT_CLOSE_RST, RECORD_HEART_OVER},
};

bool conn_limit_again(sally_conn *conn, sally_timeout which)
{
    const sally_handler *handler = &conn->policy->handler;
    bool close = !handler->on_timeout || handler->on_timeout(conn, which);
    if (conn->state != CONN_OPEN) return false;
    if (!close) {
        record_add(conn, on_limit[which].kept);
        return true;
    }
    if (which == SALLY_TIMEOUT_FIRST_BYTE) (void)conn_strike(conn, SALLY_STRIKE_SILENCE, 1);
    if (which == SALLY_TIMEOUT_AGE) /* nothing is wrong with it */
        conn_close(conn, SALLY_CLOSE_MAX_AGE);
    else
        conn_end(conn, on_limit[which].mode, on_limit[which].reason, SALLY_ETIMEDOUT, 0);
    return false;
}

static void conn__open_limits(sally_conn *conn)
{
    uint64_t now = conn->shard->now_ms & CONN_MS_MAX;
    if (conn->user_due_ms && conn->user_due_ms <= now) {
        conn->user_due_ms = 0;
        if (conn->policy->handler.on_timer) conn->policy->handler.on_timer(conn);
    }
    if (conn->state == CONN_OPEN && first_byte_due(conn) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_FIRST_BYTE))
        conn->first_from_ms = now;
    if (conn->state == CONN_OPEN && write_due(conn) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_WRITE))
        conn->write_ms = now & CONN_MS_MAX;
    if (conn->state == CONN_OPEN && message_due(conn) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_MESSAGE))
        conn_restart_message(conn);
    if (conn->state == CONN_OPEN && idle_due(conn) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_IDLE))
        conn->active_ms = now & CONN_MS_MAX;
    if (conn->state == CONN_OPEN && conn_limits(conn)) limits_on_timer(conn);
}

void conn_on_timer(sally_conn *conn)
{
    uint64_t now = conn->shard->now_ms;
    if (conn_has(conn, CONN_FLOW)) flow_on_timer(conn);
    if (conn->state == CONN_DIALING)
        dial_on_timer(conn);
    else if (conn->state == CONN_TUNNELING)
        tunnel_on_timer(conn);
    else if (conn->state == CONN_GREETING)
        greeting_on_timer(conn);
    else if (conn->state == CONN_SHAKING)
        chain_on_timer(conn);
    else if (conn->state == CONN_OPEN)
        conn__open_limits(conn);
    else if (conn->state == CONN_DRAINING && write_due(conn) <= now)
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_WRITE_TIMEOUT, SALLY_ETIMEDOUT, 0);
    else if (conn->state == CONN_DRAINING && flow_drain_is_over(conn))
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_LINGER_TIMEOUT, SALLY_ETIMEDOUT, 0);
    else if (conn->state == CONN_DRAINING && conn_limits(conn) && limits_send_is_low(conn))
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_SEND_RATE, SALLY_ETIMEDOUT, 0);
    else if (conn->state == CONN_LINGERING && conn__due(conn) <= now)
        conn_end(conn, PORT_CLOSE_FIN, SALLY_CLOSE_LINGER_TIMEOUT, SALLY_ETIMEDOUT, 0);
    conn_update_timer(conn);
}
