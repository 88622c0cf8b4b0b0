/* The accept chain; see listener.h. */
#include "net/listener.h"

#include <assert.h>
#include <string.h>

#include "net/conn.h"
#include "net/letter.h"
#include "os/address.h"

enum {
    BACKOFF_MIN_MS = 10,
    BACKOFF_MAX_MS = 1000,
    RECOVER_MS = 1000, /* without a new exhaustion before it counts as over: no flapping */
};

/* A connection that came while there was no room. */
struct parked {
    struct parked *next;
    port_handle handle;
    struct addr peer;
};

_Static_assert(sizeof(struct listener) <= sizeof(sally_conn), "both live in one slot table");

int listener_create(struct listener **out, sally_server *server, const struct listening *address,
                    struct shard *shard, port_handle handle)
{
    struct listener *listener = slots_take(&shard->slots);
    if (!listener) return SALLY_ENOMEM;
    listener->sock.handle = handle;
    listener->letter.kind = LETTER_LISTEN;
    listener->server = server;
    listener->address = address;
    listener->shard = shard;
    listener->timer.kind = TIMER_LISTENER;
    listener->backoff_ms = BACKOFF_MIN_MS;
    *out = listener;
    return 0;
}

void listener_begin(struct listener *listener)
{
    struct shard *shard = listener->shard;
    port_handle handle = listener->sock.handle;
    listener->sock.handle = PORT_NO_HANDLE;
    listener->sock.role = ROLE_LISTENER;
    listener->next = shard->listeners;
    shard->listeners = listener;
    listener->state = LISTENER_OPEN;
    port_attach(shard->port, &listener->sock, handle, NULL);
    wheel_set(&shard->wheel, &listener->timer,
              shard->now_ms + listener->server->options.watchdog_ms);
    listener_update(listener);
}

/* ---- What should be, against what is ---- */

static void listener__set_waiting(struct listener *listener, bool waiting)
{
    if (listener->waiting == waiting) return;
    listener->waiting = waiting;
    if (waiting)
        atomic_fetch_add(&listener->shard->engine->waiting, 1);
    else
        atomic_fetch_sub(&listener->shard->engine->waiting, 1);
}

static void listener__set_armed(struct listener *listener, bool armed)
{
    if (listener->armed == armed) return;
    listener->armed = armed;
    if (armed)
        atomic_fetch_add(&listener->server->armed, 1);
    else
        atomic_fetch_sub(&listener->server->armed, 1);
}

static bool server__has_room(const sally_server *server)
{
    const sally_engine *engine = server->engine;
    return atomic_load(&server->conns) < server->options.conns_max &&
           atomic_load(&engine->conns) < engine->conns_max;
}

/* Told once when the limit is met, and once when an eighth of it is free again. */
static void server__tell_limit(sally_server *server, bool full)
{
    sally_engine *engine = server->engine;
    uint32_t conns = atomic_load(&server->conns);
    uint32_t max = server->options.conns_max;
    uint32_t all = atomic_load(&engine->conns);
    if (full && !atomic_exchange(&server->at_limit, true)) {
        uint64_t times = atomic_fetch_add(&server->at_limit_times, 1) + 1;
        server_tell(server, SALLY_SERVER_AT_LIMIT, SALLY_ELIMIT, 0, times);
    } else if (!full && conns <= max - max / 8 &&
               all <= engine->conns_max - engine->conns_max / 8 &&
               atomic_exchange(&server->at_limit, false)) {
        server_tell(server, SALLY_SERVER_BELOW_LIMIT, 0, 0, atomic_load(&server->at_limit_times));
    }
}

static void listener__admit_parked(struct listener *listener);

/* Says first that it waits, and looks then: a place that is freed between the two wakes it. */
static bool listener__has_room(struct listener *listener)
{
    bool room = !listener->parked_head && server__has_room(listener->server);
    listener__set_waiting(listener, !room || listener->state == LISTENER_EXHAUSTED);
    if (!room && listener->parked_head) listener__admit_parked(listener);
    return room || (!listener->parked_head && server__has_room(listener->server));
}

