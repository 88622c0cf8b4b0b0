#include "net/guest.h"

#include "net/conn.h"
#include "net/engine.h"

int guest_policy_create(struct policy **out, sally_engine *engine)
{
    static const sally_handler nobody = {0};
    static const sally_conn_options options = {.write_stall_ms = GUEST_MS,
                                               .linger_ms = GUEST_MS,
                                               .send_bytes_max = 4 * FAREWELL_BYTES_MAX};
    int err = policy_create(out, engine, NULL, &nobody, &options);
    if (!err) (*out)->guest = true;
    return err;
}

void guest_release(sally_engine *engine) { atomic_fetch_sub(&engine->guests, 1); }

bool guest_send_off(struct shard *shard, struct policy *policy, port_handle handle,
                    const struct addr *peer, const void *farewell, size_t bytes)
{
    sally_engine *engine = shard->engine;
    if (engine_stopping(engine)) return false;
    bool room = atomic_fetch_add(&engine->guests, 1) < ENGINE_GUESTS_MAX;
    sally_conn *conn = room ? conn_name(shard, policy) : NULL;
    if (!conn) {
        guest_release(engine);
        return false;
    }
    atomic_fetch_add(&shard->conns, 1);
    conn_init(conn, shard, policy_ref(policy));
    (void)conn_set_peer(conn, peer); /* only its last line tells it */
    port_attach(shard->port, &conn->sock, handle, &policy->sock);
    conn_open(conn);
    if (bytes) (void)conn_send(conn, farewell, bytes); /* without memory it is a plain close */
    conn_close(conn, SALLY_CLOSE_LOCAL);
    return true;
}
