/* Peers that cost an echo server with length-prefixed messages (32 bits, highest byte first) what
 * they can, all at once and for a while:
 *   slow      asks for echoes of big messages without an end, and reads nothing
 *   half      sends the first part of a big message and then nothing
 *   dripping  sends a message byte by byte, one each second
 *   silent    sends nothing
 *   reset     asks for an echo and resets, again and again
 * Whoever is cut comes back. One thread, one epoll(7), several source addresses; a connection
 * attempt never waits.
 *   hostile PORT COUNT SECONDS MESSAGE_BYTES SEED
 * At the end it prints how many connected and how many of these were cut. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PER_SOURCE = 5000,
    SOCKET_BUF = 8192,
    EVENTS = 512,
    TICK_MS = 50,
    OPENS_PER_TICK = 200,
    WRITES_PER_EVENT = 4
};

enum kind { SLOW, HALF, DRIPPING, SILENT, RESET, KINDS };

struct peer {
    int fd; /* -1: to be opened again */
    enum kind kind;
    bool connected;
    uint32_t at;   /* bytes of the message that were sent */
    uint32_t stop; /* HALF: how many are, then nothing */
    uint64_t due_ms;
};

static struct peer *peers;
static unsigned count;
static uint32_t message_bytes;
static unsigned char *message;
static struct sockaddr_in server = {.sin_family = AF_INET};
static int poll_fd;
static unsigned long connected, cut;
static uint64_t lot;

static uint64_t draw(void)
{
    lot = lot * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return lot >> 33;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void give_up(const char *what)
{
    fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- One peer ---- */

static void peer_open(struct peer *peer)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    unsigned number = (unsigned)(peer - peers);
    int on = 1, size = SOCKET_BUF;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PER_SOURCE);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) give_up("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) ||
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&from, sizeof from))
        give_up("a socket's option");
    if (connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
        close(fd); /* again later */
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP, .data.u32 = number};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) give_up("epoll_ctl");
    *peer = (struct peer){.fd = fd, .kind = peer->kind};
    peer->stop = message_bytes / 4 + (uint32_t)(draw() % (message_bytes / 2));
}

static void peer_close(struct peer *peer, bool with_reset)
{
    struct linger linger = {.l_onoff = 1};
    if (with_reset) setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(peer->fd);
    peer->fd = -1;
}

static void peer_want(struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(peer - peers)};
    if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, peer->fd, &event)) give_up("epoll_ctl");
}

/* At most `most` bytes of the stream of messages. False: the connection is gone. */
static bool peer_send(struct peer *peer, uint32_t most)
{
    uint32_t left = message_bytes - peer->at;
    if (left > most) left = most;
    ssize_t sent = send(peer->fd, message + peer->at, left, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    peer->at = (peer->at + (uint32_t)sent) % message_bytes;
    return true;
}

static bool peer_go_on(struct peer *peer)
{
    switch (peer->kind) {
    case SLOW:
        for (int i = 0; i < WRITES_PER_EVENT; i++)
            if (!peer_send(peer, message_bytes)) return false;
        return true;
    case HALF:
        if (peer->at >= peer->stop) {
            peer_want(peer, EPOLLRDHUP);
            return true;
        }
        return peer_send(peer, peer->stop - peer->at);
    case RESET:
        if (!peer_send(peer, message_bytes)) return false;
        peer_close(peer, true);
        return true;
    case DRIPPING: /* by the clock */
    case SILENT:
    case KINDS: break;
    }
    peer_want(peer, EPOLLRDHUP);
    return true;
}

static void peer_on_event(struct peer *peer, uint32_t events)
{
    if (peer->fd < 0) return;
    bool gone = events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    if (!gone && !peer->connected) {
        peer->connected = true;
        connected++;
    }
    if (!gone) gone = !peer_go_on(peer);
    if (!gone) return;
    cut += peer->connected;
    peer_close(peer, false);
}

/* ---- All ---- */

/* Those that are cut come back, but not all at the same moment. */
static void tick(uint64_t now)
{
    static unsigned next;
    unsigned opens = 0;
    for (unsigned i = 0; i < count; i++) {
        struct peer *peer = &peers[(next + i) % count];
        if (peer->fd < 0) {
            if (opens++ < OPENS_PER_TICK) peer_open(peer);
        } else if (peer->kind == DRIPPING && peer->connected && now >= peer->due_ms) {
            peer->due_ms = now + 1000;
            if (!peer_send(peer, 1)) {
                cut++;
                peer_close(peer, false);
            }
        }
    }
    next = (unsigned)(draw() % count);
}

static void attack(uint64_t until_ms)
{
    static struct epoll_event events[EVENTS];
    uint64_t now = now_ms(), tick_ms = 0;
    for (; now < until_ms; now = now_ms()) {
        if (now >= tick_ms) {
            tick(now);
            tick_ms = now + TICK_MS;
        }
        int got = epoll_wait(poll_fd, events, EVENTS, TICK_MS);
        if (got < 0 && errno != EINTR) give_up("epoll_wait");
        for (int i = 0; i < got; i++) peer_on_event(&peers[events[i].data.u32], events[i].events);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: hostile PORT COUNT SECONDS MESSAGE_BYTES SEED\n", stderr);
        return 2;
    }
    server.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    count = (unsigned)strtoul(argv[2], NULL, 10);
    uint64_t until_ms = now_ms() + strtoul(argv[3], NULL, 10) * 1000;
    message_bytes = (uint32_t)strtoul(argv[4], NULL, 10);
    lot = strtoul(argv[5], NULL, 10);
    peers = calloc(count, sizeof *peers);
    message = calloc(1, message_bytes);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!peers || !message || poll_fd < 0 || message_bytes < 16) give_up("can't begin");
    for (int i = 0; i < 4; i++) message[i] = (unsigned char)((message_bytes - 4) >> (24 - 8 * i));
    for (unsigned i = 0; i < count; i++)
        peers[i] = (struct peer){.fd = -1, .kind = (enum kind)(i % KINDS)};
    attack(until_ms);
    printf("%lu connected, %lu were cut\n", connected, cut);
    return 0;
}
