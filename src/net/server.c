/* Servers: opening, counting, telling. What a listening socket does is in listener.c. */
#include "net/server.h"

#include <string.h>

#include "net/gate.h"
#include "net/listener.h"
#include "net/proxies.h"
#include "os/address.h"
#include "os/file.h"
#include "os/limits.h"

enum { WATCHDOG_MS = 1000, ACCEPT_DATA_MS = 30000, ACCEPT_HELD = 1024 };

/* ---- Counts ---- */

static bool reserve(atomic_uint *count, uint32_t max)
{
    unsigned now = atomic_load_explicit(count, memory_order_relaxed);
    do {
        if (now >= max) return false;
    } while (!atomic_compare_exchange_weak(count, &now, now + 1));
    return true;
}

bool engine_reserve_conn(sally_engine *engine)
{
    return reserve(&engine->conns, engine->conns_max);
}

void engine_release_conn(sally_engine *engine)
{
    atomic_fetch_sub(&engine->conns, 1);
    engine_wake_listeners(engine);
}

bool server_reserve_conn(sally_server *server)
{
    /* its listeners may have been told to take newcomers before memory was short */
    if (server->engine->has_budget && budget_refuses(server)) return false;
    if (!reserve(&server->conns, server->options.conns_max)) return false;
    if (engine_reserve_conn(server->engine)) return true;
    atomic_fetch_sub(&server->conns, 1);
    return false;
}

void server_release_conn(sally_server *server)
{
    atomic_fetch_sub(&server->conns, 1);
    engine_release_conn(server->engine);
}

void server_tell(sally_server *server, sally_server_event_kind kind, int error, int sys_error,
                 uint64_t count)
{
    const sally_handler *handler = &server->policy->handler;
    sally_server_event event = {
        .kind = kind, .error = error, .sys_error = sys_error, .count = count};
    if (handler->on_error) handler->on_error(server, &event);
}

/* ---- Opening ---- */

/* Silent newcomers must leave descriptors for those who speak. */
static uint32_t held_default(const struct host *host)
{
    uint32_t eighth = host->threads ? os_descriptors_max() / 8 : ACCEPT_HELD;
    return eighth < ACCEPT_HELD ? eighth + 1 : ACCEPT_HELD;
}

static int server__options(sally_server_options *options, const sally_server_options *given)
{
    if (given) *options = *given;
    if (options->backlog < 0 || (unsigned)options->at_limit > SALLY_AT_LIMIT_FAREWELL ||
        options->unix_mode > 0777 || options->accept_held_max > PORT_HELD_MAX)
        return SALLY_EINVAL;
    if (!options->accept_data_ms) options->accept_data_ms = ACCEPT_DATA_MS;
    if (!options->conns_max) options->conns_max = UINT32_MAX;
    if (!options->watchdog_ms) options->watchdog_ms = WATCHDOG_MS;
    return 0;
}

static int server_create(sally_server **out, sally_engine *engine, const sally_handler *handler,
                         const sally_server_options *options)
{
    sally_server *server = mem_zalloc(&engine->mem, sizeof *server);
    if (!server) return SALLY_ENOMEM;
    server->engine = engine;
    int err = server__options(&server->options, options);
    if (!server->options.accept_held_max)
        server->options.accept_held_max = held_default(&engine->host);
    if (!err) err = policy_create(&server->policy, engine, server, handler, &server->options.conn);
    if (!err && gate_is_wanted(handler, &server->options))
        err = gate_create(&server->gate, engine, &server->options);
    if (!err && server->options.proxy)
        err = proxies_create(&server->proxies, &engine->mem, engine->shard_count,
                             server->options.proxy);
    server->options.proxy = NULL;
    server->options.admission = NULL;    /* the gate has a copy */
    server->options.conn.framing = NULL; /* the program's; the policy has its own */
    server->options.conn.rates = NULL;
    if (err) {
        server_destroy(server);
        return err;
    }
    if (server->options.memory_max) server->policy->has_budget = true;
    *out = server;
    return 0;
}

void server_destroy(sally_server *server)
{
    struct mem *mem = &server->engine->mem;
    for (unsigned i = 0; i < server->address_count; i++) {
        char *path = server->addresses[i].path;
        if (path) mem_free(mem, path, strlen(path) + 1);
    }
    policy_release(server->policy);
    gate_destroy(server->gate);
    proxies_destroy(server->proxies);
    mem_free(mem, server, sizeof *server);
}

