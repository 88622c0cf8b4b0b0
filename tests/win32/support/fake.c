/* The fake's completion ports and its faults; see fake.h. */
#include "win32/support/fake.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { PORT_FDS_MAX = 4096 };

struct queued {
    struct queued *next;
    struct win32_packet packet;
};

struct fake_port {
    int wake_fd;
    struct queued *head, *tail;
};

/* --- faults --- */

void fake_fail(struct fake *fake, enum fake_call call, unsigned after, unsigned times, int code)
{
    pthread_mutex_lock(&fake->lock);
    fake->faults[call] = (struct fake_fault){after, times, code};
    pthread_mutex_unlock(&fake->lock);
}

unsigned fake_count(struct fake *fake, enum fake_call call)
{
    pthread_mutex_lock(&fake->lock);
    unsigned count = fake->counts[call];
    pthread_mutex_unlock(&fake->lock);
    return count;
}

int fake_fault(struct fake *fake, enum fake_call call)
{
    struct fake_fault *fault = &fake->faults[call];
    fake->counts[call]++;
    if (!fault->times) return 0;
    if (fault->after) {
        fault->after--;
        return 0;
    }
    fault->times--;
    return fault->code;
}

/* --- packets --- */

static void enqueue(struct fake_port *port, const struct win32_packet *packet)
{
    struct queued *queued = calloc(1, sizeof *queued);
    if (!queued) abort();
    queued->packet = *packet;
    if (port->tail)
        port->tail->next = queued;
    else
        port->head = queued;
    port->tail = queued;
    uint64_t one = 1;
    if (write(port->wake_fd, &one, sizeof one) != sizeof one) abort();
}

void fake_op_packet(struct fake *fake, int fd, struct fake_op *op)
{
    struct fake_sock *sock = &fake->socks[fd];
    struct win32_packet packet = {.key = sock->key,
                                  .overlapped = op->overlapped,
                                  .reserved = 0xDEADDEADDEADDEAD,
                                  .bytes = (uint32_t)op->overlapped->bytes};
    enqueue(sock->port, &packet);
    free(op);
}

unsigned fake_end(struct fake *fake, int fd, const struct win32_overlapped *overlapped,
                  uint32_t status)
{
    unsigned count = 0;
    for (struct fake_op **link = &fake->socks[fd].ops; *link;) {
        struct fake_op *op = *link;
        if (overlapped && op->overlapped != overlapped) {
            link = &op->next;
            continue;
        }
        *link = op->next;
        op->overlapped->status = status;
        fake_op_packet(fake, fd, op);
        count++;
    }
    return count;
}

/* --- the port --- */

static int call_start(void *ctx, const char **missing)
{
    (void)ctx, (void)missing;
    return 0;
}

static int call_port_open(void *ctx, void **out)
{
    (void)ctx;
    struct fake_port *port = calloc(1, sizeof *port);
    if (!port) abort();
    port->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (port->wake_fd < 0) {
        free(port);
        return WIN32_ERROR_NO_SYSTEM_RESOURCES;
    }
    *out = port;
    return 0;
}

static void call_port_close(void *ctx, void *handle)
{
    struct fake *fake = ctx;
    struct fake_port *port = handle;
    pthread_mutex_lock(&fake->lock);
    for (int fd = 0; fd < fake->fds; fd++)
        if (fake->socks[fd].port == port) abort(); /* a socket is left */
    pthread_mutex_unlock(&fake->lock);
    for (struct queued *next; port->head; port->head = next) {
        next = port->head->next;
        if (port->head->packet.overlapped) abort(); /* a packet that nobody took */
        free(port->head);
    }
    close(port->wake_fd);
    free(port);
}

static int call_port_add(void *ctx, void *port, port_handle handle, uint64_t key)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    struct fake_sock *sock = &fake->socks[handle];
    int sys = fake_fault(fake, FAKE_ADD);
    if (!sys && sock->port) sys = WIN32_ERROR_INVALID_PARAMETER;
    if (!sys) *sock = (struct fake_sock){.port = port, .key = key};
    if (handle >= fake->fds) fake->fds = (int)handle + 1;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_skip_packets(void *ctx, port_handle handle)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_SKIP);
    if (!sys) fake->socks[handle].skips = true;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_port_post(void *ctx, void *port, uint64_t key)
{
    struct fake *fake = ctx;
    struct win32_packet packet = {.key = key};
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_POST);
    if (!sys) enqueue(port, &packet);
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

/* What it would be set for: that somebody waits at a listener, or that a watched one has spoken. */
static bool sets_signal(const struct fake *fake, const struct fake_sock *sock)
{
    if (sock->watcher) return !sock->heard;
    return sock->signal_key && (fake->signal_storms || !sock->signalled) && !fake_accepts(sock);
}

static void set_signal(struct fake *fake, struct fake_port *port, struct fake_sock *sock, int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    struct fake_sock *signal = sock->watcher ? sock->watcher : sock;
    if (signal->port != port || !sets_signal(fake, sock) || poll(&look, 1, 0) != 1) return;
    sock->signalled = sock->heard = true;
    signal->signal_set = true;
}

