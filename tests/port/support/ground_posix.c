/* Raw peers of the system: non-blocking sockets on loopback. No state but the saved limit of
 * descriptors, which is the process's, as the trial's process is its own. */
#include "port/support/stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "support/folder.h"

union any_sockaddr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static struct rlimit saved_limit;

static int open_nothing(void **world)
{
    *world = NULL;
    return 0;
}

static void shut_nothing(void *world) { (void)world; }

static socklen_t sockaddr_of(const struct address *address, union any_sockaddr *out)
{
    memset(out, 0, sizeof *out);
    if (address->kind == ADDRESS_PATH) {
        size_t len = strlen(address->host);
        if (len >= sizeof out->un.sun_path) abort();
        out->un.sun_family = AF_UNIX;
        memcpy(out->un.sun_path, address->host, len);
        bool abstract = address->host[0] == '@';
        if (abstract) out->un.sun_path[0] = 0;
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (abstract ? 0 : 1));
    }
    if (address->ip.family == ADDR_V6) {
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(address->ip.port);
        memcpy(&out->in6.sin6_addr, address->ip.ip, 16);
        return sizeof out->in6;
    }
    out->in.sin_family = AF_INET;
    out->in.sin_port = htons(address->ip.port);
    memcpy(&out->in.sin_addr, address->ip.ip, 4);
    return sizeof out->in;
}

static void addr_of(const union any_sockaddr *from, struct addr *addr)
{
    memset(addr, 0, sizeof *addr);
    if (from->any.sa_family == AF_UNIX) addr->family = ADDR_UNIX;
    if (from->any.sa_family == AF_INET) {
        addr->family = ADDR_V4;
        addr->port = ntohs(from->in.sin_port);
        memcpy(addr->ip, &from->in.sin_addr, 4);
    }
    if (from->any.sa_family == AF_INET6) {
        addr->family = ADDR_V6;
        addr->port = ntohs(from->in6.sin6_port);
        memcpy(addr->ip, &from->in6.sin6_addr, 16);
    }
}

static void posix_local(void *world, intptr_t peer, struct addr *addr)
{
    (void)world;
    union any_sockaddr at;
    socklen_t len = sizeof at;
    memset(&at, 0, sizeof at);
    if (getsockname((int)peer, &at.any, &len) != 0) at.any.sa_family = AF_UNSPEC;
    addr_of(&at, addr);
}

