/* A newcomer's way from the accept to a connection, or out again; see newcomer.h. */
#include "net/newcomer.h"

#include <string.h>

#include "admission/bans.h"
#include "net/conn.h"
#include "net/gate.h"
#include "net/letter.h"
#include "net/proxies.h"
#include "os/address.h"

void newcomer_count_refused(sally_server *server, struct shard *shard, sally_refusal why)
{
    atomic_fetch_add(&server->refused, 1); /* first: the causes' sum is never more */
    atomic_fetch_add(&server->refused_for[why], 1);
    counter_add(&shard->counters.refused, 1);
}

static void newcomer__count(struct listener *listener, const struct newcomer *newcomer,
                            sally_refusal why)
{
    newcomer_count_refused(listener->server, listener->shard, why);
    if (newcomer->source) gate_leave(listener->server->gate, newcomer->source);
}

static void newcomer__refuse(struct listener *listener, const struct newcomer *newcomer,
                             sally_refusal why)
{
    newcomer__count(listener, newcomer, why);
    port_refuse(listener->shard->port, newcomer->handle, PORT_CLOSE_RST);
}

/* With the farewell, while there are not too many of those. */
static void newcomer__send_off(struct listener *listener, const struct newcomer *newcomer,
                               sally_refusal why)
{
    sally_server *server = listener->server;
    struct gate *gate = server->gate;
    if (!guest_send_off(listener->shard, gate->guests, newcomer->handle, &newcomer->peer,
                        gate->farewell, gate->farewell_bytes)) {
        newcomer__refuse(listener, newcomer, why);
        return;
    }
    atomic_fetch_add(&server->farewells, 1);
    newcomer__count(listener, newcomer, why);
}

/* Past a limit. */
static void newcomer__turn_away(struct listener *listener, const struct newcomer *newcomer,
                                sally_refusal why)
{
    if (listener->server->options.at_limit == SALLY_AT_LIMIT_FAREWELL)
        newcomer__send_off(listener, newcomer, why);
    else
        newcomer__refuse(listener, newcomer, why);
}

sally_verdict newcomer_verdict(sally_server *server, const struct listening *address,
                               const struct newcomer *newcomer)
{
    const sally_handler *handler = &server->policy->handler;
    if (!handler->on_accept) return SALLY_ALLOW;
    char peer_text[ADDRESS_TEXT_MAX], local_text[ADDRESS_TEXT_MAX];
    uint32_t live = gate_live(server->gate, &newcomer->peer);
    sally_accept_info info = {
        .peer = addr_format(&newcomer->peer, peer_text, sizeof peer_text),
        .address = addr_format(&address->local, local_text, sizeof local_text),
        /* whose header was waited for has its place already */
        .server_conns = atomic_load(&server->conns) - (newcomer->proxied_at != NULL),
        .address_conns = newcomer->source && live ? live - 1 : live, /* it is counted already */
        .delays = newcomer->delays,
    };
    return handler->on_accept(server, &info);
}

/* Room has been reserved. */
static void newcomer__hand_over(struct listener *listener, const struct newcomer *newcomer)
{
    sally_server *server = listener->server;
    sally_engine *engine = server->engine;
    struct shard *shard = engine_pick_shard(engine);
    if (shard == listener->shard) {
        conn_adopt(shard, policy_ref(server->policy), newcomer, listener->address->inherits);
        return;
    }
    size_t bytes = sizeof(struct letter_adopt) + newcomer->first.len;
    struct letter_adopt *letter = shard ? mem_zalloc(&engine->mem, bytes) : NULL;
    if (!letter) {
        if (shard) shard_withdraw(shard);
        server_release_conn(server);
        newcomer__refuse(listener, newcomer, SALLY_REFUSED_NO_MEMORY);
        return;
    }
    letter->letter.mail = (struct mail){(uint32_t)bytes, LETTER_ADOPT};
    letter->inherits = listener->address->inherits;
    letter->newcomer = *newcomer;
    letter->newcomer.first.data = letter->first;
    letter->policy = policy_ref(server->policy);
    if (newcomer->first.len) memcpy(letter->first, newcomer->first.data, newcomer->first.len);
    (void)shard_post(shard, &letter->letter, true); /* bounded by the places reserved */
}

/* A place and its turn; *why: which of them there is not. */
static bool newcomer__reserve(struct listener *listener, sally_refusal *why)
{
    sally_server *server = listener->server;
    struct gate *gate = server->gate;
    *why = SALLY_REFUSED_LIMIT;
    if (gate && server_has_room(server) && !gate_take_turn(gate, listener->shard->now_ms)) {
        *why = SALLY_REFUSED_RATE;
        return false;
    }
    return server_reserve_conn(server);
}

void newcomers_let_in(struct listener *listener)
{
    struct mem *mem = &listener->shard->engine->mem;
    sally_refusal why;
    while (listener->parked.first && server_wants_newcomers(listener->server) &&
           newcomer__reserve(listener, &why)) {
        struct lobby_seat *seat = lobby_take(&listener->parked);
        newcomer__hand_over(listener, lobby_newcomer(seat));
        lobby_free(seat, mem);
    }
}

