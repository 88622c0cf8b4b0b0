/* Raw peers; see raw.h. */
#include "net/support/raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    RAW_LIMIT_S = 30,
    RAW_PIECE = 64 * 1024,
    FDS_MAX = 65536,
    RAW_PORT_MIN = 10000,
    RAW_PORTS = 10000,
};

/* ---- Making ---- */

static void limits_set(int fd)
{
    struct timeval limit = {.tv_sec = RAW_LIMIT_S};
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static bool address_of(const char *text, struct sockaddr_in *address)
{
    char host[32];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host) return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

/* Work that an io_uring leaves to the thread that made it interrupts a call that has a time limit;
 * the connect goes on all the same. */
static bool connect_waits(int fd, const struct sockaddr_in *address)
{
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) return true;
    if (errno != EINTR) return false;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int count;
    do {
        count = poll(&ready, 1, RAW_LIMIT_S * 1000);
    } while (count < 0 && errno == EINTR);
    socklen_t len = sizeof errno;
    return count == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &len) == 0 && errno == 0;
}

int raw_connect(const char *text, int recv_buf_bytes)
{
    struct sockaddr_in address;
    if (!address_of(text, &address)) return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    limits_set(fd);
    if (recv_buf_bytes)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &recv_buf_bytes, sizeof recv_buf_bytes);
    if (connect_waits(fd, &address)) return fd;
    fprintf(stderr, "connect to %s: %s\n", text, strerror(errno));
    close(fd);
    return -1;
}

/* The system's choice, as a rule. It refuses when each port of its range is some connection's that
 * went out from here and waits out its time (RFC 9293 section 3.6.1), though another program made
 * it: then one from below the range (ip(7), ip_local_port_range), which no connection takes by
 * itself. */
bool raw_bind(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return true;
    unsigned first = (unsigned)getpid();
    for (unsigned i = 0; errno == EADDRINUSE && i < RAW_PORTS; i++) {
        address.sin_port = htons((uint16_t)(RAW_PORT_MIN + (first + i) % RAW_PORTS));
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return true;
    }
    return false;
}

int raw_listen(char *buf, size_t size, int backlog)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    limits_set(fd);
    if (raw_bind(fd) && listen(fd, backlog) == 0) {
        raw_address(fd, buf, size);
        return fd;
    }
    close(fd);
    return -1;
}

int raw_accept(int listener)
{
    int fd;
    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0) limits_set(fd);
    return fd;
}

/* ---- Sending ---- */