/* Only a Unix socket's path has to be remembered: the rest the system tells. */
static int server__remember(sally_server *server, struct listening *listening,
                            const struct address *address)
{
    listening->path = NULL;
    listening->kind = (uint8_t)address->kind;
    if (address->kind != ADDRESS_PATH) return 0;
    size_t bytes = strlen(address->host) + 1;
    listening->path = mem_alloc(&server->engine->mem, bytes);
    if (!listening->path) return SALLY_ENOMEM;
    memcpy(listening->path, address->host, bytes);
    listening->is_file = server->engine->host.threads;
    return 0;
}

static void server__forget(sally_server *server, struct listening *listening)
{
    if (!listening->path) return;
    mem_free(&server->engine->mem, listening->path, strlen(listening->path) + 1);
    listening->path = NULL;
}

void listening_remove_file(const struct listening *listening)
{
    /* an abstract name goes with its socket, a simulated path is no file */
    if (listening->path && listening->path[0] != '@' && listening->is_file)
        os_remove_socket_file(listening->path);
}

struct port_listen_options server_listen_options(const sally_server *server)
{
    return (struct port_listen_options){
        .backlog = server->options.backlog,
        .v6_only = server->options.v6_only,
        .share_port = server->options.share_port,
        .unix_mode = server->options.unix_mode,
        .accepted = &server->policy->sock,
    };
}

/* One socket. Its listener begins when its shard has the letter. */
static int server__open(sally_server *server, const struct address *address)
{
    sally_engine *engine = server->engine;
    struct shard *shard = engine->shards[server->address_count % engine->shard_count];
    struct port_listen_options options = server_listen_options(server);
    if (server->address_count == SERVER_LISTENERS_MAX) return SALLY_ELIMIT;
    struct listening *listening = &server->addresses[server->address_count];
    port_handle handle;
    int sys_error = 0;
    int err = server__remember(server, listening, address);
    if (err) return err;
    err = port_listen(shard->port, address, &options, &handle, &sys_error);
    if (err) {
        engine_log(engine, SALLY_LOG_DEBUG, "listen: %s (system code %d)", sally_strerror(err),
                   sys_error);
        server__forget(server, listening);
        return err;
    }
    listening->inherits = port_inherits(shard->port, address);
    (void)port_local(shard->port, handle, &listening->local);
    struct listener *listener;
    err = listener_create(&listener, server, listening, shard, handle);
    if (err) {
        /* a given descriptor stays its giver's */
        listening_remove_file(listening); /* while nobody can take it for a dead one's */
        if (address->kind != ADDRESS_FD) port_refuse(shard->port, handle, PORT_CLOSE_FIN);
        server__forget(server, listening);
        return err;
    }
    server->address_count++;
    atomic_fetch_add(&server->listeners, 1);
    (void)shard_post(shard, &listener->letter, true);
    return 0;
}

/* What a text of an address stands for: one address, or all of a host name. */
struct places {
    unsigned count;
    struct address first; /* if it was no name */
    bool named;
    struct addr addrs[RESOLVER_ADDRS];
};

/* Without the engine's lock, for the system's resolver may take its time. */
static int server__find(sally_engine *engine, const char *text, struct places *places)
{
    const struct host *host = &engine->host;
    int err = address_parse(&places->first, text);
    if (err) return err;
    if (engine_stopping(engine)) return SALLY_ESTATE;
    places->count = 1;
    places->named = places->first.kind == ADDRESS_NAME;
    if (!places->named) return 0;
    return host->resolve(host->ctx, places->first.host, places->first.ip.port, places->addrs,
                         RESOLVER_ADDRS, &places->count);
}

/* None of them may fail. Under the lock. */
static int server__add(sally_server *server, const struct places *places)
{
    if (engine_stopping(server->engine) || atomic_load(&server->closed)) return SALLY_ESTATE;
    if (!places->named) return server__open(server, &places->first);
    int err = 0;
    for (unsigned i = 0; !err && i < places->count; i++) {
        struct address one = {.kind = ADDRESS_IP, .ip = places->addrs[i]};
        err = server__open(server, &one);
    }
    return err;
}

int sally_listen(sally_engine *engine, const char *address, const sally_handler *handler,
                 const sally_server_options *options, sally_server **out)
{
    if (!engine || !address || !handler) return SALLY_EINVAL;
    sally_server *server;
    int err = server_create(&server, engine, handler, options);
    if (err) return err;
    struct places places;
    err = server__find(engine, address, &places);
    if (err) {
        server_destroy(server);
        return err;
    }
    os_lock_take(&engine->lock);
    if (engine->server_count == ENGINE_SERVERS_MAX)
        err = SALLY_ELIMIT;
    else
        err = server__add(server, &places);
    bool begun = server->address_count > 0; /* some listener is with its shard: the engine's now */
    if (begun) {
        server->next = engine->servers;
        engine->servers = server;
        if (server->options.memory_max) {
            server->next_budgeted = atomic_load(&engine->budgeted);
            atomic_store(&engine->budgeted, server);
            atomic_store(&engine->has_budget, true);
        }
        engine->server_count++;
    }
    os_lock_give(&engine->lock);
    if (err && begun) {
        atomic_store(&server->closed_told, true); /* whose call failed hears nothing more */
        sally_server_close(server);
    } else if (err)
        server_destroy(server);
    else if (out)
        *out = server;
    return err;
}

