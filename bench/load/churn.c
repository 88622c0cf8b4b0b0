/* Connections that come, have one message echoed and go; `conns` of them at a time. They go by FIN,
 * and then the server's FIN is waited for, or by RST, at once. Latency is that of the whole
 * connection. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512 };

enum guest_state { GUEST_CONNECTS, GUEST_WAITS, GUEST_LEAVES };

struct guest {
    struct peer peer;
    enum guest_state state;
    uint64_t since_ns;
};

struct churn {
    const struct load_options *options;
    struct meter *meter;
    struct guest *guests;
    uint32_t started;
    struct peers peers; /* its epoll set; its connections are the guests' */
};

static void guest_start(struct churn *churn, struct guest *guest)
{
    uint32_t number = churn->started++;
    *guest = (struct guest){.since_ns = meter_now()};
    guest->peer = (struct peer){.number = number, .goal = churn->options->size};
    guest->peer.waits_to_write = true; /* as it is registered here */
    guest->peer.fd =
        peer_connect(churn->options, churn->peers.epoll, number, EPOLLIN | EPOLLOUT, guest);
    if (guest->peer.fd < 0) load_die("connect");
}

static void guest_end(struct churn *churn, struct guest *guest, const char *error)
{
    if (error)
        meter_error(churn->meter, error);
    else
        meter_count(churn->meter, meter_now() - guest->since_ns);
    close(guest->peer.fd);
    guest_start(churn, guest);
}

static void guest_leave(struct churn *churn, struct guest *guest)
{
    struct linger at_once = {.l_onoff = 1};
    meter_bytes(churn->meter, guest->peer.received);
    if (churn->options->reset) {
        bool set = setsockopt(guest->peer.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0;
        guest_end(churn, guest, set ? NULL : "SO_LINGER failed");
        return;
    }
    guest->state = GUEST_LEAVES;
    if (shutdown(guest->peer.fd, SHUT_WR)) guest_end(churn, guest, "a connection failed");
}

static void guest_read(struct churn *churn, struct guest *guest)
{
    int64_t len = peer_receive(&guest->peer);
    if (guest->state == GUEST_LEAVES && len == -1 && errno != ECONNRESET)
        guest_end(churn, guest, NULL);
    else if (len < 0)
        guest_end(churn, guest, len == -1 ? "a connection failed" : "a wrong byte came back");
    else if (guest->state == GUEST_WAITS && guest->peer.received == churn->options->size)
        guest_leave(churn, guest);
}

static void guest_event(struct churn *churn, struct guest *guest, uint32_t events)
{
    if (guest->state == GUEST_CONNECTS) {
        guest->state = GUEST_WAITS;
        if (!peer_send(&churn->peers, &guest->peer))
            guest_end(churn, guest, "a connection was refused");
    } else if (events & ~(uint32_t)EPOLLOUT) {
        guest_read(churn, guest);
    } else if (!peer_send(&churn->peers, &guest->peer)) {
        guest_end(churn, guest, "a connection failed");
    }
}

void load_churn(const struct load_options *options, struct meter *meter)
{
    struct churn churn = {.options = options, .meter = meter};
    churn.guests = load_memory(options->conns, sizeof *churn.guests);
    churn.peers.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (churn.peers.epoll < 0) load_die("epoll_create1");
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    for (uint32_t n = 0; n < options->conns; n++) guest_start(&churn, &churn.guests[n]);
    while (meter_goes_on(meter, meter_now())) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(churn.peers.epoll, events, EVENTS_MAX, METER_WAIT_MS);
        for (int n = 0; n < count; n++) guest_event(&churn, events[n].data.ptr, events[n].events);
    }
}