bool raw_send(int fd, const void *data, size_t len)
{
    const unsigned char *from = data;
    while (len) {
        ssize_t sent = send(fd, from, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        from += sent;
        len -= (size_t)sent;
    }
    return true;
}

size_t raw_send_some(int fd, const void *data, size_t len, int patience_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int count;
    do {
        count = poll(&ready, 1, patience_ms);
    } while (count < 0 && errno == EINTR);
    if (count != 1) return 0;
    ssize_t sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? (size_t)sent : 0;
}

bool raw_send_pattern(int fd, uint64_t stream, uint64_t from, uint64_t len, size_t piece_max)
{
    static _Thread_local unsigned char piece[RAW_PIECE];
    struct lot lot = {.state = stream * 77 + from};
    if (piece_max > sizeof piece) piece_max = sizeof piece;
    while (len) {
        size_t n = 1 + lot_below(&lot, (uint32_t)piece_max);
        if (n > len) n = (size_t)len;
        pattern_fill(piece, stream, from, n);
        if (!raw_send(fd, piece, n)) return false;
        from += n;
        len -= n;
    }
    return true;
}

/* ---- Receiving ---- */

long raw_read_some(int fd, void *data, size_t len)
{
    ssize_t got;
    do {
        got = recv(fd, data, len, 0);
    } while (got < 0 && errno == EINTR);
    return (long)got;
}

long raw_recv_now(int fd, void *data, size_t len)
{
    return (long)recv(fd, data, len, MSG_DONTWAIT);
}

bool raw_read(int fd, void *data, size_t len)
{
    unsigned char *to = data;
    while (len) {
        long got = raw_read_some(fd, to, len);
        if (got <= 0) return false;
        to += got;
        len -= (size_t)got;
    }
    return true;
}

static enum raw_end end_of(long got, int error)
{
    if (got == 0) return RAW_FIN;
    return error == ECONNRESET || error == EPIPE ? RAW_RST : RAW_SILENT;
}

const char *raw_end_name(enum raw_end end)
{
    static const char *const names[] = {"FIN", "RST", "silence", "wrong bytes"};
    return names[end];
}

static enum raw_end read_to_end(int fd, bool check, uint64_t stream, uint64_t from, uint64_t *bytes)
{
    static _Thread_local unsigned char piece[RAW_PIECE];
    uint64_t total = 0;
    enum raw_end end;
    for (;;) {
        long got = raw_read_some(fd, piece, sizeof piece);
        end = end_of(got, errno);
        if (got <= 0) break;
        size_t right = check ? pattern_check(piece, stream, from + total, (size_t)got) : 0;
        total += (uint64_t)got;
        if (!check || right == (size_t)got) continue;
        fprintf(stderr, "wrong byte at %llu\n", (unsigned long long)(total - (size_t)got + right));
        end = RAW_WRONG_BYTES;
        break;
    }
    if (bytes) *bytes = total;
    return end;
}

enum raw_end raw_read_to_end(int fd, uint64_t *bytes)
{
    return read_to_end(fd, false, 0, 0, bytes);
}

enum raw_end raw_check_to_end(int fd, uint64_t stream, uint64_t from, uint64_t *bytes)
{
    return read_to_end(fd, true, stream, from, bytes);
}

bool raw_check(int fd, uint64_t stream, uint64_t from, uint64_t len, size_t piece_max)
{
    static _Thread_local unsigned char piece[RAW_PIECE];
    if (!piece_max || piece_max > sizeof piece) piece_max = sizeof piece;
    while (len) {
        long got = raw_read_some(fd, piece, len < piece_max ? (size_t)len : piece_max);
        if (got <= 0) {
            fprintf(stderr, "%s with %llu bytes to come\n", raw_end_name(end_of(got, errno)),
                    (unsigned long long)len);
            return false;
        }
        size_t right = pattern_check(piece, stream, from, (size_t)got);
        if (right != (size_t)got) {
            fprintf(stderr, "wrong byte at %llu\n", (unsigned long long)(from + right));
            return false;
        }
        from += (uint64_t)got;
        len -= (uint64_t)got;
    }
    return true;
}

/* ---- Ending ---- */

void raw_finish(int fd) { (void)shutdown(fd, SHUT_WR); }

void raw_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

void raw_close(int fd) { close(fd); }

/* ---- Names ---- */

const char *raw_address(int fd, char *buf, size_t size)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof address;
    char host[INET_ADDRSTRLEN] = "?";
    (void)getsockname(fd, (struct sockaddr *)&address, &len);
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    snprintf(buf, size, "%s:%u", host, ntohs(address.sin_port));
    return buf;
}

int raw_find_other_end(int fd)
{
    struct sockaddr_in own = {0};
    socklen_t len = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &len) != 0) return -1;
    for (int other = 0; other < FDS_MAX; other++) {
        struct sockaddr_in peer = {0};
        len = sizeof peer;
        if (other == fd || getpeername(other, (struct sockaddr *)&peer, &len) != 0) continue;
        if (peer.sin_family == AF_INET && peer.sin_port == own.sin_port) return other;
    }
    return -1;
}

/* ---- Pattern ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

/* Eight bytes a step: 100 MB are checked in each run. */
static uint64_t pattern_word(uint64_t stream, uint64_t word)
{
    return mix((stream + 1) << 40 ^ word);
}

unsigned char pattern_byte(uint64_t stream, uint64_t offset)
{
    return (unsigned char)(pattern_word(stream, offset / 8) >> offset % 8 * 8);
}

void pattern_fill(void *data, uint64_t stream, uint64_t offset, size_t len)
{
    unsigned char *to = data;
    for (size_t i = 0; i < len;) {
        uint64_t word = pattern_word(stream, (offset + i) / 8);
        unsigned byte = (unsigned)((offset + i) % 8);
        for (; byte < 8 && i < len; byte++, i++) to[i] = (unsigned char)(word >> byte * 8);
    }
}

size_t pattern_check(const void *data, uint64_t stream, uint64_t offset, size_t len)
{
    const unsigned char *from = data;
    for (size_t i = 0; i < len;) {
        uint64_t word = pattern_word(stream, (offset + i) / 8);
        unsigned byte = (unsigned)((offset + i) % 8);
        for (; byte < 8 && i < len; byte++, i++)
            if (from[i] != (unsigned char)(word >> byte * 8)) return i;
    }
    return len;
}
