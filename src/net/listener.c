/* The accept chain; see listener.h. */
#include "net/listener.h"

#include <assert.h>
#include <string.h>

#include "net/backlog.h"
#include "net/conn.h"
#include "net/gate.h"
#include "net/letter.h"
#include "net/newcomer.h"
#include "os/address.h"

enum {
    BACKOFF_MIN_MS = 10,
    BACKOFF_MAX_MS = 1000,
    RECOVER_MS = 1000, /* without a new exhaustion before it counts as over: no flapping */
};

_Static_assert(sizeof(struct listener) <= sizeof(sally_conn), "both live in one slot table");

int listener_create(struct listener **out, sally_server *server, const struct listening *address,
                    struct shard *shard, port_handle handle)
{
    struct listener *listener = slots_take(&shard->slots);
    if (!listener) return SALLY_ENOMEM;
    listener->sock.handle = handle;
    listener->letter.mail.kind = LETTER_LISTEN;
    listener->server = server;
    listener->address = address;
    listener->shard = shard;
    listener->timer.kind = TIMER_LISTENER;
    listener->backoff_ms = BACKOFF_MIN_MS;
    *out = listener;
    return 0;
}

void listener_wake_at(struct listener *listener, uint64_t due_ms)
{
    if (!timer_is_set(&listener->timer) || due_ms < listener->timer.due_ms)
        wheel_set(&listener->shard->wheel, &listener->timer, due_ms);
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
    const sally_server_options *options = &listener->server->options;
    struct port_sock_options speak_first = {.delay = true,
                                            .accept_data_ms = options->accept_data_ms,
                                            .accept_held_max = options->accept_held_max};
    port_attach(shard->port, &listener->sock, handle,
                options->accept_with_data ? &speak_first : NULL);
    listener->tick_ms = shard->now_ms + listener->server->options.watchdog_ms;
    listener_wake_at(listener, listener->tick_ms);
    backlog_ask(listener);
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

/* Says first that it waits, and looks then: a place that is freed between the two wakes it. */
static bool listener__has_room(struct listener *listener)
{
    bool room = !listener->parked.first && server_has_room(listener->server);
    listener__set_waiting(listener, !room || listener->state == LISTENER_EXHAUSTED);
    if (!room && listener->parked.first) newcomers_let_in(listener);
    return room || (!listener->parked.first && server_has_room(listener->server));
}

/* Whether the rate of all lets one in now; if not, the timer is set for when it does. */
static bool listener__has_turn(struct listener *listener)
{
    const struct gate *gate = listener->server->gate;
    uint64_t wait_ms = gate ? gate_wait_ms(gate, listener->shard->now_ms) : 0;
    if (wait_ms) listener_wake_at(listener, listener->shard->now_ms + wait_ms);
    return !wait_ms;
}

static bool listener__has_socket(struct listener *listener);

void listener_update(struct listener *listener)
{
    sally_server *server = listener->server;
    struct port *port = listener->shard->port;
    if (listener->state == LISTENER_ENDING) return;
    if (atomic_load(&server->closed) || engine_stopping(server->engine)) {
        listener_end(listener);
        return;
    }
    if (!listener__has_socket(listener)) return;
    if (listener->parked.first) newcomers_let_in(listener);
    bool room = listener__has_room(listener);
    bool turn = listener__has_turn(listener); /* asked for those parked, too */
    bool take = server->options.at_limit != SALLY_AT_LIMIT_WAIT || (room && turn);
    bool want = listener->state == LISTENER_OPEN && server_wants_newcomers(server) && take;
    bool have = listener->sock.in_flight & PORT_BIT(PORT_ACCEPT);
    server__tell_limit(server, !server_has_room(server)); /* a pause is no limit */
    if (want && !have) {
        listener->awaited = false; /* the watchdog gives it a whole tick */
        port_accept(port, &listener->sock);
    } else if (!want && have && !listener->stopping) {
        listener->stopping = true;
        port_accept_stop(port, &listener->sock);
    }
    listener__set_armed(listener, listener->sock.in_flight & PORT_BIT(PORT_ACCEPT));
}

/* ---- Without a socket for a while ---- */

static void listener__back_off(struct listener *listener)
{
    listener->retry_ms = listener->shard->now_ms + listener->backoff_ms;
    if (listener->backoff_ms < BACKOFF_MAX_MS) listener->backoff_ms *= 2;
}

static void listener__shut(struct listener *listener)
{
    if (listener->state == LISTENER_EXHAUSTED) atomic_fetch_sub(&listener->server->exhausted, 1);
    listener->state = LISTENER_SHUTTING;
    backlog_forget(listener);
    listener__set_waiting(listener, false);
    listener__set_armed(listener, false);
    newcomers_clear(listener);
    listening_remove_file(listener->address);
    port_close(listener->shard->port, &listener->sock, PORT_CLOSE_FIN);
}

/* Its socket has gone: the slot is kept for the next (P4). */
static void listener__shut_done(struct listener *listener)
{
    struct port_sock *sock = &listener->sock;
    memset((unsigned char *)sock + sizeof sock->slot, 0, sizeof *sock - sizeof sock->slot);
    sock->handle = PORT_NO_HANDLE;
    sock->role = ROLE_LISTENER;
    listener->state = LISTENER_SHUT;
    listener->stopping = false;
    listener->retry_ms = 0;
    listener->backoff_ms = BACKOFF_MIN_MS;
}

static int listener__open_again(struct listener *listener, int *sys_error)
{
    const struct listening *at = listener->address;
    struct address address = {.kind = (enum address_kind)at->kind, .ip = at->local};
    struct port_listen_options options = server_listen_options(listener->server);
    port_handle handle;
    if (at->path) {
        size_t bytes = strlen(at->path) + 1;
        memcpy(address.host, at->path, bytes);
    }
    int err = port_listen(listener->shard->port, &address, &options, &handle, sys_error);
    if (!err) port_attach(listener->shard->port, &listener->sock, handle, NULL);
    return err;
}

static void listener__reopen(struct listener *listener)
{
    sally_server *server = listener->server;
    int sys_error = 0;
    int err = listener__open_again(listener, &sys_error);
    bool news = listener->failed != (err != 0);
    listener->failed = err != 0;
    if (err) {
        listener__back_off(listener);
        listener_wake_at(listener, listener->retry_ms);
    } else {
        listener->state = LISTENER_OPEN;
        listener->backoff_ms = BACKOFF_MIN_MS;
    }
    if (!news) return;
    engine_log(server->engine, SALLY_LOG_WARN,
               err ? "an address can't be opened again: %s (system "
                     "code %d); it is tried until it can"
                   : "an address is open again",
               sally_strerror(err), sys_error);
    server_tell(server, err ? SALLY_SERVER_LISTEN_FAILED : SALLY_SERVER_LISTENING, err, sys_error,
                1);
}

/* Closes or opens it as the server wants; whether there is one. */
static bool listener__has_socket(struct listener *listener)
{
    bool shut = atomic_load_explicit(&listener->server->shut, memory_order_relaxed);
    if (shut && (listener->state == LISTENER_OPEN || listener->state == LISTENER_EXHAUSTED))
        listener__shut(listener);
    else if (!shut && listener->state == LISTENER_SHUT &&
             listener->retry_ms <= listener->shard->now_ms)
        listener__reopen(listener);
    return listener->state == LISTENER_OPEN || listener->state == LISTENER_EXHAUSTED;
}

/* ---- Events ---- */

static void listener__wait(struct listener *listener)
{
    listener->state = LISTENER_EXHAUSTED;
    atomic_fetch_add(&listener->server->exhausted, 1);
    listener__back_off(listener);
    listener_wake_at(listener, listener->retry_ms);
}

static void listener__exhausted(struct listener *listener, int sys_error)
{
    sally_server *server = listener->server;
    bool news = listener->recover_ms == 0;
    if (listener->state != LISTENER_OPEN && listener->state != LISTENER_EXHAUSTED) return;
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
    bool asked_for = listener->stopping || listener->state == LISTENER_ENDING;
    if (event->error == SALLY_ECANCELED && asked_for) return;
    bool gone = event->error == SALLY_ETIMEDOUT || event->error == SALLY_ERESET;
    if (server->options.accept_with_data && event->more && gone) {
        atomic_fetch_add(&server->silent, 1); /* it was never more than a descriptor: no callback */
        return;
    }
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
    if (atomic_fetch_sub(&listener->server->listeners, 1) == 1 &&
        !atomic_exchange(&listener->server->closed_told, true))
        server_tell(listener->server, SALLY_SERVER_CLOSED, 0, 0, 1);
    slots_give(&shard->slots, listener);
}

void listener_on_event(struct listener *listener, const struct port_event *event)
{
    if (event->op == PORT_CLOSE && listener->state == LISTENER_SHUTTING) {
        listener__shut_done(listener);
        listener_update(listener);
        return;
    }
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
    struct newcomer newcomer = {.handle = event->accepted,
                                .peer = event->peer,
                                .first = {event->data, event->data ? event->bytes : 0}};
    newcomer_judge(listener, &newcomer);
    if (event->data) port_buf_release(listener->shard->port, event->buf, event->data);
    listener_update(listener);
}

/* ---- Time ---- */

/* Somebody waits, as at the last tick, and nothing came in between: the system has forgotten the
 * accept. One that is stopped and started again is heard. A shard that comes late has had no time
 * to listen, a handler's or the machine's fault: it says nothing against the system. */
static void listener__watchdog(struct listener *listener)
{
    sally_server *server = listener->server;
    bool armed =
        listener->state == LISTENER_OPEN && listener->sock.in_flight & PORT_BIT(PORT_ACCEPT);
    bool waits =
        armed && !listener->stopping && port_pending(listener->shard->port, listener->sock.handle);
    uint64_t late_ms = listener->shard->now_ms - listener->tick_ms;
    bool stalled = waits && listener->awaited && late_ms <= server->options.watchdog_ms / 2;
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
    if (shard->now_ms >= listener->tick_ms) {
        listener__recovered(listener);
        listener__watchdog(listener);
        if (listener->state == LISTENER_OPEN || listener->state == LISTENER_EXHAUSTED)
            backlog_ask(listener);
        listener->tick_ms = shard->now_ms + listener->server->options.watchdog_ms;
    }
    newcomers_ask_again(listener);
    listener_update(listener);
    if (listener->state == LISTENER_ENDING) return;
    listener_wake_at(listener, listener->tick_ms);
    if (listener->state == LISTENER_EXHAUSTED) listener_wake_at(listener, listener->retry_ms);
    const struct newcomer *delayed = lobby_first(&listener->delayed);
    if (delayed) listener_wake_at(listener, delayed->due_ms);
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
    bool closing = listener->state == LISTENER_SHUTTING;      /* port_close was called */
    bool ours = !closing && listener->state != LISTENER_SHUT; /* the path, not somebody else's */
    listener->state = LISTENER_ENDING;
    listener__set_waiting(listener, false);
    listener__set_armed(listener, false);
    wheel_cancel(&shard->wheel, &listener->timer);
    backlog_forget(listener);
    newcomers_clear(listener);
    if (ours) listening_remove_file(listener->address);
    if (!closing) port_close(shard->port, &listener->sock, PORT_CLOSE_FIN);
}
