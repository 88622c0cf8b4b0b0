/* Outgoing connections until they are open; see dial.h. */
#include "net/dial.h"

#include <assert.h>
#include <string.h>

#include "net/chain.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/group.h"
#include "net/limits.h"
#include "net/route.h"
#include "net/throttle.h"
#include "net/tunnel.h"

enum { CONNECT_MS = 30 * 1000, ATTEMPT_MS = 2 * 1000 };

void dial_free(struct dial *dial)
{
    policy_release(dial->policy);
    mem_free(&dial->shard->engine->mem, dial, sizeof *dial);
}

bool dial_drop(sally_conn *conn)
{
    struct dial *dial = conn->dial;
    if (!dial) return true;
    struct addr peer = dial->peer;
    struct membership *groups = dial->groups;
    dial->groups = NULL;
    conn->dial = NULL; /* extra has its place from here on */
    if (!dial->away) dial_free(dial);
    bool room = conn_set_peer(conn, &peer);
    if (groups && conn_extra(conn))
        conn->extra->groups = groups;
    else
        group_leave_all(&groups);
    return room;
}

uint64_t dial_due_ms(const sally_conn *conn)
{
    const struct dial *dial = conn->dial;
    uint64_t due = policy_due_ms(dial->began_ms, conn->policy->connect_ms);
    bool others = dial->next < dial->lookup.count;
    uint64_t attempt = policy_due_ms(dial->attempt_ms, conn->policy->attempt_ms);
    return !dial->away && !dial->closing && others && attempt < due ? attempt : due;
}

/* A socket whose last operation has ended is as new. (Whether the port may meet an event of the old
 * descriptor once more: its PORT_CLOSE has been taken, so by P4 it doesn't look at the socket for
 * it.) */
static void sock_reset(struct port_sock *sock)
{
    unsigned role = sock->role;
    assert(sock->in_flight == 0);
    /* the name stays: other threads may be looking at it */
    memset((unsigned char *)sock + sizeof sock->slot, 0, sizeof *sock - sizeof sock->slot);
    sock->handle = PORT_NO_HANDLE;
    sock->role = role & 0x7f;
}

void dial_failed(sally_conn *conn, int error, int sys_error)
{
    counter_add(&conn->shard->counters.connect_failures, 1);
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_CONNECT_FAILED, error, sys_error);
}

void dial_late(sally_conn *conn)
{
    counter_add(&conn->shard->counters.connect_failures, 1);
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT, 0);
}

static void dial__connect(sally_conn *conn, const struct address *to)
{
    const struct policy *policy = conn->policy;
    conn->dial->attempt_ms = conn->shard->now_ms;
    port_connect(conn->shard->port, &conn->sock, to, policy->has_from ? &policy->from : NULL,
                 &policy->sock);
    conn_update_timer(conn);
}

static void dial__next(sally_conn *conn)
{
    struct dial *dial = conn->dial;
    if (dial->next == dial->lookup.count) {
        dial_failed(conn, dial->error, dial->sys_error);
        return;
    }
    struct address to = {.kind = ADDRESS_IP, .ip = dial->lookup.addrs[dial->next++]};
    dial->peer = to.ip;
    dial__connect(conn, &to);
}

/* ---- From name to addresses ---- */

/* The families alternate, beginning with the resolver's first, so that one family that leads
 * nowhere costs one attempt before the other has its turn (the order of RFC 8305 section 4;
 * attempts follow each other, they don't race). */
static void dial__alternate(struct lookup *lookup)
{
    struct addr sorted[RESOLVER_ADDRS];
    bool used[RESOLVER_ADDRS] = {false};
    uint8_t family = lookup->count ? lookup->addrs[0].family : ADDR_NONE;
    for (unsigned n = 0; n < lookup->count; n++) {
        unsigned pick = RESOLVER_ADDRS;
        for (unsigned i = 0; i < lookup->count; i++) {
            if (used[i]) continue;
            if (pick == RESOLVER_ADDRS) pick = i; /* the other family is used up */
            if (lookup->addrs[i].family != family) continue;
            pick = i;
            break;
        }
        used[pick] = true;
        sorted[n] = lookup->addrs[pick];
        family = sorted[n].family == ADDR_V6 ? ADDR_V4 : ADDR_V6;
    }
    memcpy(lookup->addrs, sorted, lookup->count * sizeof sorted[0]);
}

/* On a resolver thread. */
static void dial__looked_up(struct lookup *lookup)
{
    struct dial *dial =
        (struct dial *)(void *)((unsigned char *)lookup - offsetof(struct dial, lookup));
    dial->letter.mail.kind = LETTER_RESOLVED;
    (void)shard_post(dial->shard, &dial->letter, true);
}

