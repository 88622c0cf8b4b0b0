/* Clients that connect again; see client.h. */
#include "net/client.h"

#include <assert.h>

#include "net/conn.h"
#include "net/dial.h"
#include "net/letter.h"

enum { DELAY_MIN_MS = 100, DELAY_MAX_MS = 30 * 1000, JITTER_PERCENT = 100, UP_MS = 5000 };

/* ---- Lists and references ---- */

static void client__enlist(sally_client *client)
{
    sally_engine *engine = client->engine;
    client->next = engine->clients;
    if (client->next) client->next->prev = client;
    engine->clients = client;
}

static void client__free(sally_client *client)
{
    policy_release(client->policy);
    mem_free(&client->engine->mem, client, sizeof *client);
}

void client_release(sally_client *client)
{
    sally_engine *engine = client->engine;
    if (atomic_fetch_sub(&client->refs, 1) != 1) return;
    os_lock_take(&engine->lock);
    if (client->prev)
        client->prev->next = client->next;
    else
        engine->clients = client->next;
    if (client->next) client->next->prev = client->prev;
    engine->client_count--;
    os_lock_give(&engine->lock);
    client__free(client);
}

void clients_free(sally_engine *engine)
{
    for (sally_client *client = engine->clients, *next; client; client = next) {
        next = client->next;
        client__free(client);
    }
}

static void client__link(sally_client *client)
{
    struct shard *shard = client->shard;
    client->shard_next = shard->clients;
    if (client->shard_next) client->shard_next->shard_prev = client;
    shard->clients = client;
}

static void client__unlink(sally_client *client)
{
    if (client->shard_prev)
        client->shard_prev->shard_next = client->shard_next;
    else
        client->shard->clients = client->shard_next;
    if (client->shard_next) client->shard_next->shard_prev = client->shard_prev;
}

/* ---- What it says ---- */

static void client__tell(sally_client *client, sally_client_event *event)
{
    bool after = event->state == SALLY_CLIENT_WAITING || event->state == SALLY_CLIENT_ENDED;
    event->failures = client->failures;
    if (after) {
        event->reason = client->last.reason;
        event->error = client->last.error;
        event->sys_error = client->last.sys_error;
    }
    atomic_store(&client->state, (int)event->state);
    if (client->on_state) client->on_state(client, event);
}

/* ---- Its states ---- */

static void client__end(sally_client *client, sally_client_end end)
{
    sally_client_event event = {.state = SALLY_CLIENT_ENDED, .end = end};
    assert(!timer_is_set(&client->timer) && !client->conn);
    client__unlink(client);
    client__tell(client, &event);
    client_release(client);
}

static void client__wait(sally_client *client)
{
    struct shard *shard = client->shard;
    uint32_t base_ms = backoff_base_ms(&client->backoff, client->failures ? client->failures : 1);
    uint32_t more_ms = backoff_spread_ms(&client->backoff, base_ms);
    sally_client_event event = {.state = SALLY_CLIENT_WAITING};
    event.wait_ms = base_ms + (uint32_t)shard_random(shard, (uint64_t)more_ms + 1);
    wheel_set(&shard->wheel, &client->timer, engine_due_ms(client->engine, event.wait_ms));
    client__tell(client, &event);
}

/* There is no connection and no attempt (any more): what next? */
static void client__next(sally_client *client)
{
    if (!client_wants(client))
        client__end(client, SALLY_CLIENT_STOPPED);
    else if (engine_stopping(client->engine))
        client__end(client, SALLY_CLIENT_SHUTDOWN);
    else if (client->attempts_max && client->failures >= client->attempts_max)
        client__end(client, SALLY_CLIENT_GAVE_UP);
    else
        client__wait(client);
}

static void client__failed(sally_client *client)
{
    if (client->failures < UINT32_MAX) client->failures++;
    client__next(client);
}

static void client__attempt(sally_client *client)
{
    sally_client_event event = {.state = SALLY_CLIENT_CONNECTING};
    client__tell(client, &event);
    if (!client_wants(client)) return; /* stopped from in there: its letter ends it */
    int err = dial_here(client->shard, &client->to, client->policy, &client->conn);
    if (!err) return;
    client->last = (sally_close_info){.reason = SALLY_CLOSE_CONNECT_FAILED, .error = err};
    client__failed(client);
}

void client_on_timer(sally_client *client)
{
    if (engine_stopping(client->engine) || !client_wants(client))
        client__next(client);
    else
        client__attempt(client);
}

void client_on_begin(sally_client *client)
{
    client__link(client);
    shard_withdraw(client->shard); /* in the list it keeps the shard by itself */
    client_on_timer(client);
}

void client_on_stop(sally_client *client)
{
    bool ended = atomic_load(&client->state) == SALLY_CLIENT_ENDED;
    sally_conn *conn = client->conn ? shard_find(client->shard, client->conn) : NULL;
    wheel_cancel(&client->shard->wheel, &client->timer);
    if (conn)
        conn_close_by_us(conn);
    else if (!ended)
        client__next(client);
    client_release(client);
}

void clients_on_stopping(struct shard *shard)
{
    for (sally_client *client = shard->clients, *next; client; client = next) {
        next = client->shard_next;
        if (!timer_is_set(&client->timer)) continue; /* its connection or its letter ends it */
        wheel_cancel(&shard->wheel, &client->timer);
        client__next(client);
    }
}

/* ---- Its connection ---- */

