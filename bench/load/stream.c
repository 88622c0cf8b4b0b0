/* A stream of bytes without an end or bounds: each connection sends as fast as the socket takes it
 * and receives what comes back. A request is `size` bytes of it. */
#include <stddef.h>
#include <sys/epoll.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512 };

/* A server that no longer reads makes an end of it, by the socket's buffers; this is only so that
 * the goal is ahead. */
static const uint64_t ahead_bytes = 1 << 20;

static bool pump(struct peers *peers, struct peer *peer, struct meter *meter, uint32_t size)
{
    uint64_t done = peer->received / size;
    int64_t len = peer_receive(peer);
    if (len < 0) {
        meter_error(meter, len == -1 ? "a connection ended" : "a wrong byte came back");
        return false;
    }
    meter_bytes(meter, (uint64_t)len);
    meter_add(meter, peer->received / size - done);
    peer->goal = peer->sent + ahead_bytes;
    if (peer_send(peers, peer)) return true;
    meter_error(meter, "a connection failed");
    return false;
}

static void turn(struct peers *peers, struct meter *meter, uint32_t size)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(peers->epoll, events, EVENTS_MAX, METER_WAIT_MS);
    for (int n = 0; n < count; n++) {
        struct peer *peer = events[n].data.ptr;
        if (!pump(peers, peer, meter, size)) epoll_ctl(peers->epoll, EPOLL_CTL_DEL, peer->fd, NULL);
    }
}

void load_stream(const struct load_options *options, struct meter *meter)
{
    struct peers peers;
    peers_open(&peers, options);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    for (uint32_t n = 0; n < options->conns; n++) {
        peers.all[n].goal = ahead_bytes;
        if (!peer_send(&peers, &peers.all[n])) meter_error(meter, "a connection failed");
    }
    while (meter_goes_on(meter, meter_now())) turn(&peers, meter, options->size);
}