/* Nothing is against it: it is let in, or waits, as there is room. */
static void newcomer__let_in(struct listener *listener, const struct newcomer *newcomer)
{
    sally_server *server = listener->server;
    sally_refusal why = SALLY_REFUSED_LIMIT;
    if (!listener->parked.first && server_wants_newcomers(server) &&
        newcomer__reserve(listener, &why))
        newcomer__hand_over(listener, newcomer);
    else if (server->options.at_limit != SALLY_AT_LIMIT_WAIT)
        newcomer__turn_away(listener, newcomer, why);
    else if (!lobby_put(&listener->parked, &listener->shard->engine->mem, newcomer))
        newcomer__refuse(listener, newcomer, SALLY_REFUSED_NO_MEMORY);
}

static void newcomer__delay(struct listener *listener, struct newcomer *newcomer)
{
    struct gate *gate = listener->server->gate;
    uint64_t now_ms = listener->shard->now_ms;
    newcomer->delays++;
    newcomer->due_ms = now_ms + gate->delay_ms;
    bool may = newcomer->due_ms - newcomer->came_ms <= gate->delay_max_ms && gate_delay(gate);
    if (may && lobby_put(&listener->delayed, &listener->shard->engine->mem, newcomer)) {
        listener_wake_at(listener, newcomer->due_ms);
        return;
    }
    if (may) gate_undelay(gate);
    newcomer__refuse(listener, newcomer, SALLY_REFUSED_DELAY);
}

static void newcomer__ask(struct listener *listener, struct newcomer *newcomer)
{
    switch (newcomer_verdict(listener->server, listener->address, newcomer)) {
    case SALLY_ALLOW: newcomer__let_in(listener, newcomer); return;
    case SALLY_FAREWELL: newcomer__send_off(listener, newcomer, SALLY_REFUSED_BY_HANDLER); return;
    case SALLY_DELAY: newcomer__delay(listener, newcomer); return;
    case SALLY_RESET: break;
    }
    newcomer__refuse(listener, newcomer, SALLY_REFUSED_BY_HANDLER);
}

/* Those whose time is over; whoever was banned meanwhile is not asked for again. */
void newcomers_ask_again(struct listener *listener)
{
    struct gate *gate = listener->server->gate;
    struct mem *mem = &listener->shard->engine->mem;
    for (const struct newcomer *first;
         (first = lobby_first(&listener->delayed)) && first->due_ms <= listener->shard->now_ms;) {
        struct lobby_seat *seat = lobby_take(&listener->delayed);
        struct newcomer *newcomer = lobby_newcomer(seat);
        gate_undelay(gate);
        if (gate->bans && bans_refuse(gate->bans, &newcomer->peer))
            newcomer__refuse(listener, newcomer, SALLY_REFUSED_BANNED);
        else
            newcomer__ask(listener, newcomer);
        lobby_free(seat, mem);
    }
}

/* Of a server with proxies: whether it is one's, which is judged when its header is there, or has
 * been refused for being nobody's. */
static bool newcomer__is_proxied(struct listener *listener, struct newcomer *newcomer)
{
    const struct proxies *proxies = listener->server->proxies;
    if (proxies_trust(proxies, &newcomer->peer)) {
        newcomer->proxied_at = listener->address;
        newcomer__let_in(listener, newcomer);
        return true;
    }
    if (!proxies->plain) newcomer__refuse(listener, newcomer, SALLY_REFUSED_PROXY_UNTRUSTED);
    return !proxies->plain;
}

void newcomer_judge(struct listener *listener, struct newcomer *newcomer)
{
    sally_server *server = listener->server;
    sally_refusal why;
    newcomer->came_ms = listener->shard->now_ms;
    atomic_fetch_add(&server->accepted, 1);
    counter_add(&listener->shard->counters.accepted, 1);
    if (newcomer->peer.family == ADDR_NONE) { /* gone before we looked: not worth a connection */
        atomic_fetch_add(&server->dead_on_arrival, 1);
        port_refuse(listener->shard->port, newcomer->handle, PORT_CLOSE_RST);
    } else if (listener->state != LISTENER_OPEN && listener->state != LISTENER_EXHAUSTED) {
        newcomer__refuse(listener, newcomer, SALLY_REFUSED_CLOSING);
    } else if (server->proxies && newcomer__is_proxied(listener, newcomer)) {
        return;
    } else if (!server->gate) {
        newcomer__let_in(listener, newcomer);
    } else if (gate_enter(server->gate, newcomer, listener->shard->now_ms, &why)) {
        newcomer__ask(listener, newcomer);
    } else if (why == SALLY_REFUSED_ADDRESS_LIMIT || why == SALLY_REFUSED_ADDRESS_RATE) {
        newcomer__turn_away(listener, newcomer, why);
    } else {
        newcomer__refuse(listener, newcomer, why);
    }
}

/* Nobody who waits will be let in. */
static void newcomers__clear(struct listener *listener, struct lobby *lobby)
{
    for (struct lobby_seat *seat; (seat = lobby_take(lobby));) {
        if (lobby == &listener->delayed) gate_undelay(listener->server->gate);
        newcomer__refuse(listener, lobby_newcomer(seat), SALLY_REFUSED_CLOSING);
        lobby_free(seat, &listener->shard->engine->mem);
    }
}

void newcomers_clear(struct listener *listener)
{
    newcomers__clear(listener, &listener->parked);
    newcomers__clear(listener, &listener->delayed);
}
