/* What connections of one kind share: handler, time and queue limits, socket options. Made from the
 * public options once, with every default filled in; read-only after that, so any shard reads it. A
 * server holds one, and so does each outgoing connection; every connection made under it holds a
 * reference. */
#ifndef NET_POLICY_H
#define NET_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "port/port.h"
#include "sallyport.h"

#define POLICY_NEVER UINT64_MAX

struct policy {
    atomic_uint refs;
    uint32_t send_bytes_max;
    uint32_t send_high_bytes;
    uint32_t send_low_bytes;
    sally_handler handler;
    struct mem *mem;
    sally_server *server;   /* NULL: outgoing */
    uint64_t first_byte_ms; /* POLICY_NEVER: no limit; so with all times */
    uint64_t idle_ms;
    uint64_t write_stall_ms;
    uint64_t linger_ms;
    uint64_t connect_ms;
    uint64_t attempt_ms;
    bool auto_pause;
    bool guest; /* of connections that are only sent off: nobody is told of them */
    bool has_from;
    struct addr from; /* outgoing: the local address to bind */
    struct port_sock_options sock;
};

/* One reference. SALLY_EINVAL for limits that contradict each other, SALLY_ENOMEM. */
int policy_create(struct policy **policy, struct mem *mem, sally_server *server,
                  const sally_handler *handler, const sally_conn_options *options);
struct policy *policy_ref(struct policy *policy);
void policy_release(struct policy *policy);

#endif
