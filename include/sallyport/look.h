/* Snapshots of live connections. A part of sallyport.h, which includes it. */
#ifndef SALLYPORT_LOOK_H
#define SALLYPORT_LOOK_H

#include "sallyport/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef enum sally_conn_state {
    SALLY_CONN_CONNECTING,
    SALLY_CONN_OPEN,
    SALLY_CONN_PEER_FINISHED, /* the peer has shut its side */
    SALLY_CONN_SHUTDOWN,      /* we have shut ours */
    SALLY_CONN_CLOSING,
} sally_conn_state;

typedef struct sally_conn_info {
    sally_id id;
    sally_conn_state state;
    sally_server *server; /* NULL: outgoing */
    char peer[64];
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint32_t bytes_queued;
    uint32_t age_ms;
    uint32_t idle_ms; /* since the last byte in or out */
    bool paused;      /* reading is paused */
} sally_conn_info;

/* Calls `each` for every live connection, in no order, on the calling thread, from copies that each
 * shard makes at one moment of its own; shards are not held up meanwhile. Return false to stop.
 * SALLY_ENOMEM, SALLY_ETHREAD. [outside; or the driving thread] */
SALLY_API int sally_engine_each_conn(sally_engine *engine,
                                     bool (*each)(const sally_conn_info *info, void *arg),
                                     void *arg);

#if defined(__cplusplus)
}
#endif
#endif
