/* What connections share: limits for bytes a second, see sallyport/rate.h. One bucket for each way
 * under a lock that is held for a few instructions; on each shard a line of those that wait, with
 * one timer while somebody does.
 *
 * Fair between shards: who begins to wait draws a ticket, and a line serves its first when there is
 * enough for all with an older ticket too. So turns go round as in one line for all, though no
 * shard knows another's. */
#ifndef NET_BANDWIDTH_H
#define NET_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wheel.h"
#include "sallyport/rate.h"

enum way { WAY_RECV, WAY_SEND, WAYS };
enum { BANDWIDTHS_MAX = 1 << 16 };

struct lane;

/* A connection's place in a line; a part of its throttle. */
struct seat {
    sally_conn *conn;
    struct lane *lane; /* NULL: it doesn't wait */
    struct seat *prev;
    struct seat *next;
    uint64_t ticket;  /* the lower, the longer it waits */
    uint32_t granted; /* it is its turn: so many are taken for it */
    uint8_t way;
};

/* The defaults filled in; SALLY_EINVAL. */
int rate_fill(sally_rate *filled, const sally_rate *plain);

sally_engine *bandwidth_engine(const sally_bandwidth *bandwidth);

/* A reference; and one more connection that shares it, or one less. Any thread. */
sally_bandwidth *bandwidth_ref(sally_bandwidth *bandwidth);
void bandwidth_unref(sally_bandwidth *bandwidth);
void bandwidth_join(sally_bandwidth *bandwidth);
void bandwidth_leave(sally_bandwidth *bandwidth);

/* Takes at most `want` bytes, or stands in line: then 0, and throttle_granted when it is its turn.
 * The connection's shard. */
uint32_t bandwidth_take(sally_bandwidth *bandwidth, struct seat *seat, uint32_t want);

/* They were taken and not used. */
void bandwidth_give(sally_bandwidth *bandwidth, enum way way, uint32_t bytes);

/* It doesn't wait any more; its shard. */
void seat_leave(struct seat *seat);

/* The timer of a line; its shard. */
void lane_on_timer(struct timer *timer);

/* The engine goes, and all its connections and servers have gone. */
void bandwidth_free_all(sally_engine *engine);

#endif
