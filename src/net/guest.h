/* Guests: newcomers that are not let in but sent off with a few bytes. A guest is a connection
 * without handler, server and place: what the connection's machinery does, that the peer can read
 * all of it before the end, is what is wanted here. At most ENGINE_GUESTS_MAX of an engine, for
 * GUEST_MS before and after our FIN, so that they can't become the attack. */
#ifndef NET_GUEST_H
#define NET_GUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "net/policy.h"
#include "net/shard.h"

enum { GUEST_MS = 2000, FAREWELL_BYTES_MAX = 512 };

/* What guests have as a policy. SALLY_ENOMEM. */
int guest_policy_create(struct policy **policy, sally_engine *engine);

/* Sends it off; the handle is taken over. False: there are too many, or there is no slot; the
 * handle is still the caller's. On the shard. */
bool guest_send_off(struct shard *shard, struct policy *policy, port_handle handle,
                    const struct addr *peer, const void *farewell, size_t bytes);

/* A place for one more; false: there are too many, or the engine stops. */
bool guest_reserve(sally_engine *engine);

/* A connection that has not been opened becomes one, in a reserved place: it leaves its server. */
void guest_take_over(sally_conn *conn, struct policy *policy, const void *farewell, size_t bytes);

/* One has gone. */
void guest_release(sally_engine *engine);

#endif