static void tell_signal(struct fake *fake, struct fake_port *port, struct fake_sock *sock)
{
    struct win32_packet packet = {.key = sock->signal_key};
    if (!sock->signal_set || !sock->signal_armed) return;
    sock->signal_set = sock->signal_armed = false;
    fake->signals++;
    enqueue(port, &packet);
}

/* What can go on does; operations on a handle finish in the order they were started, each kind for
 * itself. */
static void go_on(struct fake *fake, struct fake_port *port)
{
    for (int fd = 0; fd < fake->fds; fd++) set_signal(fake, port, &fake->socks[fd], fd);
    for (int fd = 0; fd < fake->fds; fd++) {
        struct fake_sock *sock = &fake->socks[fd];
        if (sock->port != port) continue;
        tell_signal(fake, port, sock);
        for (struct fake_op **link = &sock->ops; *link;) {
            struct fake_op *op = *link;
            if (!fake_op_try(fake, fd, op)) {
                link = &op->next;
                continue;
            }
            *link = op->next;
            fake_op_packet(fake, fd, op);
        }
    }
}

static uint32_t dequeue(struct fake_port *port, struct win32_packet *packets, uint32_t max)
{
    uint32_t count = 0;
    uint64_t drained;
    while (count < max && port->head) {
        struct queued *queued = port->head;
        packets[count++] = queued->packet;
        port->head = queued->next;
        if (!port->head) port->tail = NULL;
        free(queued);
    }
    if (!port->head) (void)!read(port->wake_fd, &drained, sizeof drained);
    return count;
}

static unsigned poll_set(struct fake *fake, struct fake_port *port, struct pollfd *fds)
{
    unsigned count = 0;
    fds[count++] = (struct pollfd){.fd = port->wake_fd, .events = POLLIN};
    for (int fd = 0; fd < fake->fds && count < PORT_FDS_MAX; fd++) {
        const struct fake_sock *sock = &fake->socks[fd];
        const struct fake_sock *signal = sock->watcher ? sock->watcher : sock;
        if (signal->port != port) continue;
        short events = signal->signal_armed && sets_signal(fake, sock) ? POLLIN : 0;
        for (struct fake_op *op = sock->ops; op; op = op->next) {
            if (!op->connected)
                events |= fake_op_events(op);
            else if (count < PORT_FDS_MAX)
                fds[count++] = (struct pollfd){.fd = op->newcomer, .events = POLLIN};
        }
        if (events && count < PORT_FDS_MAX)
            fds[count++] = (struct pollfd){.fd = fd, .events = events};
    }
    return count;
}

uint64_t fake_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void fake_end_accept(struct fake *fake, int newcomer)
{
    for (int fd = 0; fd < fake->fds; fd++)
        for (struct fake_op *op = fake->socks[fd].ops; op; op = op->next) {
            if (op->kind != FAKE_ACCEPT || op->newcomer != newcomer) continue;
            (void)fake_end(fake, fd, op->overlapped, (uint32_t)WIN32_STATUS_CANCELLED);
            return;
        }
}

static int call_port_wait(void *ctx, void *handle, struct win32_packet *packets, uint32_t max,
                          uint32_t *count, uint32_t timeout_ms)
{
    struct fake *fake = ctx;
    struct fake_port *port = handle;
    static _Thread_local struct pollfd fds[PORT_FDS_MAX];
    uint64_t until = fake_now_ms() + timeout_ms;
    for (;;) {
        pthread_mutex_lock(&fake->lock);
        go_on(fake, port);
        *count = dequeue(port, packets, max);
        unsigned watched = *count ? 0 : poll_set(fake, port, fds);
        pthread_mutex_unlock(&fake->lock);
        uint64_t now = fake_now_ms();
        if (*count || now >= until) return 0;
        uint64_t left = until - now;
        int sleep = left < INT32_MAX ? (int)left : INT32_MAX;
        if (poll(fds, watched, sleep) < 0 && errno != EINTR) abort();
    }
}

/* --- life --- */

struct fake *fake_make(void)
{
    struct fake *fake = calloc(1, sizeof *fake);
    if (!fake) abort();
    pthread_mutex_init(&fake->lock, NULL);
    fake->random = 88172645463325252u;
    fake->closed_status = 0x8000000A;
    fake->calls = (struct win32_calls){.ctx = fake,
                                       .start = call_start,
                                       .port_open = call_port_open,
                                       .port_close = call_port_close,
                                       .port_add = call_port_add,
                                       .skip_packets = call_skip_packets,
                                       .port_wait = call_port_wait,
                                       .port_post = call_port_post};
    fake_sock_calls(&fake->calls);
    return fake;
}

void fake_free(struct fake *fake)
{
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

/* The port asks for it where its config has no other table. */
const struct win32_calls *win32_system_calls(void) { abort(); }
