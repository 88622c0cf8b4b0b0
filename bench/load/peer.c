/* The generator's connections and their bytes. See peer.h. */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PERIOD = 4093, CONNECT_MS = 10000 };

static char pattern[PERIOD + PEER_CHUNK_BYTES];
static char received[PEER_CHUNK_BYTES];

/* xorshift64: any mixture does, it has to be the same in every run only. */
static void pattern_fill(void)
{
    uint64_t x = 88172645463325252u;
    for (int n = 0; n < PERIOD; n++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pattern[n] = (char)(x >> 32);
    }
    for (int n = PERIOD; n < PERIOD + PEER_CHUNK_BYTES; n++) pattern[n] = pattern[n - PERIOD];
}

const char *pattern_at(uint32_t number, uint64_t position)
{
    if (pattern[0] == pattern[1] && pattern[1] == pattern[2]) pattern_fill();
    return pattern + (position + number * 7ull) % PERIOD;
}

/* Local addresses multiply the ports: 28,000 of each can wait in TIME_WAIT. */
static int bind_source(int fd, const struct load_options *options, uint32_t number)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int on = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % options->sources);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on)) return -1;
    return bind(fd, (struct sockaddr *)&addr, sizeof addr);
}

int peer_connect(const struct load_options *options, int epoll, uint32_t number, uint32_t events,
                 void *data)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    struct epoll_event event = {.events = events, .data.ptr = data};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) return -1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) goto fail;
    if (options->sources > 1 && bind_source(fd, options, number)) goto fail;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) && errno != EINPROGRESS) goto fail;
    if (epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) goto fail;
    return fd;
fail:
    close(fd);
    return -1;
}

/* Until the connection stands: a full backlog makes the peer wait for a retransmission. */
static void wait_connected(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int err = 0;
    socklen_t len = sizeof err;
    if (poll(&poll_fd, 1, CONNECT_MS) != 1) {
        errno = ETIMEDOUT;
        load_die("connect");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0) return;
    errno = err;
    load_die("connect");
}

void peers_open(struct peers *peers, const struct load_options *options)
{
    *peers = (struct peers){.count = options->conns, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    peers->all = load_memory(options->conns, sizeof *peers->all);
    if (peers->epoll < 0) load_die("epoll_create1");
    for (uint32_t n = 0; n < options->conns; n++) {
        struct peer *peer = &peers->all[n];
        peer->number = n;
        peer->fd = peer_connect(options, peers->epoll, n, EPOLLIN, peer);
        if (peer->fd < 0) load_die("connect");
        wait_connected(peer->fd);
    }
}

void peers_hold(const struct load_options *options, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        int fd = peer_connect(options, -1, n, 0, NULL);
        if (fd < 0) load_die("connect an idle connection");
        wait_connected(fd);
    }
}

static void wait_to_write(struct peers *peers, struct peer *peer, bool wait)
{
    if (peer->waits_to_write == wait) return;
    struct epoll_event event = {.events = wait ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(peers->epoll, EPOLL_CTL_MOD, peer->fd, &event)) load_die("epoll_ctl");
    peer->waits_to_write = wait;
}

bool peer_send(struct peers *peers, struct peer *peer)
{
    while (peer->sent < peer->goal) {
        uint64_t len = peer->goal - peer->sent;
        if (len > PEER_CHUNK_BYTES) len = PEER_CHUNK_BYTES;
        ssize_t sent = send(peer->fd, pattern_at(peer->number, peer->sent), len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (sent > 0) peer->sent += (uint64_t)sent;
        if (sent < (ssize_t)len) break;
    }
    wait_to_write(peers, peer, peer->sent < peer->goal);
    return true;
}

int64_t peer_receive(struct peer *peer)
{
    ssize_t len = recv(peer->fd, received, sizeof received, 0);
    if (len < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (len == 0) return -1;
    if (memcmp(received, pattern_at(peer->number, peer->received), (size_t)len)) return -2;
    peer->received += (uint64_t)len;
    return len;
}
