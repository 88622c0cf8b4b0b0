#include "net/greeting.h"

#include "admission/bans.h"
#include "net/gate.h"
#include "net/guest.h"
#include "net/newcomer.h"
#include "net/proxies.h"
#include "net/server.h"
#include "os/address.h"

struct addr conn_judged_peer(const sally_conn *conn)
{
    const struct proxied *proxied = conn_proxied(conn);
    if (proxied && !proxied->named) return (struct addr){.family = ADDR_NONE};
    return conn_peer(conn);
}

static struct greeting *conn__greeting(const sally_conn *conn)
{
    return conn_proxied(conn)->greeting;
}

static struct proxies *conn__proxies(const sally_conn *conn)
{
    return conn->policy->server->proxies;
}

/* ---- Those that wait, in order ---- */

static struct greeting_list *conn__list(const sally_conn *conn)
{
    return &conn__proxies(conn)->lists[conn->shard->index];
}

static void greeting__list(sally_conn *conn)
{
    struct greeting_list *list = conn__list(conn);
    struct greeting *greeting = conn__greeting(conn);
    greeting->prev = list->last;
    if (list->last)
        conn__greeting(list->last)->next = conn;
    else
        list->first = conn;
    list->last = conn;
    list->count++;
    greeting->waits = true;
    atomic_fetch_add(&conn__proxies(conn)->waiting, 1);
    atomic_fetch_add(&conn->shard->engine->greetings, 1);
}

static void greeting__unlist(sally_conn *conn)
{
    struct greeting_list *list = conn__list(conn);
    struct greeting *greeting = conn__greeting(conn);
    if (!greeting->waits) return;
    if (greeting->prev)
        conn__greeting(greeting->prev)->next = greeting->next;
    else
        list->first = greeting->next;
    if (greeting->next)
        conn__greeting(greeting->next)->prev = greeting->prev;
    else
        list->last = greeting->prev;
    list->count--;
    greeting->waits = false;
    atomic_fetch_sub(&conn->shard->engine->greetings, 1);
    atomic_fetch_sub(&conn__proxies(conn)->waiting, 1);
}

/* ---- Ways out ---- */

static void greeting__undelay(sally_conn *conn)
{
    struct greeting *greeting = conn__greeting(conn);
    if (greeting->delayed) gate_undelay(conn->policy->server->gate);
    greeting->delayed = false;
}

static void greeting__count(sally_conn *conn, sally_refusal why)
{
    newcomer_count_refused(conn->policy->server, conn->shard, why);
    conn__greeting(conn)->counted = true;
}

void greeting_end(sally_conn *conn)
{
    struct greeting *greeting = conn__greeting(conn);
    if (!greeting) return;
    if (!greeting->counted) greeting__count(conn, SALLY_REFUSED_CLOSING);
    greeting__undelay(conn);
    greeting__unlist(conn);
    conn_proxied(conn)->greeting = NULL;
    mem_free(&conn->shard->engine->mem, greeting, sizeof *greeting);
}

/* Its address's place is free at once: the next of this turn may want it. */
static void greeting__leave_gate(sally_conn *conn)
{
    if (conn->extra->source) gate_leave(conn->policy->server->gate, conn->extra->source);
    conn->extra->source = 0;
}

static void greeting__refuse(sally_conn *conn, sally_refusal why, sally_close_reason reason)
{
    greeting__count(conn, why);
    greeting__leave_gate(conn);
    conn_end(conn, PORT_CLOSE_RST, reason, 0, 0);
}

static void greeting__send_off(sally_conn *conn, sally_refusal why)
{
    sally_server *server = conn->policy->server;
    struct gate *gate = server->gate;
    if (!guest_reserve(conn->shard->engine)) {
        greeting__refuse(conn, why, SALLY_CLOSE_LOCAL);
        return;
    }
    atomic_fetch_add(&server->farewells, 1);
    greeting__count(conn, why);
    greeting__leave_gate(conn);
    greeting_end(conn);
    guest_take_over(conn, gate->guests, gate->farewell, gate->farewell_bytes);
}

/* It went by itself. Before its first byte it is nobody's fault: proxies look so whether a port is
 * open. */
static void greeting__gone(sally_conn *conn, int error, int sys_error)
{
    struct greeting *greeting = conn__greeting(conn);
    sally_server *server = conn->policy->server;
    if (!greeting->waits) {
        greeting__count(conn, SALLY_REFUSED_DELAY);
    } else if (proxy_header_begun(&greeting->header)) {
        greeting__count(conn, SALLY_REFUSED_PROXY_MALFORMED);
    } else {
        atomic_fetch_add(&server->silent, 1);
        greeting->counted = true;
    }
    greeting__leave_gate(conn);
    if (error)
        conn_broken(conn, error, sys_error);
    else
        conn_end(conn, PORT_CLOSE_FIN, SALLY_CLOSE_PEER_CLOSED, 0, 0);
}

