/* One file after the other over HTTP/1.1, closed loop, connections kept. The bodies are counted by
 * what the server says of their length and dropped by the kernel (MSG_TRUNC), so that the generator
 * costs little beside the server; their bytes are not looked at. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { EVENTS_MAX = 512, HEAD_MAX = 2048, REFUSED = -1 };

static const char request[] = "GET /file HTTP/1.1\r\nHost: bench\r\n\r\n";

struct fetcher {
    int fd;
    uint32_t head_bytes;
    uint64_t left; /* of a body; 0: a head comes next */
    uint64_t asked_ns;
    char head[HEAD_MAX];
};

struct fetch {
    struct meter *meter;
    int epoll;
    uint32_t size;
};

static bool ask(struct fetcher *one)
{
    const ssize_t len = sizeof request - 1;
    one->asked_ns = meter_now();
    one->head_bytes = 0;
    return send(one->fd, request, (size_t)len, MSG_NOSIGNAL) == len;
}

/* The body's length, 0 while the head is not whole, REFUSED for what is no answer. */
static int64_t body_bytes(struct fetcher *one, uint32_t *head_bytes)
{
    one->head[one->head_bytes] = 0;
    const char *end = strstr(one->head, "\r\n\r\n");
    if (!end) return one->head_bytes == HEAD_MAX - 1 ? REFUSED : 0;
    *head_bytes = (uint32_t)(end + 4 - one->head);
    const char *length = strstr(one->head, "Content-Length: ");
    if (strncmp(one->head, "HTTP/1.1 200", 12) != 0 || !length || length > end) return REFUSED;
    return strtoll(length + strlen("Content-Length: "), NULL, 10);
}

/* Up to the end of the head, and what came of the body with it. */
static bool take_head(struct fetch *fetch, struct fetcher *one)
{
    char *to = one->head + one->head_bytes;
    ssize_t len = recv(one->fd, to, HEAD_MAX - 1 - one->head_bytes, MSG_DONTWAIT);
    if (len <= 0) return false;
    one->head_bytes += (uint32_t)len;
    uint32_t head_bytes = 0;
    int64_t bytes = body_bytes(one, &head_bytes);
    if (bytes == 0) return true;
    if (bytes != fetch->size || one->head_bytes - head_bytes >= fetch->size) return false;
    one->left = (uint64_t)bytes - (one->head_bytes - head_bytes);
    meter_bytes(fetch->meter, one->head_bytes - head_bytes);
    return true;
}

static bool take_body(struct fetch *fetch, struct fetcher *one)
{
    void *nowhere = NULL; /* tcp(7): with MSG_TRUNC bytes are dropped, not copied */
    ssize_t len = recv(one->fd, nowhere, one->left, MSG_DONTWAIT | MSG_TRUNC);
    if (len <= 0) return false;
    one->left -= (uint64_t)len;
    meter_bytes(fetch->meter, (uint64_t)len);
    if (one->left) return true;
    meter_count(fetch->meter, meter_now() - one->asked_ns);
    return ask(one);
}

static void turn(struct fetch *fetch)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(fetch->epoll, events, EVENTS_MAX, METER_WAIT_MS);
    for (int n = 0; n < count; n++) {
        struct fetcher *one = events[n].data.ptr;
        if (one->left ? take_body(fetch, one) : take_head(fetch, one)) continue;
        meter_error(fetch->meter, "a connection ended, or the answer is not the file");
        epoll_ctl(fetch->epoll, EPOLL_CTL_DEL, one->fd, NULL);
    }
}

void load_fetch(const struct load_options *options, struct meter *meter)
{
    struct peers peers;
    peers_open(&peers, options);
    struct fetch fetch = {.meter = meter, .epoll = peers.epoll, .size = options->size};
    struct fetcher *all = load_memory(options->conns, sizeof *all);
    meter_start(meter, options->warm_s, options->seconds, options->pid);
    for (uint32_t n = 0; n < options->conns; n++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[n]};
        all[n].fd = peers.all[n].fd;
        if (epoll_ctl(fetch.epoll, EPOLL_CTL_MOD, all[n].fd, &event)) load_die("epoll_ctl");
        if (!ask(&all[n])) meter_error(meter, "a connection failed");
    }
    while (meter_goes_on(meter, meter_now())) turn(&fetch);
}
