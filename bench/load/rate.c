/* Requests at a fixed rate: each has a moment at which it is due, whatever became of those before,
 * and its latency counts from that moment. So a server that stalls is charged for all that was due
 * meanwhile, and for the generator's own lateness too (coordinated omission). */
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512, UNDER_WAY_MAX = 4096 };

struct rate {
    struct peers peers;
    struct meter *meter;
    uint64_t *due; /* of each request under way, UNDER_WAY_MAX for each connection */
    uint64_t begin_ns, sent;
    double step_ns;
    uint32_t size;
};

static uint64_t due_ns(const struct rate *rate, uint64_t number)
{
    return rate->begin_ns + (uint64_t)((double)number * rate->step_ns);
}

static void send_due(struct rate *rate, uint64_t now)
{
    for (; due_ns(rate, rate->sent) <= now; rate->sent++) {
        struct peer *peer = &rate->peers.all[rate->sent % rate->peers.count];
        uint64_t message = peer->goal / rate->size;
        if (message - peer->received / rate->size >= UNDER_WAY_MAX) {
            meter_error(rate->meter, "the server is slower than the rate");
            return;
        }
        rate->due[(uint64_t)peer->number * UNDER_WAY_MAX + message % UNDER_WAY_MAX] =
            due_ns(rate, rate->sent);
        peer->goal += rate->size;
        if (!peer_send(&rate->peers, peer)) meter_error(rate->meter, "a connection failed");
    }
}

static void read_replies(struct rate *rate, struct peer *peer)
{
    uint64_t done = peer->received / rate->size;
    int64_t len = peer_receive(peer);
    if (len < 0) {
        meter_error(rate->meter, len == -1 ? "a connection ended" : "a wrong byte came back");
        epoll_ctl(rate->peers.epoll, EPOLL_CTL_DEL, peer->fd, NULL);
        return;
    }
    uint64_t now = meter_now(), *due = &rate->due[(uint64_t)peer->number * UNDER_WAY_MAX];
    meter_bytes(rate->meter, (uint64_t)len);
    for (; done < peer->received / rate->size; done++)
        meter_count(rate->meter, now - due[done % UNDER_WAY_MAX]);
    if (peer->sent < peer->goal && !peer_send(&rate->peers, peer))
        meter_error(rate->meter, "a connection failed");
}

/* Waits to the nanosecond until the next one is due: spinning would take the server's core. */
static void turn(struct rate *rate, uint64_t now)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t due = due_ns(rate, rate->sent), wait = due > now ? due - now : 0;
    if (wait > METER_WAIT_MS * 1000000ull) wait = METER_WAIT_MS * 1000000ull;
    struct timespec limit = {.tv_nsec = (long)wait};
    int count = epoll_pwait2(rate->peers.epoll, events, EVENTS_MAX, &limit, NULL);
    for (int n = 0; n < count; n++) read_replies(rate, events[n].data.ptr);
}

void load_rate(const struct load_options *options, struct meter *meter)
{
    struct rate rate = {.meter = meter, .size = options->size, .step_ns = 1e9 / options->rate};
    peers_open(&rate.peers, options);
    rate.due = load_memory((uint64_t)options->conns * UNDER_WAY_MAX, sizeof *rate.due);
    prctl(PR_SET_TIMERSLACK, 1);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    rate.begin_ns = meter_now();
    for (uint64_t now; meter_goes_on(meter, now = meter_now());) {
        send_due(&rate, now);
        turn(&rate, meter_now());
    }
}