void listener_update(struct listener *listener)
{
    sally_server *server = listener->server;
    struct port *port = listener->shard->port;
    if (listener->state == LISTENER_ENDING) return;
    if (atomic_load(&server->closed) || engine_stopping(server->engine)) {
        listener_end(listener);
        return;
    }
    if (listener->parked_head) listener__admit_parked(listener);
    bool room = listener__has_room(listener);
    bool take = room || server->options.at_limit == SALLY_AT_LIMIT_RESET;
    bool want = listener->state == LISTENER_OPEN && server_wants_newcomers(server) && take;
    bool have = listener->sock.in_flight & PORT_BIT(PORT_ACCEPT);
    server__tell_limit(server, !server__has_room(server)); /* a pause is no limit */
    if (want && !have) {
        listener->awaited = false; /* the watchdog gives it a whole tick */
        port_accept(port, &listener->sock);
    } else if (!want && have && !listener->stopping) {
        listener->stopping = true;
        port_accept_stop(port, &listener->sock);
    }
    listener__set_armed(listener, listener->sock.in_flight & PORT_BIT(PORT_ACCEPT));
}

/* ---- One newcomer ---- */

static void listener__refuse(struct listener *listener, port_handle handle)
{
    atomic_fetch_add(&listener->server->refused, 1);
    counter_add(&listener->shard->counters.refused, 1);
    port_refuse(listener->shard->port, handle, PORT_CLOSE_RST);
}

static bool listener__allowed(struct listener *listener, const struct addr *peer)
{
    sally_server *server = listener->server;
    const sally_handler *handler = &server->policy->handler;
    if (!handler->on_accept) return true;
    char peer_text[ADDRESS_TEXT_MAX], local_text[ADDRESS_TEXT_MAX];
    sally_accept_info info = {
        .peer = addr_format(peer, peer_text, sizeof peer_text),
        .address = addr_format(&listener->address->local, local_text, sizeof local_text),
        .server_conns = atomic_load(&server->conns),
    };
    return handler->on_accept(server, &info) == SALLY_ALLOW;
}

/* Room has been reserved. */
static void listener__hand_over(struct listener *listener, port_handle handle,
                                const struct addr *peer)
{
    sally_server *server = listener->server;
    sally_engine *engine = server->engine;
    struct shard *shard = engine_pick_shard(engine);
    if (shard == listener->shard) {
        conn_adopt(shard, policy_ref(server->policy), handle, peer);
        return;
    }
    struct letter_adopt *letter = shard ? mem_zalloc(&engine->mem, sizeof *letter) : NULL;
    if (!letter) {
        if (shard) shard_withdraw(shard);
        server_release_conn(server);
        listener__refuse(listener, handle);
        return;
    }
    letter->letter.kind = LETTER_ADOPT;
    letter->letter.bytes = sizeof *letter;
    letter->handle = handle;
    letter->peer = *peer;
    letter->policy = policy_ref(server->policy);
    (void)shard_post(shard, &letter->letter, true); /* bounded by the places reserved */
}

static bool listener__park(struct listener *listener, port_handle handle, const struct addr *peer)
{
    struct parked *parked = mem_zalloc(&listener->shard->engine->mem, sizeof *parked);
    if (!parked) return false;
    parked->handle = handle;
    parked->peer = *peer;
    if (listener->parked_tail)
        listener->parked_tail->next = parked;
    else
        listener->parked_head = parked;
    listener->parked_tail = parked;
    return true;
}

static struct parked *listener__unpark(struct listener *listener)
{
    struct parked *parked = listener->parked_head;
    if (!parked) return NULL;
    listener->parked_head = parked->next;
    if (!listener->parked_head) listener->parked_tail = NULL;
    return parked;
}