static void greeting__open(sally_conn *conn)
{
    conn__greeting(conn)->counted = true;
    greeting_end(conn);
    wheel_cancel(&conn->shard->wheel, &conn->timer);
    conn_begin(conn);
    conn_deliver_first(conn);
}

/* ---- Judging the client ---- */

/* Whoever waits isn't let in any more, as in the lobbies of a listener. */
static bool greeting__closes(const sally_conn *conn)
{
    const sally_server *server = conn->policy->server;
    return engine_stopping(server->engine) || atomic_load(&server->closed) ||
           atomic_load(&server->shut);
}

/* Meanwhile nothing more is read than what is on its way. */
static void greeting__delay(sally_conn *conn)
{
    struct greeting *greeting = conn__greeting(conn);
    struct gate *gate = conn->policy->server->gate;
    uint64_t now_ms = conn->shard->now_ms;
    greeting->delays++;
    greeting->due_ms = now_ms + gate->delay_ms;
    bool may = greeting->due_ms - greeting->came_ms <= gate->delay_max_ms && gate_delay(gate);
    if (!may) {
        greeting__refuse(conn, SALLY_REFUSED_DELAY, SALLY_CLOSE_LOCAL);
        return;
    }
    greeting->delayed = true;
    if (conn_in_flight(conn, PORT_RECV) && !conn_has(conn, CONN_RECV_STOPPING)) {
        conn->flags |= CONN_RECV_STOPPING;
        port_recv_stop(conn->shard->port, &conn->sock);
    }
    wheel_cancel(&conn->shard->wheel, &conn->timer);
    conn_update_timer(conn);
}

static void greeting__ask(sally_conn *conn)
{
    const struct greeting *greeting = conn__greeting(conn);
    const struct newcomer client = {.peer = conn_peer(conn),
                                    .source = conn->extra->source,
                                    .delays = greeting->delays,
                                    .proxied_at = greeting->address};
    switch (newcomer_verdict(conn->policy->server, greeting->address, &client)) {
    case SALLY_ALLOW: greeting__open(conn); return;
    case SALLY_FAREWELL: greeting__send_off(conn, SALLY_REFUSED_BY_HANDLER); return;
    case SALLY_DELAY: greeting__delay(conn); return;
    case SALLY_RESET: break;
    }
    greeting__refuse(conn, SALLY_REFUSED_BY_HANDLER, SALLY_CLOSE_LOCAL);
}

static void greeting__turn_away(sally_conn *conn, sally_refusal why)
{
    bool of_limit = why == SALLY_REFUSED_ADDRESS_LIMIT || why == SALLY_REFUSED_ADDRESS_RATE;
    if (of_limit && conn->policy->server->options.at_limit == SALLY_AT_LIMIT_FAREWELL)
        greeting__send_off(conn, why);
    else
        greeting__refuse(conn, why,
                         why == SALLY_REFUSED_BANNED ? SALLY_CLOSE_BANNED : SALLY_CLOSE_LOCAL);
}

/* As a newcomer's own address would be judged; whoever wasn't named is asked for alone. */
static void greeting__judge(sally_conn *conn)
{
    struct gate *gate = conn->policy->server->gate;
    struct newcomer client = {.peer = conn_judged_peer(conn)};
    sally_refusal why;
    if (greeting__closes(conn)) {
        greeting__refuse(conn, SALLY_REFUSED_CLOSING, SALLY_CLOSE_SHUTDOWN);
    } else if (!gate) {
        greeting__open(conn);
    } else if (!gate_enter(gate, &client, conn->shard->now_ms, &why)) {
        greeting__turn_away(conn, why);
    } else {
        conn->extra->source = client.source;
        greeting__ask(conn);
    }
}

/* The header is whole; `rest` is the client's. */
static void greeting__understood(sally_conn *conn, const unsigned char *rest, size_t len)
{
    struct proxied *proxied = conn_proxied(conn);
    const struct proxy_header *header = &proxied->greeting->header;
    greeting__unlist(conn);
    proxied->named = header->source.family != ADDR_NONE;
    if (proxied->named) {
        proxied->dest = header->dest;
        (void)conn_set_peer(conn, &header->source); /* its extra is there */
    }
    if (len && conn_hold(conn, rest, len))
        greeting__refuse(conn, SALLY_REFUSED_NO_MEMORY, SALLY_CLOSE_NO_MEMORY);
    else
        greeting__judge(conn);
}

/* ---- Bytes ---- */