static void dial__resolve(sally_conn *conn)
{
    struct dial *dial = conn->dial;
    sally_engine *engine = conn->shard->engine;
    struct lookup *lookup = &dial->lookup;
    lookup->name = dial->to.host;
    lookup->port = dial->to.ip.port;
    lookup->done = dial__looked_up;
    if (!engine->host.threads) {
        lookup->error = engine->host.resolve(engine->host.ctx, lookup->name, lookup->port,
                                             lookup->addrs, RESOLVER_ADDRS, &lookup->count);
        dial->away = true;
        dial_resolved(dial);
        return;
    }
    dial->away = true;
    conn_update_timer(conn);
    int err = resolver_ask(&engine->resolver, lookup);
    if (!err) return;
    dial->away = false;
    dial_failed(conn, err, 0);
}

/* ---- Letters ---- */

static void dial__set_out(sally_conn *conn)
{
    struct dial *dial = conn->dial;
    if (dial->to.kind == ADDRESS_NAME) {
        dial__resolve(conn);
    } else if (dial->to.kind == ADDRESS_PATH) {
        dial->peer.family = ADDR_UNIX;
        dial__connect(conn, &dial->to);
    } else {
        dial->lookup.addrs[0] = dial->to.ip;
        dial->lookup.count = 1;
        dial__next(conn);
    }
}

/* By way of its proxy, if it has one. */
static void dial__choose(struct dial *dial, const struct route *route)
{
    if (!route) return;
    dial->asks_target = route_asks(route);
    dial->to = dial->asks_target ? route->target : route->proxy;
}

/* The target's address is known: the proxy is next. */
static void dial__found_target(sally_conn *conn)
{
    struct dial *dial = conn->dial;
    const struct route *route = conn->policy->route;
    const struct addr *found = route_pick(route, dial->lookup.addrs, dial->lookup.count);
    if (!found) {
        dial_failed(conn, SALLY_ENONAME, 0);
        return;
    }
    dial->target = *found;
    dial->asks_target = false;
    dial->lookup.count = 0;
    dial->to = route->proxy;
    dial__set_out(conn);
}

void dial_begin(struct dial *dial)
{
    sally_conn *conn = shard_find(dial->shard, dial->id); /* nobody could close it before this */
    conn_init(conn, dial->shard, dial->policy);
    dial->policy = NULL;
    dial->away = false;
    conn->dial = dial;
    conn_set_state(conn, CONN_DIALING);
    dial->began_ms = conn->shard->now_ms;
    dial->error = SALLY_ENONAME;
    if (engine_stopping(conn->shard->engine)) {
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_SHUTDOWN, SALLY_ECANCELED, 0);
    } else {
        dial__choose(dial, conn->policy->route);
        dial__set_out(conn);
    }
}

void dial_resolved(struct dial *dial)
{
    sally_conn *conn = shard_find(dial->shard, dial->id);
    dial->away = false;
    if (!conn || conn->state != CONN_DIALING) {
        dial_free(dial); /* it was closed meanwhile */
        return;
    }
    if (dial->lookup.error) {
        dial_failed(conn, dial->lookup.error, 0);
        return;
    }
    if (dial->asks_target) {
        dial__found_target(conn);
        return;
    }
    dial__alternate(&dial->lookup);
    dial__next(conn);
}

/* ---- Events ---- */

void dial_open(sally_conn *conn)
{
    if (!limits_attach(conn) || !throttle_attach(conn) || !chain_attach(conn)) {
        dial_failed(conn, SALLY_ENOMEM, 0);
        return;
    }
    conn_begin(conn);
}

static void dial__connected(sally_conn *conn)
{
    const struct addr target = conn->dial->target;
    uint64_t due_ms = policy_due_ms(conn->dial->began_ms, conn->policy->connect_ms);
    conn_set_state(conn, CONN_NEW); /* neither DIALING nor open yet */
    if (!dial_drop(conn))
        dial_failed(conn, SALLY_ENOMEM, 0);
    else if (conn->policy->route)
        tunnel_begin(conn, &target, due_ms);
    else
        dial_open(conn);
}

void dial_on_event(sally_conn *conn, const struct port_event *event)
{
    struct dial *dial = conn->dial;
    if (event->op == PORT_CLOSE) { /* of an attempt that took too long */
        dial->closing = false;
        sock_reset(&conn->sock);
        dial__next(conn);
        return;
    }
    if (event->op != PORT_CONNECT || dial->closing) return;
    if (event->error) {
        dial->error = event->error;
        dial->sys_error = event->sys_error;
        dial__next(conn);
        return;
    }
    dial__connected(conn);
}

void dial_on_timer(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    struct dial *dial = conn->dial;
    if (policy_due_ms(dial->began_ms, conn->policy->connect_ms) <= shard->now_ms) {
        dial_late(conn);
        return;
    }
    if (dial->closing || dial->away || dial_due_ms(conn) > shard->now_ms) return;
    if (shard->events_left) return; /* the slot is used again: only with no old event in hand */
    dial->error = SALLY_ETIMEDOUT;
    dial->sys_error = 0;
    dial->closing = true;
    port_close(shard->port, &conn->sock, PORT_CLOSE_RST);
}

