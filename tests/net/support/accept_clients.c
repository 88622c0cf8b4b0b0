/* The raw clients of accept_tools.h: blocking sockets with time limits. They belong to the thread
 * that made them; no memory. */
#include "net/support/accept_tools.h"
#include "net/support/raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

uint16_t address_port(const char *address)
{
    const char *colon = strrchr(address, ':');
    check(colon != NULL);
    return (uint16_t)strtoul(colon + 1, NULL, 10);
}

socklen_t address_of(const char *address, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    if (strncmp(address, "unix:", 5) == 0) {
        struct sockaddr_un *un = (void *)to;
        size_t len = strlen(address + 5);
        check(len < sizeof un->sun_path);
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, address + 5, len);
        bool abstract = un->sun_path[0] == '@';
        if (abstract) un->sun_path[0] = 0;
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
    }
    if (address[0] == '[') {
        struct sockaddr_in6 *in6 = (void *)to;
        char host[TEXT_MAX];
        size_t len = (size_t)(strchr(address, ']') - address - 1);
        memcpy(host, address + 1, len);
        host[len] = 0;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(address_port(address));
        check(inet_pton(AF_INET6, host, &in6->sin6_addr) == 1);
        return sizeof *in6;
    }
    struct sockaddr_in *in = (void *)to;
    in->sin_family = AF_INET;
    in->sin_port = htons(address_port(address));
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in;
}

static int dial_socket(const struct sockaddr_storage *to, int flags)
{
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) return -1;
    struct timeval limit = {.tv_sec = LIMIT_S};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (to->ss_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

bool connected_after_all(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int sys = 0;
    socklen_t len = sizeof sys;
    while (poll(&poll_fd, 1, LIMIT_S * 1000) < 0 && errno == EINTR) {
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0) return false;
    errno = sys;
    return sys == 0;
}

static int dial_with(const char *address, int flags)
{
    struct sockaddr_storage to;
    socklen_t len = address_of(address, &to);
    int fd = dial_socket(&to, flags);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&to, len) == 0 ||
        ((flags & SOCK_NONBLOCK) && errno == EINPROGRESS))
        return fd;
    if (errno == EINTR && connected_after_all(fd)) return fd;
    int sys = errno;
    close(fd);
    errno = sys;
    return -1;
}

int dial_try(const char *address) { return dial_with(address, 0); }

int dial_start(const char *address)
{
    int fd = dial_with(address, SOCK_NONBLOCK);
    check(fd >= 0);
    return fd;
}

int dial(const char *address)
{
    int fd = dial_try(address);
    check(fd >= 0);
    return fd;
}

void dial_with_socket(int fd, const char *address)
{
    struct sockaddr_storage to;
    socklen_t len = address_of(address, &to);
    check(connect(fd, (struct sockaddr *)&to, len) == 0 ||
          (errno == EINTR && connected_after_all(fd)));
}

int dial_small(const char *address, int buffer_bytes)
{
    struct sockaddr_storage to;
    address_of(address, &to);
    int fd = dial_socket(&to, 0);
    check(fd >= 0);
    check(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) == 0);
    dial_with_socket(fd, address);
    return fd;
}

void dial_many(const char *address, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) fds[i] = dial(address);
}

void say(int fd, const void *data, size_t len)
{
    const char *from = data;
    while (len) {
        ssize_t sent = send(fd, from, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        check(sent > 0);
        from += sent;
        len -= (size_t)sent;
    }
}

bool hear(int fd, void *data, size_t len)
{
    char *to = data;
    while (len) {
        ssize_t got = recv(fd, to, len, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        len -= (size_t)got;
    }
    return true;
}

static bool readable_within(int fd, uint64_t end_ms)
{
    for (;;) {
        uint64_t now = tools_now_ms();
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, now < end_ms ? (int)(end_ms - now) : 0);
        if (ready >= 0 || errno != EINTR) return ready > 0;
    }
}

enum heard hear_next(int fd, unsigned ms)
{
    if (!readable_within(fd, tools_now_ms() + ms)) return HEARD_NOTHING;
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (got > 0) return HEARD_BYTES;
    if (got == 0) return HEARD_END;
    return errno == EAGAIN ? HEARD_NOTHING : HEARD_RESET;
}

enum heard hear_end(int fd, unsigned ms)
{
    uint64_t end = tools_now_ms() + ms;
    char bytes[65536];
    for (;;) {
        if (!readable_within(fd, end)) return HEARD_NOTHING;
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got == 0) return HEARD_END;
        if (got < 0 && errno != EAGAIN) return HEARD_RESET;
    }
}

bool echoes(int fd)
{
    static atomic_uint number;
    unsigned asked = atomic_fetch_add(&number, 1), answer = ~asked;
    if (send(fd, &asked, sizeof asked, MSG_NOSIGNAL) != sizeof asked) return false;
    return hear(fd, &answer, sizeof answer) && answer == asked;
}

void check_echo(const char *address)
{
    int fd = dial(address);
    check(echoes(fd));
    hang_up(fd);
}

void hang_up(int fd) { close(fd); }

void hang_up_reset(int fd)
{
    struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

void hang_up_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0) close(fds[i]);
        fds[i] = -1;
    }
}

static int bound(char *address)
{
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0);
    check(raw_bind(fd));
    check(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    snprintf(address, TEXT_MAX, "127.0.0.1:%u", ntohs(in.sin_port));
    return fd;
}

int doorway(int backlog, char *address)
{
    int fd = bound(address);
    struct timeval limit = {.tv_sec = LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit); /* accept's, too */
    check(listen(fd, backlog) == 0);
    return fd;
}

int let_in(int door)
{
    int fd;
    while ((fd = accept(door, NULL, NULL)) < 0 && errno == EINTR) {
    }
    check(fd >= 0);
    return fd;
}

int nobody_home(char *address) { return bound(address); }