static void greeting__bytes(sally_conn *conn, const void *data, size_t len)
{
    struct greeting *greeting = conn__greeting(conn);
    size_t used;
    if (!greeting->waits) { /* it is delayed */
        if (conn_hold(conn, data, len))
            greeting__refuse(conn, SALLY_REFUSED_NO_MEMORY, SALLY_CLOSE_NO_MEMORY);
        return;
    }
    switch (proxy_header_feed(&greeting->header, data, len, &used)) {
    case PROXY_DONE:
        greeting__understood(conn, (const unsigned char *)data + used, len - used);
        return;
    case PROXY_MALFORMED:
        greeting__refuse(conn, SALLY_REFUSED_PROXY_MALFORMED, SALLY_CLOSE_MALFORMED);
        return;
    case PROXY_MORE: return;
    }
}

/* The receive has ended, and it is a greeting still. */
static void greeting__recv_ended(sally_conn *conn, const struct port_event *event)
{
    conn->flags &= (uint16_t)~CONN_RECV_STOPPING;
    bool delayed = conn__greeting(conn)->delayed;
    if (delayed && event->error == SALLY_ECANCELED) return; /* it reads on when it opens */
    if (delayed && !event->error)
        conn->flags |= CONN_EOF_HELD; /* its bytes come first */
    else
        greeting__gone(conn, event->error, event->sys_error);
}

void greeting_on_event(sally_conn *conn, const struct port_event *event)
{
    if (event->op != PORT_RECV) return;
    if (event->bytes) {
        greeting__bytes(conn, event->data, event->bytes);
        port_buf_release(conn->shard->port, event->buf, event->data);
    }
    if (event->more) return;
    if (conn->state == CONN_GREETING)
        greeting__recv_ended(conn, event);
    else
        conn_recv_ended(conn, event);
}

/* ---- Time ---- */

uint64_t greeting_due_ms(const sally_conn *conn) { return conn__greeting(conn)->due_ms; }

void greeting_on_timer(sally_conn *conn)
{
    struct greeting *greeting = conn__greeting(conn);
    const struct gate *gate = conn->policy->server->gate;
    struct addr peer = conn_judged_peer(conn);
    if (greeting->due_ms > conn->shard->now_ms) return;
    if (greeting->waits) {
        greeting__refuse(conn, SALLY_REFUSED_PROXY_LATE, SALLY_CLOSE_FIRST_BYTE_TIMEOUT);
        return;
    }
    greeting__undelay(conn);
    if (greeting__closes(conn))
        greeting__refuse(conn, SALLY_REFUSED_CLOSING, SALLY_CLOSE_SHUTDOWN);
    else if (gate->bans && cidr_takes(&peer) && bans_refuse(gate->bans, &peer))
        greeting__refuse(conn, SALLY_REFUSED_BANNED, SALLY_CLOSE_BANNED);
    else
        greeting__ask(conn);
}

/* ---- Begin ---- */

bool greeting_make(sally_conn *conn, const struct newcomer *newcomer)
{
    uint64_t now_ms = conn->shard->now_ms;
    struct greeting *greeting =
        conn_extra(conn) ? mem_zalloc(&conn->shard->engine->mem, sizeof *greeting) : NULL;
    if (!greeting) return false;
    const struct proxies *proxies = conn__proxies(conn);
    proxy_header_init(&greeting->header, proxies->header_bytes_max);
    greeting->address = newcomer->proxied_at;
    greeting->came_ms = now_ms;
    greeting->due_ms = now_ms + proxies->header_ms;
    *conn_proxied(conn) = (struct proxied){.greeting = greeting, .proxy = newcomer->peer};
    return true;
}

void greeting_begin(sally_conn *conn, const struct span *first)
{
    const struct greeting_list *list = conn__list(conn);
    conn_set_state(conn, CONN_GREETING);
    greeting__list(conn);
    if (list->count > conn__proxies(conn)->waiting_max)
        greeting__refuse(list->first, SALLY_REFUSED_PROXY_LATE, SALLY_CLOSE_FIRST_BYTE_TIMEOUT);
    conn_update_timer(conn);
    port_recv(conn->shard->port, &conn->sock);
    if (first->len) greeting__bytes(conn, first->data, first->len);
}

/* ---- The public face ---- */

const char *sally_conn_socket_peer(const sally_conn *conn, char *buf, size_t size)
{
    const struct proxied *proxied = conn ? conn_proxied(conn) : NULL;
    return proxied ? addr_format(&proxied->proxy, buf, size) : sally_conn_peer(conn, buf, size);
}

const char *sally_conn_proxied_to(const sally_conn *conn, char *buf, size_t size)
{
    const struct proxied *proxied = conn ? conn_proxied(conn) : NULL;
    struct addr dest = {.family = ADDR_NONE};
    if (proxied) dest = proxied->dest;
    return addr_format(&dest, buf, size);
}

uint32_t sally_server_proxy_waiting(const sally_server *server)
{
    return server && server->proxies ? atomic_load(&server->proxies->waiting) : 0;
}
