#include "net/guest.h"

#include "net/budget.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/engine.h"
#include "net/flow.h"
#include "net/limits.h"
#include "net/server.h"
#include "net/throttle.h"

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

bool guest_reserve(sally_engine *engine)
{
    if (engine_stopping(engine)) return false;
    if (atomic_fetch_add(&engine->guests, 1) < ENGINE_GUESTS_MAX) return true;
    guest_release(engine);
    return false;
}

static void guest__send_off(sally_conn *conn, const void *farewell, size_t bytes)
{
    conn_open(conn);
    if (bytes) (void)conn_send(conn, farewell, bytes); /* without memory it is a plain close */
    conn_close(conn, SALLY_CLOSE_LOCAL);
}

bool guest_send_off(struct shard *shard, struct policy *policy, port_handle handle,
                    const struct addr *peer, const void *farewell, size_t bytes)
{
    if (!guest_reserve(shard->engine)) return false;
    sally_conn *conn = conn_name(shard, policy);
    if (!conn) {
        guest_release(shard->engine);
        return false;
    }
    atomic_fetch_add(&shard->conns, 1);
    conn_init(conn, shard, policy_ref(policy));
    (void)conn_set_peer(conn, peer); /* only its last line tells it */
    port_attach(shard->port, &conn->sock, handle, &policy->sock);
    guest__send_off(conn, farewell, bytes);
    return true;
}

void guest_take_over(sally_conn *conn, struct policy *policy, const void *farewell, size_t bytes)
{
    struct policy *before = conn->policy;
    wheel_cancel(&conn->shard->wheel, &conn->timer);
    limits_detach(conn);
    conn_drop_held(conn);
    if (conn_flow(conn)) chain_free(conn);
    if (before->has_budget) budget_charge(conn); /* its server's account has no more of it */
    if (conn_flow(conn)) throttle_free(conn);
    conn->policy = policy_ref(policy);
    if (conn_flow(conn)) flow_flag(conn);
    conn->counted_server = false;
    server_release_conn(before->server);
    policy_release(before);
    guest__send_off(conn, farewell, bytes);
}
