/* One message to all: one connection sends, all others have to receive it, and when they have the
 * next is sent (`depth` at a time). A request is one delivery; the latency is from the sending to
 * the last delivery. The sender is the one that connected last: when the server reads from it, it
 * has accepted all the others. */
#include <stddef.h>
#include <sys/epoll.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512 };

struct fanout {
    struct peers peers;
    struct peer *sender;
    struct meter *meter;
    uint32_t *missing; /* of each message under way: who has not yet received it */
    uint64_t *stamps;  /* and when it was sent */
    uint32_t size, depth;
    uint64_t delivered; /* messages that all have */
};

static void send_more(struct fanout *fanout)
{
    struct peer *sender = fanout->sender;
    uint64_t now = meter_now();
    for (uint64_t n = sender->goal / fanout->size; n < fanout->delivered + fanout->depth; n++) {
        fanout->missing[n % fanout->depth] = fanout->peers.count - 1;
        fanout->stamps[n % fanout->depth] = now;
        sender->goal += fanout->size;
    }
    if (!peer_send(&fanout->peers, sender)) meter_error(fanout->meter, "the sender failed");
}

static void receive(struct fanout *fanout, struct peer *peer)
{
    uint64_t done = peer->received / fanout->size;
    int64_t len = peer_receive(peer);
    if (len < 0 || (len > 0 && peer == fanout->sender)) {
        meter_error(fanout->meter, len == -1 ? "a connection ended" : "a wrong byte came");
        epoll_ctl(fanout->peers.epoll, EPOLL_CTL_DEL, peer->fd, NULL);
        return;
    }
    meter_bytes(fanout->meter, (uint64_t)len);
    uint64_t now = done < peer->received / fanout->size ? meter_now() : 0;
    for (; done < peer->received / fanout->size; done++) {
        meter_add(fanout->meter, 1);
        if (--fanout->missing[done % fanout->depth] > 0) continue;
        meter_latency(fanout->meter, now - fanout->stamps[done % fanout->depth]);
        fanout->delivered++;
    }
}

static void turn(struct fanout *fanout)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t delivered = fanout->delivered;
    int count = epoll_wait(fanout->peers.epoll, events, EVENTS_MAX, METER_WAIT_MS);
    for (int n = 0; n < count; n++) {
        struct peer *peer = events[n].data.ptr;
        if (events[n].events & ~(uint32_t)EPOLLOUT)
            receive(fanout, peer);
        else if (!peer_send(&fanout->peers, peer))
            meter_error(fanout->meter, "the sender failed");
    }
    if (fanout->delivered != delivered) send_more(fanout);
}

/* All have one number, because what the sender sends is what all others expect. */
void load_fanout(const struct load_options *options, struct meter *meter)
{
    struct fanout fanout = {.meter = meter, .size = options->size, .depth = options->depth};
    peers_open(&fanout.peers, options);
    fanout.sender = &fanout.peers.all[options->conns - 1];
    for (uint32_t n = 0; n < options->conns; n++) fanout.peers.all[n].number = 0;
    fanout.missing = load_memory(options->depth, sizeof *fanout.missing);
    fanout.stamps = load_memory(options->depth, sizeof *fanout.stamps);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    send_more(&fanout);
    while (meter_goes_on(meter, meter_now())) turn(&fanout);
}
