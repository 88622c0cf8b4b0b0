/* Sallyport: options of a connection, which a server gives to those that it accepts and an outgoing
 * one has of its own. Zero everywhere is a good choice. */
#ifndef SALLYPORT_CONN_OPTIONS_H
#define SALLYPORT_CONN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/limits.h"
#include "sallyport/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* What a send does that finds no room in the send queue (send_bytes_max). Sends by id from other
 * threads always fail. sally_conn_dropped in flow.h counts what was let go. */
typedef enum sally_at_full {
    SALLY_FULL_FAIL,        /* it returns SALLY_EFULL */
    SALLY_FULL_DROP_OLDEST, /* it lets go the oldest whole sends that the system has not begun with,
                               else itself; each send then has memory of its own, at least
                               send_chunk_bytes */
    SALLY_FULL_DROP_NEWEST, /* it lets go itself and returns 0 */
    SALLY_FULL_CLOSE,       /* it aborts the connection (SALLY_CLOSE_SEND_LIMIT): SALLY_ECLOSED */
} sally_at_full;

/* Of a connection, accepted or outgoing. Times in milliseconds, 0: the default, SALLY_FOREVER: no
 * limit. */
typedef struct sally_conn_options {
    uint32_t first_byte_ms;   /* an accepted peer has to send something; default 30000 */
    uint32_t idle_ms;         /* no byte in or out; default 600000 */
    uint32_t write_stall_ms;  /* bytes wait and the peer takes none; default 30000 */
    uint32_t linger_ms;       /* after our FIN, for the peer's; default 10000 */
    uint32_t message_ms;      /* a message begun has to end (with a framing; not while reading is
                                 paused); default 60000 */
    uint32_t send_bytes_max;  /* the send queue's hard limit; default 4 MiB, at most 1 GiB */
    uint32_t send_high_bytes; /* above it reading pauses and on_drain is due; default a quarter of
                                 the maximum */
    uint32_t send_low_bytes;  /* at or below it reading goes on; default a quarter of
                                 send_high_bytes */
    sally_at_full at_full;
    bool no_auto_pause;           /* read on though the send queue is above send_high_bytes */
    bool no_recorder;             /* of sallyport/why.h */
    bool delay;                   /* leave Nagle's algorithm on (tcp(7), TCP_NODELAY) */
    uint32_t keepalive_s;         /* idle seconds before the system probes (SO_KEEPALIVE); 0: off */
    uint32_t send_buf_bytes;      /* SO_SNDBUF; 0: the system's */
    uint32_t recv_buf_bytes;      /* SO_RCVBUF; 0: the system's */
    const sally_framing *framing; /* how bytes become messages; copied; NULL: they don't, on_data
                                     has them as they come. SALLY_EINVAL for a framing that
                                     contradicts itself, and for a handler with on_data alone where
                                     there is one or with on_message alone where there is none */
    sally_conn_limits limits;     /* what is off unless it is asked for, see sallyport/limits.h */
    const sally_rates *rates;     /* upper limits for bytes a second, see sallyport/rate.h; copied;
                                     NULL: none */
    uint32_t memory_max; /* bytes queued, of a message not whole, kept while paused; what is sent
                            by id counts apart. Past it a send is SALLY_EFULL (SALLY_ENOMEM with an
                            empty queue), a peer is reset (SALLY_CLOSE_MEMORY); 0: none */
    const sally_filter *filters; /* what bytes pass through below the framing, from the wire up, see
                                    sallyport/filter.h; copied */
    uint32_t filter_count; /* at most SALLY_FILTERS_MAX; SALLY_EINVAL for filters that contradict
                              themselves */
} sally_conn_options;

#if defined(__cplusplus)
}
#endif
#endif
