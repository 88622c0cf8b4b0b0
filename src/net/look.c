/* A look at the live connections: each shard copies what it has at a moment of its own, and whoever
 * asked reads the copies. */
#include <string.h>

#include "net/conn.h"
#include "net/file_send.h"
#include "net/letter.h"
#include "net/server.h"
#include "os/address.h"

static sally_conn_state look__state(const sally_conn *conn)
{
    if (conn->state <= CONN_TUNNELING || conn->state == CONN_SHAKING) return SALLY_CONN_CONNECTING;
    if (conn->state != CONN_OPEN) return SALLY_CONN_CLOSING;
    if (conn_has(conn, CONN_SHUT | CONN_SHUT_ASKED)) return SALLY_CONN_SHUTDOWN;
    return conn_has(conn, CONN_EOF) ? SALLY_CONN_PEER_FINISHED : SALLY_CONN_OPEN;
}

static uint32_t look__ms(uint64_t ms) { return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms; }

static void look__conn(const sally_conn *conn, sally_conn_info *info)
{
    uint64_t now = conn->shard->now_ms;
    uint64_t active = conn->active_ms ? conn->active_ms : conn->opened_ms;
    *info = (sally_conn_info){
        .id = shard_id(conn->shard, &conn->sock.slot),
        .state = look__state(conn),
        .server = conn->policy->server,
        .bytes_in = conn_bytes_in(conn),
        .bytes_out = conn->bytes_out,
        .bytes_queued = conn_queued_told(conn),
        .age_ms = look__ms(now - conn->opened_ms),
        .idle_ms = look__ms(now - active),
        .paused = conn->state == CONN_OPEN && conn_has(conn, CONN_PAUSED | CONN_AUTO_PAUSED),
    };
    struct addr peer = conn_peer(conn);
    addr_format(&peer, info->peer, sizeof info->peer);
}

static void look__collect(struct shard *shard, struct letter_look *look)
{
    size_t room = (size_t)slots_taken(&shard->slots);
    if (!room) return;
    look->infos_bytes = room * sizeof *look->infos;
    look->infos = mem_alloc(look->mem, look->infos_bytes);
    if (!look->infos) {
        look->error = SALLY_ENOMEM;
        return;
    }
    for (uint32_t i = 0; look->count < room; i++) {
        struct port_sock *sock = slots_at(&shard->slots, i);
        if (!sock) break;
        bool taken = atomic_load_explicit(&sock->slot.generation, memory_order_acquire) & 1;
        const sally_conn *conn = (sally_conn *)sock;
        if (taken && sock->role == ROLE_CONN && !conn_is_unknown(conn))
            look__conn(conn, &look->infos[look->count++]);
    }
}

void look_release(struct letter_look *look)
{
    if (atomic_fetch_sub(&look->refs, 1) != 1) return;
    if (look->infos) mem_free(look->mem, look->infos, look->infos_bytes);
    os_gate_free(&look->done);
    mem_free(look->mem, look, sizeof *look);
}

void look_fill(struct shard *shard, struct letter_look *look)
{
    look__collect(shard, look);
    os_gate_open(&look->done);
    look_release(look);
}

/* NULL without memory or when the mailbox is full. `refs` is two: ours and the letter's. */
static struct letter_look *look__ask(struct shard *shard, int *err)
{
    struct mem *mem = &shard->engine->mem;
    struct letter_look *look = mem_zalloc(mem, sizeof *look);
    *err = SALLY_ENOMEM;
    if (!look) return NULL;
    look->letter.mail = (struct mail){sizeof *look, LETTER_LOOK};
    look->mem = mem;
    atomic_init(&look->refs, 2);
    os_gate_init(&look->done);
    *err = shard_post(shard, &look->letter, false);
    if (!*err) return look;
    atomic_store(&look->refs, 1);
    look_release(look);
    return NULL;
}

/* True if the caller wants more. */
static bool look__hand_out(const struct letter_look *look,
                           bool (*each)(const sally_conn_info *info, void *arg), void *arg)
{
    for (uint32_t i = 0; i < look->count; i++)
        if (!each(&look->infos[i], arg)) return false;
    return true;
}

/* A shard that ends leaves its letters lying, so its end is looked for too. */
static void look__await(struct shard *shard, struct letter_look *look)
{
    while (!os_gate_wait_for(&look->done, 50))
        if (atomic_load(&shard->ended)) return;
}

/* The calling thread steps the shards itself: nobody would answer, and nobody is in the way. */
static int look__here(sally_engine *engine, bool (*each)(const sally_conn_info *info, void *arg),
                      void *arg)
{
    bool more = true;
    int err = 0;
    for (unsigned i = 0; more && !err && i < engine->shard_count; i++) {
        struct letter_look look = {.mem = &engine->mem};
        look__collect(engine->shards[i], &look);
        err = look.error;
        more = look__hand_out(&look, each, arg);
        if (look.infos) mem_free(look.mem, look.infos, look.infos_bytes);
    }
    return err;
}

int sally_engine_each_conn(sally_engine *engine,
                           bool (*each)(const sally_conn_info *info, void *arg), void *arg)
{
    if (!engine || !each) return SALLY_EINVAL;
    if (atomic_load(&engine->driven)) return look__here(engine, each, arg);
    if (shard_current()) return SALLY_ETHREAD;
    int state = atomic_load(&engine->state);
    if (state == SALLY_ENGINE_CREATED || state == SALLY_ENGINE_STOPPED) return 0;
    bool more = true;
    int err = 0;
    for (unsigned i = 0; more && !err && i < engine->shard_count; i++) {
        struct letter_look *look = look__ask(engine->shards[i], &err);
        if (!look) break;
        look__await(engine->shards[i], look);
        bool done = os_gate_wait_for(&look->done, 0);
        err = done ? look->error : 0;
        if (done) more = look__hand_out(look, each, arg);
        look_release(look);
    }
    return err;
}