int sally_server_add(sally_server *server, const char *address)
{
    if (!server || !address) return SALLY_EINVAL;
    struct places places;
    int err = server__find(server->engine, address, &places);
    if (err) return err;
    os_lock_take(&server->engine->lock);
    err = server__add(server, &places);
    os_lock_give(&server->engine->lock);
    return err;
}

const char *sally_server_address(sally_server *server, unsigned n, char *buf, size_t size)
{
    if (!server || !buf || !size) return NULL;
    os_lock_take(&server->engine->lock);
    bool known = n < server->address_count;
    struct listening listening = known ? server->addresses[n] : (struct listening){.path = NULL};
    os_lock_give(&server->engine->lock);
    if (!known) return NULL;
    if (!listening.path) return addr_format(&listening.local, buf, size);
    static const char prefix[] = "unix:";
    size_t at = 0;
    for (const char *from = prefix; *from && at + 1 < size; from++) buf[at++] = *from;
    for (const char *from = listening.path; *from && at + 1 < size; from++) buf[at++] = *from;
    buf[at] = 0;
    return buf;
}

/* ---- Steering ---- */

/* The listeners look at what their server wants when their shards are woken for a retry. */
void server_wake_listeners(sally_server *server)
{
    for (unsigned i = 0; i < server->engine->shard_count; i++) {
        struct shard *shard = server->engine->shards[i];
        atomic_store(&shard->retry, true);
        shard_wake(shard);
    }
}

static int server__changed(sally_server *server)
{
    server_wake_listeners(server);
    return 0;
}

int sally_server_pause(sally_server *server)
{
    if (!server) return SALLY_EINVAL;
    atomic_store(&server->paused, true);
    return server__changed(server);
}

int sally_server_resume(sally_server *server)
{
    if (!server) return SALLY_EINVAL;
    if (atomic_load(&server->closed)) return SALLY_ESTATE;
    atomic_store(&server->shut, false);
    atomic_store(&server->paused, false);
    return server__changed(server);
}

static bool server__can_reopen(sally_server *server)
{
    bool can = true;
    os_lock_take(&server->engine->lock);
    for (unsigned i = 0; i < server->address_count; i++)
        can = can && server->addresses[i].kind != ADDRESS_FD;
    os_lock_give(&server->engine->lock);
    return can;
}

int sally_server_pause_closed(sally_server *server)
{
    if (!server) return SALLY_EINVAL;
    if (atomic_load(&server->closed)) return SALLY_ESTATE;
    if (!server__can_reopen(server)) return SALLY_ENOTSUP;
    atomic_store(&server->paused, true);
    atomic_store(&server->shut, true);
    return server__changed(server);
}

int sally_server_close(sally_server *server)
{
    if (!server) return SALLY_EINVAL;
    atomic_store(&server->closed, true);
    return server__changed(server);
}

void *sally_server_user(const sally_server *server)
{
    return server ? server->policy->handler.user : NULL;
}

uint32_t sally_server_conns(const sally_server *server)
{
    return server ? atomic_load(&server->conns) : 0;
}

int sally_server_get_stats(sally_server *server, sally_server_stats *stats)
{
    if (!server || !stats) return SALLY_EINVAL;
    *stats = (sally_server_stats){
        .conns = atomic_load(&server->conns),
        .listeners = atomic_load(&server->listeners),
        .armed = atomic_load(&server->armed),
        .exhausted = atomic_load(&server->exhausted),
        .accepted = atomic_load(&server->accepted),
        .accept_failures = atomic_load(&server->accept_failures),
        .dead_on_arrival = atomic_load(&server->dead_on_arrival),
        .refused = atomic_load(&server->refused),
        .exhausted_times = atomic_load(&server->exhausted_times),
        .stalled_times = atomic_load(&server->stalled_times),
        .silent = atomic_load(&server->silent),
        .backlog_waiting = atomic_load(&server->backlog_waiting),
        .backlog_max = atomic_load(&server->backlog_max),
        .backlog_dropped = atomic_load(&server->backlog_dropped),
    };
    return 0;
}