static int posix_listen(void *world, const struct address *at, int backlog, intptr_t *listener,
                        struct address *bound)
{
    union any_sockaddr sockaddr;
    socklen_t len = sockaddr_of(at, &sockaddr);
    int fd = socket(sockaddr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (bind(fd, &sockaddr.any, len) != 0 || listen(fd, backlog) != 0) {
        close(fd);
        return -1;
    }
    *listener = fd;
    *bound = *at;
    if (at->kind == ADDRESS_IP) posix_local(world, fd, &bound->ip);
    return 0;
}

static bool posix_accept(void *world, intptr_t listener, intptr_t *peer)
{
    (void)world;
    int fd = accept4((int)listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return false;
    *peer = fd;
    return true;
}

static int posix_connect(void *world, const struct address *to, intptr_t *peer)
{
    (void)world;
    union any_sockaddr sockaddr;
    socklen_t len = sockaddr_of(to, &sockaddr);
    int fd = socket(sockaddr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int on = 1;
    if (sockaddr.any.sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, &sockaddr.any, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    *peer = fd;
    return 0;
}

static int posix_connected(void *world, intptr_t peer)
{
    (void)world;
    struct pollfd look = {.fd = (int)peer, .events = POLLOUT};
    if (poll(&look, 1, 0) <= 0) return 0;
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt((int)peer, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) return -1;
    return 1;
}

static int64_t posix_write(void *world, intptr_t peer, const void *data, size_t len)
{
    (void)world;
    ssize_t n = send((int)peer, data, len, MSG_NOSIGNAL);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? PEER_WAIT : PEER_RESET;
}

static int64_t posix_read(void *world, intptr_t peer, void *data, size_t len)
{
    (void)world;
    ssize_t n = recv((int)peer, data, len, 0);
    if (n > 0) return n;
    if (n == 0) return PEER_END;
    return errno == EAGAIN || errno == EINTR ? PEER_WAIT : PEER_RESET;
}

static void posix_finish(void *world, intptr_t peer)
{
    (void)world;
    (void)shutdown((int)peer, SHUT_WR);
}

static void posix_close(void *world, intptr_t peer, enum port_close_mode mode)
{
    (void)world;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (mode == PORT_CLOSE_RST)
        (void)setsockopt((int)peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close((int)peer);
}

static void posix_close_listener(void *world, intptr_t listener)
{
    (void)world;
    close((int)listener);
}

/* The limit becomes the lowest free number: what is open stays, nothing can be added. */
static void posix_exhaust(void *world, bool on)
{
    (void)world;
    if (!on) {
        if (setrlimit(RLIMIT_NOFILE, &saved_limit) != 0) abort();
        return;
    }
    if (getrlimit(RLIMIT_NOFILE, &saved_limit) != 0) abort();
    int lowest = dup(0);
    if (lowest < 0) abort();
    close(lowest);
    struct rlimit low = {.rlim_cur = (rlim_t)lowest, .rlim_max = saved_limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &low) != 0) abort();
}

static unsigned posix_descriptors(void *world)
{
    (void)world;
    return folder_entries("/proc/self/fd");
}

/* Gone from its folder at once. */
static int file_make(void)
{
    char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/sallyport-XXXXXX", folder ? folder : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || unlink(path) != 0) abort();
    return fd;
}

static os_file posix_file(void *world, uint32_t tag, uint64_t at, uint64_t offset, uint64_t bytes)
{
    static unsigned char piece[STAGE_PIECE_BYTES];
    (void)world;
    int fd = file_make();
    if (ftruncate(fd, (off_t)(offset + bytes)) != 0) abort();
    for (uint64_t done = 0; done < bytes;) {
        size_t len = bytes - done < sizeof piece ? (size_t)(bytes - done) : sizeof piece;
        pattern_fill(tag, at + done, piece, len);
        if (pwrite(fd, piece, len, (off_t)(offset + done)) != (ssize_t)len) abort();
        done += len;
    }
    return fd;
}

static void posix_file_cut(void *world, os_file file, uint64_t bytes)
{
    (void)world;
    if (ftruncate((int)file, (off_t)bytes) != 0) abort();
}

static void posix_file_close(void *world, os_file file)
{
    (void)world;
    if (close((int)file) != 0) abort();
}

static os_file posix_file_unreadable(void *world)
{
    char path[64];
    int fd = (int)posix_file(world, 1, 0, 0, 4096);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int blind = open(path, O_WRONLY | O_CLOEXEC);
    if (blind < 0) abort();
    close(fd);
    return blind;
}

static void on_pester(int number) { (void)number; }

static void posix_pester(void *world, bool on)
{
    (void)world;
    static timer_t timer;
    if (!on) {
        timer_delete(timer);
        return;
    }
    struct sigaction action = {.sa_handler = on_pester}; /* no SA_RESTART: calls are cut short */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    if (sigaction(SIGUSR2, &action, NULL) != 0) abort();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) abort();
    if (timer_settime(timer, 0, &often, NULL) != 0) abort();
}

static void posix_interrupt(void *world, void (*handler)(int number))
{
    (void)world;
    struct sigaction action = {.sa_handler = handler};
    if (sigaction(SIGUSR1, &action, NULL) != 0 || raise(SIGUSR1) != 0) abort();
}

static bool posix_readable(void *world, int64_t fd)
{
    (void)world;
    struct pollfd look = {.fd = (int)fd, .events = POLLIN};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLIN);
}

static void posix_path(void *world, char *path, size_t size)
{
    (void)world;
    static unsigned number;
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/sallyport-%ld-%u", folder ? folder : "/tmp", (long)getpid(), number++);
}

static bool posix_privileged(void *world)
{
    (void)world;
    return geteuid() == 0;
}

const struct ground ground_posix = {
    .name = "posix",
    .real = true,
    .open = open_nothing,
    .shut = shut_nothing,
    .listen = posix_listen,
    .accept = posix_accept,
    .connect = posix_connect,
    .connected = posix_connected,
    .write = posix_write,
    .read = posix_read,
    .finish = posix_finish,
    .close = posix_close,
    .close_listener = posix_close_listener,
    .local = posix_local,
    .exhaust = posix_exhaust,
    .descriptors = posix_descriptors,
    .file = posix_file,
    .file_cut = posix_file_cut,
    .file_close = posix_file_close,
    .file_unreadable = posix_file_unreadable,
    .pester = posix_pester,
    .interrupt = posix_interrupt,
    .readable = posix_readable,
    .path = posix_path,
    .privileged = posix_privileged,
};