static void listener__admit_parked(struct listener *listener)
{
    sally_server *server = listener->server;
    while (listener->parked_head && server_wants_newcomers(server) && server_reserve_conn(server)) {
        struct parked *parked = listener__unpark(listener);
        listener__hand_over(listener, parked->handle, &parked->peer);
        mem_free(&listener->shard->engine->mem, parked, sizeof *parked);
    }
}

static void listener__judge(struct listener *listener, port_handle handle, const struct addr *peer)
{
    sally_server *server = listener->server;
    atomic_fetch_add(&server->accepted, 1);
    counter_add(&listener->shard->counters.accepted, 1);
    if (peer->family == ADDR_NONE) { /* gone before we looked: not worth a connection */
        atomic_fetch_add(&server->dead_on_arrival, 1);
        port_refuse(listener->shard->port, handle, PORT_CLOSE_RST);
    } else if (listener->state == LISTENER_ENDING || !listener__allowed(listener, peer)) {
        listener__refuse(listener, handle);
    } else if (!listener->parked_head && server_wants_newcomers(server) &&
               server_reserve_conn(server)) {
        listener__hand_over(listener, handle, peer);
    } else if (server->options.at_limit == SALLY_AT_LIMIT_RESET ||
               !listener__park(listener, handle, peer)) {
        listener__refuse(listener, handle);
    }
}

/* ---- Events ---- */

static void listener__back_off(struct listener *listener)
{
    listener->retry_ms = listener->shard->now_ms + listener->backoff_ms;
    if (listener->backoff_ms < BACKOFF_MAX_MS) listener->backoff_ms *= 2;
}

static void listener__wait(struct listener *listener)
{
    listener->state = LISTENER_EXHAUSTED;
    atomic_fetch_add(&listener->server->exhausted, 1);
    listener__back_off(listener);
    wheel_set(&listener->shard->wheel, &listener->timer, listener->retry_ms);
}

static void listener__exhausted(struct listener *listener, int sys_error)
{
    sally_server *server = listener->server;
    bool news = listener->recover_ms == 0;
    if (listener->state == LISTENER_ENDING) return;
    listener->recover_ms = WHEEL_NEVER;
    if (listener->state == LISTENER_OPEN) listener__wait(listener);
    if (!news) return;
    uint64_t times = atomic_fetch_add(&server->exhausted_times, 1) + 1;
    engine_log(server->engine, SALLY_LOG_WARN,
               "accepting pauses: %s (system code %d); it goes on by itself",
               sally_strerror(SALLY_EEXHAUSTED), sys_error);
    server_tell(server, SALLY_SERVER_EXHAUSTED, SALLY_EEXHAUSTED, sys_error, times);
}

/* A connection went, or the time is over: the next accept is the test. */
static void listener__retry(struct listener *listener)
{
    if (listener->state != LISTENER_EXHAUSTED) return;
    listener->state = LISTENER_OPEN;
    if (listener->recover_ms) listener->recover_ms = listener->shard->now_ms + RECOVER_MS;
    atomic_fetch_sub(&listener->server->exhausted, 1);
}

static void listener__recovered(struct listener *listener)
{
    if (!listener->recover_ms || listener->shard->now_ms < listener->recover_ms) return;
    listener->recover_ms = 0;
    listener->backoff_ms = BACKOFF_MIN_MS;
    engine_log(listener->server->engine, SALLY_LOG_WARN, "accepting goes on");
    server_tell(listener->server, SALLY_SERVER_RECOVERED, 0, 0,
                atomic_load(&listener->server->exhausted_times));
}

static void listener__failed(struct listener *listener, const struct port_event *event)
{
    sally_server *server = listener->server;
    bool asked = listener->stopping || listener->state == LISTENER_ENDING;
    if (event->error == SALLY_ECANCELED && asked) return;
    uint64_t times = atomic_fetch_add(&server->accept_failures, 1) + 1;
    counter_add(&listener->shard->counters.accept_failures, 1);
    if (event->error == SALLY_EEXHAUSTED)
        listener__exhausted(listener, event->sys_error);
    else
        server_tell(server, SALLY_SERVER_ACCEPT_FAILED, event->error, event->sys_error, times);
    /* whatever ended the chain, it is begun again, but not in a tight loop */
    if (!event->more && listener->state == LISTENER_OPEN) listener__wait(listener);
}

