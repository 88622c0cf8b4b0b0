/* Levels of memory and who is closed at the highest; see budget.h. */
#include "net/budget.h"

#include "net/conn.h"
#include "net/flow.h"
#include "net/server.h"

enum {
    FIRST_BYTES_MAX = 64 * 1024, /* of a send to an empty queue while newcomers are refused */
    FIRST_BYTES_LAST = 4 * 1024, /* while connections are closed; who holds no more stays */
    RELIEVE_MS = 10,             /* between two looks for the worst */
    RELIEVED_PERCENT = 80        /* what closing aims at */
};

enum budget_level budget_of_engine(const sally_engine *engine)
{
    return budget_level(mem_in_use(&engine->mem), engine->options.memory_max);
}

enum budget_level budget_of_server(const sally_server *server)
{
    if (!server) return BUDGET_FREE;
    uint64_t max = server->options.memory_max;
    return max ? budget_level(atomic_load_explicit(&server->held, memory_order_relaxed), max)
               : BUDGET_FREE;
}

bool budget_refuses(const sally_server *server)
{
    return budget_of_engine(server->engine) >= BUDGET_REFUSES ||
           budget_of_server(server) >= BUDGET_REFUSES;
}

static enum budget_level budget__of(const sally_conn *conn)
{
    enum budget_level engine = budget_of_engine(conn->shard->engine);
    enum budget_level server = budget_of_server(conn->policy->server);
    return engine > server ? engine : server;
}

bool budget_is_tight(const sally_conn *conn)
{
    return conn->policy->has_budget && budget__of(conn) != BUDGET_FREE;
}

uint32_t budget_kept_max(const sally_conn *conn)
{
    bool last = conn->policy->has_budget && budget__of(conn) == BUDGET_CLOSES;
    return last ? FIRST_BYTES_LAST : 0;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t left_of(uint64_t max, uint64_t used)
{
    if (!max) return SIZE_MAX;
    return max > used ? (size_t)(max - used) : 0;
}

static size_t server__left(const sally_server *server)
{
    if (!server || !server->options.memory_max) return SIZE_MAX;
    return left_of(server->options.memory_max,
                   atomic_load_explicit(&server->held, memory_order_relaxed));
}

/* Without what others have sent to it by id, which has an account of its own. */
static uint32_t conn__has(const sally_conn *conn) { return conn_holds(conn) - conn->foreign_bytes; }

void budget_bound(sally_conn *conn)
{
    if (!conn->policy->conn_bytes_max || conn->state != CONN_OPEN) return;
    if (conn__has(conn) <= conn->policy->conn_bytes_max) return;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_MEMORY, SALLY_ELIMIT, 0);
}

size_t budget_room(const sally_conn *conn)
{
    static const size_t first_max[] = {SIZE_MAX, SIZE_MAX, FIRST_BYTES_MAX, FIRST_BYTES_LAST};
    static const uint32_t low_part[] = {0, 1, 8, UINT32_MAX};
    if (!conn->policy->has_budget) return SIZE_MAX;
    enum budget_level level = budget__of(conn);
    size_t room = smaller(server__left(conn->policy->server),
                          left_of(conn->policy->conn_bytes_max, conn__has(conn)));
    if (!conn->out.bytes) return smaller(room, first_max[level]);
    if (level == BUDGET_FREE) return room;
    uint32_t low = conn->policy->send_low_bytes / low_part[level];
    return conn->out.bytes < low ? smaller(room, low - conn->out.bytes) : 0;
}

int budget_judge(const sally_conn *conn, size_t len)
{
    if (len <= budget_room(conn)) return 0;
    return conn->out.bytes ? SALLY_EFULL : SALLY_ENOMEM;
}

/* ---- A server's account ---- */

void budget_charge(sally_conn *conn)
{
    sally_server *server = conn->policy->server;
    if (!server || !server->options.memory_max) return;
    uint32_t now = conn->state < CONN_GONE ? conn_holds(conn) : 0;
    uint32_t before = conn_flow(conn) ? conn_flow(conn)->charged : 0;
    if (now == before || flow_need(conn)) return;
    conn_flow(conn)->charged = now;
    if (now > before)
        atomic_fetch_add_explicit(&server->held, now - before, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&server->held, before - now, memory_order_relaxed);
}

/* ---- The worst ---- */

struct worst {
    const sally_server *server;
    uint32_t most;
    int64_t excess;
};

/* What a connection holds of a budget: of the engine's when `server` is NULL. */
static uint32_t worst__holds(const sally_conn *conn, const sally_server *server)
{
    bool alive = conn_alive(conn) && (!server || conn->policy->server == server);
    return alive ? conn_holds(conn) : 0;
}

/* What those hold that are closed already is on its way back, which may take longer than to the
 * next look: on completion ports until the system has let go of it. */
static void worst__find(sally_conn *conn, void *arg)
{
    struct worst *worst = arg;
    uint32_t holds = worst__holds(conn, worst->server);
    if (holds > worst->most) worst->most = holds;
    bool ours = !worst->server || conn->policy->server == worst->server;
    if (ours && conn->state == CONN_ENDING) worst->excess -= conn_holds(conn);
}

/* All that hold at least half of what the worst does, until enough is on its way back. */
static void worst__close(sally_conn *conn, void *arg)
{
    struct worst *worst = arg;
    uint32_t holds = worst__holds(conn, worst->server);
    if (worst->excess <= 0 || holds <= FIRST_BYTES_LAST || holds < worst->most / 2) return;
    worst->excess -= holds;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_MEMORY, SALLY_ELIMIT, 0);
}

static void budget__close_worst(struct shard *shard, const sally_server *server, uint64_t used,
                                uint64_t max)
{
    uint64_t aim = max / 100 * RELIEVED_PERCENT;
    if (used <= aim) return;
    struct worst worst = {.server = server,
                          .excess = (int64_t)((used - aim) / shard->engine->shard_count)};
    shard_each_conn(shard, worst__find, &worst);
    if (worst.most > FIRST_BYTES_LAST) shard_each_conn(shard, worst__close, &worst);
}

static void budget__relieve(struct shard *shard)
{
    sally_engine *engine = shard->engine;
    if (budget_of_engine(engine) == BUDGET_CLOSES)
        budget__close_worst(shard, NULL, mem_in_use(&engine->mem), engine->options.memory_max);
    for (sally_server *server = atomic_load(&engine->budgeted); server;
         server = server->next_budgeted)
        if (budget_of_server(server) == BUDGET_CLOSES)
            budget__close_worst(shard, server, atomic_load(&server->held),
                                server->options.memory_max);
}

static enum budget_level budget__highest(const sally_engine *engine)
{
    enum budget_level highest = budget_of_engine(engine);
    for (sally_server *server = atomic_load(&engine->budgeted); server;
         server = server->next_budgeted) {
        enum budget_level level = budget_of_server(server);
        if (level > highest) highest = level;
    }
    return highest;
}

void budget_turn(struct shard *shard)
{
    sally_engine *engine = shard->engine;
    if (timer_is_set(&shard->relief) || budget__highest(engine) != BUDGET_CLOSES) return;
    shard->relief.kind = TIMER_BUDGET;
    wheel_set(&shard->wheel, &shard->relief, shard->now_ms + RELIEVE_MS);
    for (unsigned i = 0; i < engine->shard_count;
         i++) /* the worst may be those of one that sleeps */
        if (engine->shards[i] != shard) shard_wake(engine->shards[i]);
    budget__relieve(shard);
}
