/* Opens many connections to an echo server on loopback, has each of them served once, says so, and
 * holds them until standard input ends. One thread; several source addresses, so that the system's
 * range of ports is no limit.
 *   idle PORT COUNT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PER_SOURCE = 5000, LIMIT_S = 60, BATCH = 100 };

static int fail(const char *what, unsigned number)
{
    fprintf(stderr, "idle: connection %u: %s: %s\n", number, what, strerror(errno));
    return -1;
}

static int open_one(uint16_t port, unsigned number)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PER_SOURCE);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    struct timeval limit = {.tv_sec = LIMIT_S};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail("socket", number);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) ||
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on))
        return fail("setsockopt", number);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) return fail("bind", number);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return fail("connect", number);
    if (send(fd, &number, sizeof number, MSG_NOSIGNAL) != sizeof number)
        return fail("send", number);
    return fd;
}

static int serve_one(int fd, unsigned number)
{
    unsigned got = ~number;
    ssize_t n = recv(fd, &got, sizeof got, MSG_WAITALL);
    if (n == sizeof got && got == number) return 0;
    if (n >= 0) errno = EPROTO;
    return fail("no echo", number);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: idle PORT COUNT\n", stderr);
        return 2;
    }
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    int *fds = calloc(count, sizeof *fds);
    if (!fds) return 1;
    for (unsigned first = 0; first < count; first += BATCH) {
        unsigned end = first + BATCH < count ? first + BATCH : count;
        for (unsigned i = first; i < end; i++)
            if ((fds[i] = open_one(port, i)) < 0) return 1;
        for (unsigned i = first; i < end; i++)
            if (serve_one(fds[i], i) < 0) return 1;
    }
    printf("%u served\n", count);
    fflush(stdout);
    while (getchar() != EOF) continue;
    free(fds);
    return 0;
}