static void listener__closed(struct listener *listener)
{
    struct shard *shard = listener->shard;
    struct listener **link = &shard->listeners;
    while (*link != listener) link = &(*link)->next;
    *link = listener->next;
    atomic_fetch_sub(&listener->server->listeners, 1);
    slots_give(&shard->slots, listener);
}

void listener_on_event(struct listener *listener, const struct port_event *event)
{
    if (event->op == PORT_CLOSE) {
        listener__closed(listener);
        return;
    }
    assert(event->op == PORT_ACCEPT);
    listener->awaited = false;
    if (event->error) listener__failed(listener, event);
    if (!event->more) listener->stopping = false;
    listener_update(listener); /* armed again before the newcomer is judged */
    if (event->error) return;
    listener__judge(listener, event->accepted, &event->peer);
    listener_update(listener);
}

/* ---- Time ---- */

/* Somebody waits, as at the last tick, and nothing came in between: the system has forgotten the
 * accept. One that is stopped and started again is heard. */
static void listener__watchdog(struct listener *listener)
{
    sally_server *server = listener->server;
    bool armed = listener->sock.in_flight & PORT_BIT(PORT_ACCEPT);
    bool waits =
        armed && !listener->stopping && port_pending(listener->shard->port, listener->sock.handle);
    bool stalled = waits && listener->awaited;
    listener->awaited = waits;
    if (!stalled) return;
    uint64_t times = atomic_fetch_add(&server->stalled_times, 1) + 1;
    engine_log(server->engine, SALLY_LOG_WARN,
               "a listener has clients waiting and made no progress; its accept is begun again");
    listener->stopping = true;
    port_accept_stop(listener->shard->port, &listener->sock);
    server_tell(server, SALLY_SERVER_STALLED, 0, 0, times);
}

void listener_on_timer(struct listener *listener)
{
    struct shard *shard = listener->shard;
    if (listener->state == LISTENER_ENDING) return;
    if (listener->state == LISTENER_EXHAUSTED && listener->retry_ms <= shard->now_ms) {
        int sys_error = 0;
        if (port_probe(shard->port, &sys_error) == 0)
            listener__retry(listener);
        else
            listener__back_off(listener);
    }
    listener__recovered(listener);
    listener__watchdog(listener);
    listener_update(listener);
    if (listener->state == LISTENER_ENDING) return;
    uint64_t due = shard->now_ms + listener->server->options.watchdog_ms;
    if (listener->state == LISTENER_EXHAUSTED && listener->retry_ms < due) due = listener->retry_ms;
    wheel_set(&shard->wheel, &listener->timer, due);
}

void listener_on_release(struct listener *listener)
{
    listener->backoff_ms = BACKOFF_MIN_MS; /* there is news: bounded by the releases */
    listener__retry(listener);
    listener_update(listener);
}

void listener_end(struct listener *listener)
{
    struct shard *shard = listener->shard;
    if (listener->state == LISTENER_ENDING) return;
    if (listener->state == LISTENER_EXHAUSTED) atomic_fetch_sub(&listener->server->exhausted, 1);
    listener->state = LISTENER_ENDING;
    listener__set_waiting(listener, false);
    listener__set_armed(listener, false);
    wheel_cancel(&shard->wheel, &listener->timer);
    for (struct parked *parked; (parked = listener__unpark(listener));) {
        listener__refuse(listener, parked->handle);
        mem_free(&shard->engine->mem, parked, sizeof *parked);
    }
    listening_remove_file(listener->address);
    port_close(shard->port, &listener->sock, PORT_CLOSE_FIN);
}
