/* Sallyport: time limits of a connection that are off unless they are asked for; a part of
 * sally_conn_options. Times in milliseconds; 0 and SALLY_FOREVER: off. A connection with any of
 * these costs about 150 bytes more.
 *
 * While reading is paused, and after the peer's end of stream, what it doesn't send is not held
 * against it. */
#ifndef SALLYPORT_LIMITS_H
#define SALLYPORT_LIMITS_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_conn_limits {
    uint32_t idle_read_ms;  /* no byte in */
    uint32_t idle_write_ms; /* no byte out */

    /* Bytes a second that the system takes while the send queue is not empty. Cuts a peer that
     * reads just enough to escape write_stall_ms, and no transfer that is slow but keeps this up.
     */
    uint32_t min_send_bytes_s;

    /* The same of what comes, between sally_conn_expect(conn, true) and (conn, false). */
    uint32_t min_recv_bytes_s;

    uint32_t rate_window_ms; /* both are counted over windows of this length; 0: 10000 */
    uint32_t max_age_ms;     /* then it is closed as by sally_conn_close */

    /* A random part of it is taken off each one's maximum age, so that connections made together
     * don't end together; at most max_age_ms. */
    uint32_t age_spread_ms;

    uint32_t heartbeat_ms;      /* on_heartbeat when nothing was sent for so long */
    uint32_t heartbeat_dead_ms; /* nothing came for so long: the peer is dead, and is reset */
} sally_conn_limits;

#if defined(__cplusplus)
}
#endif
#endif
