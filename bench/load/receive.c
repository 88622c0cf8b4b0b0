/* Only receives: the server's threads send. A request is one message; each is looked at, and the
 * messages of one thread to one connection have to come in the order in which they were sent. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "../message.h"
#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512 };

/* What a connection has seen. */
struct ear {
    uint64_t last[MESSAGE_THREADS]; /* number from each thread */
    uint32_t kept;                  /* bytes of a message that is not whole yet */
    char bytes[PEER_CHUNK_BYTES];
};

static const char *judge(struct ear *ear, uint32_t len)
{
    for (uint32_t at = 0; at + MESSAGE_BYTES <= len; at += MESSAGE_BYTES) {
        uint64_t thread, number;
        if (!message_read(ear->bytes + at, &thread, &number)) return "a torn message came";
        if (number <= ear->last[thread]) return "a message came twice or late";
        ear->last[thread] = number;
    }
    return NULL;
}

static const char *listen_on(struct peer *peer, struct ear *ear, struct meter *meter)
{
    ssize_t len = recv(peer->fd, ear->bytes + ear->kept, sizeof ear->bytes - ear->kept, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return NULL;
    if (len <= 0) return "a connection ended";
    uint32_t all = ear->kept + (uint32_t)len;
    const char *error = judge(ear, all);
    meter_bytes(meter, (uint64_t)len);
    meter_add(meter, all / MESSAGE_BYTES);
    ear->kept = all % MESSAGE_BYTES;
    memmove(ear->bytes, ear->bytes + all - ear->kept, ear->kept);
    return error;
}

void load_receive(const struct load_options *options, struct meter *meter)
{
    struct peers peers;
    peers_open(&peers, options);
    struct ear *ears = load_memory(options->conns, sizeof *ears);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    while (meter_goes_on(meter, meter_now())) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(peers.epoll, events, EVENTS_MAX, METER_WAIT_MS);
        for (int n = 0; n < count; n++) {
            struct peer *peer = events[n].data.ptr;
            const char *error = listen_on(peer, &ears[peer->number], meter);
            if (!error) continue;
            meter_error(meter, error);
            epoll_ctl(peers.epoll, EPOLL_CTL_DEL, peer->fd, NULL);
        }
    }
}