void client_on_open(sally_client *client, sally_conn *conn)
{
    sally_client_event event = {.state = SALLY_CLIENT_UP, .id = client->conn};
    assert(client->conn == shard_id(client->shard, &conn->sock.slot));
    client->opened_ms = client->shard->now_ms;
    atomic_store(&client->open, client->conn);
    client__tell(client, &event);
}

void client_on_closing(sally_client *client) { atomic_store(&client->open, 0); }

void client_on_conn_end(sally_client *client, bool opened, const sally_close_info *info)
{
    client->conn = 0;
    client->last = *info;
    if (opened && client->shard->now_ms - client->opened_ms >= client->up_ms) {
        client->failures = 0;
        client__next(client);
    } else {
        client__failed(client);
    }
}

/* ---- From outside ---- */

static int client__options(sally_client *client, const sally_handler *handler,
                           const sally_client_options *options)
{
    struct backoff *backoff = &client->backoff;
    if ((unsigned)options->backoff > SALLY_BACKOFF_FIXED) return SALLY_EINVAL;
    backoff->kind = (enum backoff_kind)options->backoff;
    backoff->min_ms = options->delay_min_ms ? options->delay_min_ms : DELAY_MIN_MS;
    backoff->max_ms = options->delay_max_ms ? options->delay_max_ms : DELAY_MAX_MS;
    if (!options->delay_max_ms && backoff->max_ms < backoff->min_ms)
        backoff->max_ms = backoff->min_ms;
    backoff->jitter_percent = options->jitter_percent ? options->jitter_percent : JITTER_PERCENT;
    if (options->no_jitter) backoff->jitter_percent = 0;
    if (backoff->max_ms < backoff->min_ms || backoff->min_ms == SALLY_FOREVER) return SALLY_EINVAL;
    client->up_ms = options->up_ms ? options->up_ms : UP_MS;
    client->attempts_max = options->attempts_max;
    client->on_state = options->on_state;
    return dial_policy(&client->policy, client->engine, handler, &options->connect, &client->to);
}

static int client__make(sally_client **out, sally_engine *engine, const struct address *to,
                        const sally_handler *handler, const sally_client_options *options)
{
    sally_client *client = mem_zalloc(&engine->mem, sizeof *client);
    if (!client) return SALLY_ENOMEM;
    client->engine = engine;
    client->to = *to;
    client->timer.kind = TIMER_CLIENT;
    client->begin = (struct letter){.mail = {sizeof *client, LETTER_CLIENT}};
    client->stop = (struct letter){.mail = {0, LETTER_CLIENT_STOP}};
    atomic_init(&client->state, SALLY_CLIENT_CONNECTING);
    int err = client__options(client, handler, options);
    if (err) {
        mem_free(&engine->mem, client, sizeof *client);
        return err;
    }
    client->policy->client = client;
    *out = client;
    return 0;
}

/* Counted and in the engine's list; false at the limit. */
static bool client__admit(sally_client *client)
{
    sally_engine *engine = client->engine;
    os_lock_take(&engine->lock);
    bool room = engine->client_count < engine->conns_max;
    if (room) {
        engine->client_count++;
        client__enlist(client);
    }
    os_lock_give(&engine->lock);
    return room;
}

/* To its shard; the handle is there before the first callback can be. Without success nothing is
 * left of it. */
static int client__launch(sally_client *client, sally_client **handle)
{
    atomic_init(&client->refs, handle ? 2 : 1);
    if (handle) *handle = client;
    if (!client__admit(client)) {
        client__free(client);
        return SALLY_ELIMIT;
    }
    client->shard = engine_pick_shard(client->engine);
    int err = client->shard ? shard_post(client->shard, &client->begin, false) : SALLY_ESTATE;
    if (!err) return 0;
    if (client->shard) shard_withdraw(client->shard);
    atomic_store(&client->refs, 1);
    client_release(client);
    return err;
}

int sally_client_create(sally_engine *engine, const char *address, const sally_handler *handler,
                        const sally_client_options *options, sally_client **out)
{
    static const sally_client_options defaults;
    if (!engine || !address || !handler) return SALLY_EINVAL;
    struct address to;
    int err = dial_parse(&to, address);
    if (err) return err;
    if (engine_stopping(engine)) return SALLY_ESTATE;
    sally_client *client;
    err = client__make(&client, engine, &to, handler, options ? options : &defaults);
    if (err) return err;
    err = client__launch(client, out);
    if (err && out) *out = NULL;
    return err;
}

int sally_client_stop(sally_client *client)
{
    if (!client) return SALLY_EINVAL;
    if (atomic_load(&client->state) == SALLY_CLIENT_ENDED) return 0;
    if (atomic_exchange(&client->stop_asked, true)) return 0;
    atomic_fetch_add(&client->refs, 1);
    return shard_post(client->shard, &client->stop, true);
}

int sally_client_destroy(sally_client *client)
{
    if (!client) return 0;
    (void)sally_client_stop(client);
    client_release(client);
    return 0;
}

sally_id sally_client_id(const sally_client *client)
{
    return client ? atomic_load(&client->open) : 0;
}

sally_client_state sally_client_get_state(const sally_client *client)
{
    return client ? (sally_client_state)atomic_load(&client->state) : SALLY_CLIENT_ENDED;
}

void *sally_client_user(const sally_client *client)
{
    return client ? client->policy->handler.user : NULL;
}

sally_engine *sally_client_engine(const sally_client *client)
{
    return client ? client->engine : NULL;
}

sally_client *sally_conn_client(const sally_conn *conn)
{
    return conn ? conn->policy->client : NULL;
}
