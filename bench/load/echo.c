/* Request and response, closed loop: each connection has `depth` messages under way, and sends the
 * next when one has come back whole. */
#include <stdlib.h>
#include <sys/epoll.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512 };

struct echo {
    struct peers peers;
    struct meter *meter;
    uint64_t *stamps; /* when each message under way was sent, `depth` for each connection */
    uint32_t size, depth;
};

static void fail(struct echo *echo, struct peer *peer, const char *what)
{
    meter_error(echo->meter, what);
    epoll_ctl(echo->peers.epoll, EPOLL_CTL_DEL, peer->fd, NULL);
}

static void read_replies(struct echo *echo, struct peer *peer)
{
    uint64_t done = peer->received / echo->size;
    int64_t len = peer_receive(peer);
    if (len < 0) {
        fail(echo, peer, len == -1 ? "a connection ended" : "a wrong byte came back");
        return;
    }
    uint64_t now = meter_now(), *stamps = &echo->stamps[(uint64_t)peer->number * echo->depth];
    meter_bytes(echo->meter, (uint64_t)len);
    for (; done < peer->received / echo->size; done++) {
        uint64_t *stamp = &stamps[done % echo->depth];
        meter_count(echo->meter, now - *stamp);
        *stamp = now;
        peer->goal += echo->size;
    }
    if (peer->sent < peer->goal && !peer_send(&echo->peers, peer))
        fail(echo, peer, "a connection failed");
}

static void start_peer(struct echo *echo, struct peer *peer)
{
    uint64_t now = meter_now();
    for (uint32_t n = 0; n < echo->depth; n++)
        echo->stamps[(uint64_t)peer->number * echo->depth + n] = now;
    peer->goal = (uint64_t)echo->size * echo->depth;
    if (!peer_send(&echo->peers, peer)) fail(echo, peer, "a connection failed");
}

static void turn(struct echo *echo)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(echo->peers.epoll, events, EVENTS_MAX, METER_WAIT_MS);
    for (int n = 0; n < count; n++) {
        struct peer *peer = events[n].data.ptr;
        if (events[n].events & ~(uint32_t)EPOLLOUT)
            read_replies(echo, peer);
        else if (!peer_send(&echo->peers, peer))
            fail(echo, peer, "a connection failed");
    }
}

void load_echo(const struct load_options *options, struct meter *meter)
{
    struct echo echo = {.meter = meter, .size = options->size, .depth = options->depth};
    peers_open(&echo.peers, options);
    echo.stamps = load_memory((uint64_t)options->conns * options->depth, sizeof *echo.stamps);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    for (uint32_t n = 0; n < options->conns; n++) start_peer(&echo, &echo.peers.all[n]);
    while (meter_goes_on(meter, meter_now())) turn(&echo);
}