/* ---- Making ---- */

int dial_parse(struct address *to, const char *text)
{
    int err = address_parse(to, text);
    if (err) return err;
    return to->kind == ADDRESS_ANY || to->kind == ADDRESS_FD ? SALLY_EADDRESS : 0;
}

int dial_policy(struct policy **out, sally_engine *engine, const sally_handler *handler,
                const sally_connect_options *options, const struct address *to)
{
    struct address from = {.kind = ADDRESS_IP};
    int err = options->from ? address_parse(&from, options->from) : 0;
    if (err) return err;
    if (from.kind != ADDRESS_IP) return SALLY_EADDRESS;
    struct policy *policy;
    err = policy_create(&policy, engine, NULL, handler, &options->conn);
    if (err) return err;
    policy->has_from = options->from != NULL;
    policy->from = from.ip;
    policy->connect_ms = options->connect_ms ? options->connect_ms : CONNECT_MS;
    policy->attempt_ms = options->attempt_ms ? options->attempt_ms : ATTEMPT_MS;
    if (options->connect_ms == SALLY_FOREVER) policy->connect_ms = POLICY_NEVER;
    if (options->attempt_ms == SALLY_FOREVER) policy->attempt_ms = POLICY_NEVER;
    err = route_make(policy, options, to);
    if (err) {
        policy_release(policy);
        return err;
    }
    *out = policy;
    return 0;
}

int dial_here(struct shard *shard, const struct address *to, struct policy *policy, sally_id *id)
{
    sally_engine *engine = shard->engine;
    if (!engine_reserve_conn(engine)) return SALLY_ELIMIT;
    struct dial *dial = mem_zalloc(&engine->mem, sizeof *dial);
    sally_conn *conn = dial ? conn_name(shard, policy) : NULL;
    if (!conn) {
        if (dial) mem_free(&engine->mem, dial, sizeof *dial);
        engine_release_conn(engine);
        return SALLY_ENOMEM;
    }
    atomic_fetch_add(&shard->conns, 1);
    dial->shard = shard;
    dial->policy = policy_ref(policy);
    dial->to = *to;
    *id = dial->id = shard_id(shard, &conn->sock.slot);
    dial_begin(dial);
    return 0;
}

/* ---- From outside ---- */

/* Two connections that one handler looks after have to be on one shard. */
static struct shard *connect__shard(sally_engine *engine, bool same_shard)
{
    struct shard *here = shard_current();
    if (!same_shard) return engine_pick_shard(engine);
    return here && here->engine == engine && shard_promise(here) ? here : NULL;
}

/* Takes the policy's reference, also on failure. */
static int connect__post(sally_engine *engine, const struct address *to, struct policy *policy,
                         bool same_shard, sally_id *id)
{
    int err = SALLY_ENOMEM;
    struct shard *shard = connect__shard(engine, same_shard);
    sally_conn *conn = NULL;
    struct dial *dial = shard ? mem_zalloc(&engine->mem, sizeof *dial) : NULL;
    if (!dial) {
        if (!shard) err = SALLY_ESTATE; /* nobody would read the letter */
        policy_release(policy);
        goto fail;
    }
    dial->letter.mail = (struct mail){sizeof *dial, LETTER_DIAL};
    dial->shard = shard;
    dial->policy = policy;
    dial->to = *to;
    dial->away = true;
    conn = conn_name(shard, policy);
    if (!conn) goto fail;
    sally_id name = dial->id = shard_id(shard, &conn->sock.slot);
    err = shard_post(shard, &dial->letter, false);
    if (err) goto fail;
    if (id) *id = name;
    return 0;
fail:
    if (conn) {
        inbound_close(&shard->inbound[conn->sock.slot.index]);
        slots_give(&shard->slots, conn);
    }
    if (dial) dial_free(dial);
    if (shard) shard_withdraw(shard);
    engine_release_conn(engine);
    return err;
}

int sally_connect(sally_engine *engine, const char *address, const sally_handler *handler,
                  const sally_connect_options *options, sally_id *id)
{
    if (!engine || !address || !handler) return SALLY_EINVAL;
    static const sally_connect_options defaults;
    struct address to;
    int err = dial_parse(&to, address);
    if (err) return err;
    if (engine_stopping(engine)) return SALLY_ESTATE;
    struct policy *policy;
    err = dial_policy(&policy, engine, handler, options ? options : &defaults, &to);
    if (err) return err;
    if (!engine_reserve_conn(engine)) {
        policy_release(policy);
        return SALLY_ELIMIT;
    }
    return connect__post(engine, &to, policy, options && options->same_shard, id);
}
