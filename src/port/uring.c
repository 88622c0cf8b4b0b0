/* The uring port's life (create, own, destroy), its waits, and the way from a completion to an
 * event. A completion names its socket by slot and generation; one that fits no socket with such a
 * request is counted and dropped. What the last wait found is a number: completions that come while
 * it is being taken are the next wait's, so a turn is bounded. Memory and threads: see uring.h. */
#include "port/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/linux_mask.h"
#include "port/linux_alarm.h"
#include "port/linux_sock.h"
#include "sallyport/error.h"

enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 8192, DRAIN_ROUNDS = 100, DRAIN_MS = 10, HOLD_STEPS = 64 };

/* Of what is rare: registers that it needs would be saved for each completion too. */
#define NEVER_INLINE __attribute__((noinline))

/* --- create --- */

/* Everything but the ring itself; what fails leaves the rest to uring_dispose. */
static int create_parts(struct uring *uring, const struct port_config *config)
{
    uint32_t sq = config->sq_entries ? config->sq_entries : SQ_ENTRIES;
    uint32_t cq = config->cq_entries ? config->cq_entries : CQ_ENTRIES;
    int err = uring_probe_ring(uring, sq, cq < sq ? sq : cq);
    if (err) return err;
    err = uring_bufs_create(uring, config->buf_bytes, config->bufs_max);
    if (err) return err;
    int rc = uring_bufs_register(uring);
    if (rc == -ENOMEM) return SALLY_ENOMEM;
    if (rc) {
        uring_refuse("io_uring_register(buffer ring)", -rc);
        return SALLY_ENOPORT;
    }
    uring->arena = mem_alloc(uring->port.mem, URING_ARENA_BYTES);
    if (!uring->arena) return SALLY_ENOMEM;
    uring->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (uring->wake_fd < 0) return SALLY_EEXHAUSTED;
    uring->alarm_fd = linux_alarm_open();
    if (uring->alarm_fd < 0) return SALLY_EEXHAUSTED;
    /* a child of fork that touches the ring crashes instead of stealing from its parent */
    (void)io_uring_ring_dontfork(&uring->ring);
    return 0;
}

static void uring_dispose(struct uring *uring)
{
    if (uring->wake_fd >= 0) close(uring->wake_fd);
    if (uring->alarm_fd >= 0) close(uring->alarm_fd);
    if (uring->told_fd >= 0) close(uring->told_fd);
    linux_holds_close(&uring->holds);
    if (uring->ring.ring_fd >= 0) {
        if (uring->bufs.block) uring_bufs_unregister(uring);
        io_uring_queue_exit(&uring->ring);
    }
    uring_bufs_free(uring);
    mem_free(uring->port.mem, uring->arena, URING_ARENA_BYTES);
    mem_free(uring->port.mem, uring, sizeof *uring);
}

static int create(struct port **port, const struct port_config *config, uint32_t features_off)
{
    struct uring *uring = mem_zalloc(config->mem, sizeof *uring);
    if (!uring) return SALLY_ENOMEM;
    uring->port.mem = config->mem;
    uring->port.socks = config->socks;
    uring->port.abilities = PORT_CAN_POLL_FD | PORT_CAN_SEND_FILE;
    uring->enter = uring_enter_kernel;
    uring->features_off = features_off;
    uring->ring.ring_fd = -1;
    uring->wake_fd = -1;
    uring->alarm_fd = -1;
    uring->told_fd = -1;
    uring->holds.epoll_fd = -1;
    uring->pid = getpid();
    /* a registration that a signal ended would look like a kernel that lacks something */
    sigset_t signals;
    linux_mask(&signals);
    int err = create_parts(uring, config);
    linux_unmask(&signals);
    if (err) {
        uring_dispose(uring);
        return err;
    }
    *port = &uring->port;
    return 0;
}

int uring_create_untried(struct port **port, const struct port_config *config)
{
    return create(port, config, config->features_off);
}

static int uring_create(struct port **port, const struct port_config *config)
{
    uint32_t features_off = 0;
    uring_refuse(NULL, 0);
    int err = uring_choose_once(config->mem, config->features_off, &features_off);
    return err ? err : create(port, config, features_off);
}

/* --- the wake-up --- */

/* Wake-ups and the alarm are descriptors that are polled. What they count is never read: each write
 * or expiry is an edge for the poll, and a poll that is armed anew reports at once what was there
 * before. */
static bool poll_arm(struct uring *uring, int fd, enum uring_kind kind)
{
    uint64_t user_data = (uint64_t)kind << SLOTS_INDEX_BITS;
    struct io_uring_sqe *sqe = uring_sqe(uring, IORING_OP_POLL_ADD, fd, user_data);
    if (!sqe) return false;
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    sqe->user_data = user_data;
    return true;
}

static void wake_arm(struct uring *uring)
{
    if (!uring->wake_armed) uring->wake_armed = poll_arm(uring, uring->wake_fd, URING_WAKE);
    if (!uring->alarm_armed) uring->alarm_armed = poll_arm(uring, uring->alarm_fd, URING_ALARM);
    if (!uring->hold_armed && uring->holds.epoll_fd >= 0) {
        uring->hold_armed = poll_arm(uring, uring->holds.epoll_fd, URING_HOLD);
        uring->hold_ready = true; /* what was there before */
    }
}

static bool uring_alarm(struct port *port, uint32_t delay_ms)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    return linux_alarm_set(uring->alarm_fd, delay_ms) == 0;
}

static void tell(int fd)
{
    uint64_t one = 1;
    ssize_t rc;
    do {
        rc = write(fd, &one, sizeof one);
    } while (rc < 0 && errno == EINTR);
}

/* Who polls port_fd is told directly: an eventfd that wakes a poll must not signal another eventfd
 * from there, so the kernel puts that off, and may lose it. */
static void uring_wake(struct port *port)
{
    struct uring *uring = uring_of(port);
    int sys_error = errno; /* it may be called by a signal handler */
    int told_fd = atomic_load(&uring->told_fd);
    tell(uring->wake_fd);
    if (told_fd >= 0) tell(told_fd);
    errno = sys_error;
}

/* --- waiting and taking --- */

static void prepare(struct uring *uring)
{
    uring_bufs_publish(uring);
    wake_arm(uring);
    if (uring->lists[URING_WORK].count) uring_work(uring);
    uring_feed(uring);
}

/* Before the kernel is asked: what comes after is told anew. */
static void tell_clear(struct uring *uring)
{
    uint64_t count;
    int fd = atomic_load_explicit(&uring->told_fd, memory_order_relaxed);
    if (fd >= 0) (void)!read(fd, &count, sizeof count);
}

/* For one alone a send of its own is cheaper than one through the ring, whose completion would cost
 * a turn; for many at once the ring's is. So the first send after such a wait may go by itself. */
static void choose_sending(struct uring *uring)
{
    if (uring->ready <= 1)
        uring->port.abilities |= PORT_CAN_SEND_NOW;
    else
        uring->port.abilities &= ~(uint32_t)PORT_CAN_SEND_NOW;
}

static int uring_wait(struct port *port, uint32_t timeout_ms)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    if (uring->fd_used) tell_clear(uring);
    bool calm = uring_is_calm(uring);
    if (calm)
        uring_bufs_publish(uring);
    else
        prepare(uring);
    /* with completions there the kernel wouldn't sleep either, but be given a time limit first */
    bool sleep = (calm || !uring_restless(uring)) && uring_cq_ready(uring) == 0;
    int err = uring_enter(uring, sleep ? timeout_ms : 0);
    uring->ready = uring_cq_ready(uring);
    uring->ripe = uring->lists[URING_DUE].count;
    if (uring->holds.open) uring->hold_steps = HOLD_STEPS;
    choose_sending(uring);
    return err;
}

static void uring_flush(struct port *port)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    prepare(uring);
    (void)uring_submit(uring);
    if (uring->fd_used && uring_restless(uring)) uring_wake(port);
}

/* What is not a socket's: the port's own polls, closes and cancellations. A stray completion may
 * carry a descriptor or a buffer; nothing it says is believed, so they stay where they are. */
static NEVER_INLINE void resolve_own(struct uring *uring, unsigned kind, uint32_t flags)
{
    bool over = !(flags & IORING_CQE_F_MORE);
    if (kind == URING_WAKE && uring->wake_armed) {
        if (over) uring->wake_armed = false;
    } else if (kind == URING_ALARM && uring->alarm_armed) {
        if (over) uring->alarm_armed = false;
    } else if (kind == URING_HOLD && uring->hold_armed) {
        if (over) uring->hold_armed = false;
        uring->hold_ready = true;
    } else if (kind != PORT_CLOSE && kind != URING_CANCEL) { /* those failed: gone already */
        counter_add(&uring->port.counters.stray_events, 1);
    }
}

static NEVER_INLINE bool resolve(struct uring *uring, struct port_sock *sock, unsigned kind,
                                 int res, uint32_t flags, struct port_event *event)
{
    switch (kind) {
    case PORT_RECV: return uring_recv_done(uring, sock, res, flags, event);
    case PORT_SEND: return uring_send_done(uring, sock, res, event);
    case PORT_ACCEPT: return uring_accept_done(uring, sock, res, flags, event);
    default: return uring_connect_done(uring, sock, res, event);
    }
}

/* Copied before its place is given back to the kernel. */
static inline bool take_completion(struct uring *uring, struct port_event *event)
{
    struct io_uring_cq *cq = &uring->ring.cq;
    unsigned head = *cq->khead;
    const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
    const uint64_t user_data = cqe->user_data;
    const int res = cqe->res;
    const uint32_t flags = cqe->flags;
    uring->ready--;
    io_uring_smp_store_release(cq->khead, head + 1);
    unsigned kind = (unsigned)(user_data >> SLOTS_INDEX_BITS) & 0xff;
    uint32_t index = (uint32_t)user_data & ((1u << SLOTS_INDEX_BITS) - 1);
    if (kind < PORT_CLOSE) {
        struct port_sock *sock = slots_find(uring->port.socks, index, (uint32_t)(user_data >> 32));
        if (sock && uring_own(sock)->armed & PORT_BIT(kind)) {
            bool plain = kind == PORT_RECV && uring_recv_plain(uring, sock, res, flags, event);
            return plain || resolve(uring, sock, kind, res, flags, event);
        }
    } else if (kind == URING_FILE) {
        struct port_sock *sock = slots_find(uring->port.socks, index, (uint32_t)(user_data >> 32));
        if (sock && (uring_own(sock)->armed & PORT_BIT(PORT_SEND)) && uring_is_file(sock))
            return uring_file_done(uring, sock, res, event);
    }
    resolve_own(uring, kind, flags);
    return false;
}

/* The poll tells once that something has come: so it is looked until nothing is left, in so many
 * steps a turn. */
static bool take_held(struct uring *uring, struct port_event *event)
{
    bool told = false;
    while (!told && uring->hold_steps) {
        uring->hold_steps--;
        uring->hold_ready = linux_holds_take(&uring->holds, event, &told);
        if (!uring->hold_ready) uring->hold_steps = 0;
    }
    return told;
}

/* Completions, and what else was found. */
static NEVER_INLINE unsigned take_mixed(struct uring *uring, struct port_event *events,
                                        unsigned max)
{
    unsigned count = 0;
    while (count < max && uring_is_left(uring)) {
        if (uring->chunk.sock) {
            count += uring_recv_next(uring, &events[count]);
        } else if (uring->ready) {
            count += take_completion(uring, &events[count]);
        } else if (uring->ripe) {
            uring->ripe--;
            uring_take_due(uring, &events[count++]);
        } else {
            count += take_held(uring, &events[count]);
        }
    }
    uring->port.emptied = !uring_is_left(uring);
    return count;
}

static unsigned uring_take(struct port *port, struct port_event *events, unsigned max)
{
    struct uring *uring = uring_of(port);
    struct port_event *event = events, *end = events + max;
    uring_assert_owner(uring);
    while (uring->ready && !uring->chunk.sock && event < end) /* nearly always all there is */
        event += take_completion(uring, event);
    unsigned count = (unsigned)(event - events);
    port->emptied = !uring_is_left(uring);
    return port->emptied || count == max ? count : count + take_mixed(uring, event, max - count);
}

/* --- own and destroy --- */

static int uring_own_thread(struct port *port)
{
    struct uring *uring = uring_of(port);
    assert(!uring->owned && uring->pid == getpid());
    /* by hand: the shared liburing 2.3 doesn't export its function for it */
    if (io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return SALLY_ESYSTEM;
    uring->owner = &os_thread_mark;
    uring->owned = true;
    if (uring_has(uring, PORT_NO_RING_FD))
        uring->ring_fd_registered = io_uring_register_ring_fd(&uring->ring) == 1;
    wake_arm(uring);
    return 0;
}

static void poll_cancel(struct uring *uring, enum uring_kind kind)
{
    struct io_uring_sqe *sqe =
        uring_sqe(uring, IORING_OP_ASYNC_CANCEL, -1, (uint64_t)URING_CANCEL << SLOTS_INDEX_BITS);
    if (sqe) sqe->addr = (uint64_t)kind << SLOTS_INDEX_BITS;
}

/* The requests left are the port's own: the polls for wake-ups and the alarm, and closes that were
 * not submitted yet. False when the kernel doesn't give them back. */
static bool drain(struct uring *uring)
{
    struct port_event event;
    poll_cancel(uring, URING_WAKE);
    if (uring->alarm_armed) poll_cancel(uring, URING_ALARM);
    if (uring->hold_armed) poll_cancel(uring, URING_HOLD);
    for (int round = 0; round < DRAIN_ROUNDS; round++) {
        bool armed = uring->wake_armed || uring->alarm_armed || uring->hold_armed;
        if (!armed && io_uring_sq_ready(&uring->ring) == 0) return true;
        if (uring_enter(uring, DRAIN_MS) != 0) return false;
        uring->ready = io_uring_cq_ready(&uring->ring);
        while (uring_take(&uring->port, &event, 1)) continue;
    }
    return false;
}

/* What only this thread can undo: the kernel takes registrations back from nobody else, and a
 * ring's descriptor that another thread unregisters is the one with that number of its own. */
static void uring_disown(struct port *port)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    uring->stuck = !drain(uring);
    uring->owned = false;
    if (!uring->stuck) uring_bufs_unregister(uring);
    if (uring->ring_fd_registered) (void)io_uring_unregister_ring_fd(&uring->ring);
    uring->ring_fd_registered = false;
}

static void uring_destroy(struct port *port)
{
    struct uring *uring = uring_of(port);
    assert(uring->pid == getpid());
    if (uring->owned) uring_disown(port);
    /* If the kernel keeps a request it may write to the buffers at any time: then they stay
     * allocated for good, and the ring with them. */
    if (!uring->stuck) uring_dispose(uring);
}

/* --- the rest --- */

/* Not the ring's own descriptor: with DEFER_TASKRUN a poll of it is not woken by work that waits
 * for the owner to enter. A registered eventfd is told of that too. It is readable at first, for
 * what may have come before. */
static int64_t uring_fd(struct port *port)
{
    struct uring *uring = uring_of(port);
    int ring_fd = uring->ring.ring_fd;
    uring->fd_used = true;
    if (uring->told_fd >= 0) return uring->told_fd;
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return ring_fd;
    if (io_uring_register((unsigned)ring_fd, IORING_REGISTER_EVENTFD, &fd, 1) < 0) {
        close(fd);
        return ring_fd;
    }
    atomic_store(&uring->told_fd, fd);
    return fd;
}

static void uring_attach(struct port *port, struct port_sock *sock, port_handle handle,
                         const struct port_sock_options *options)
{
    (void)port;
    sock->handle = handle;
    sock->marks |= URING_HAS_FD;
    linux_set_options((int)handle, options);
    if (sock->hears && !linux_listens((int)handle)) sock->hears = 0;
    if (!sock->hears) return;
    uring_own(sock)->hold = NULL;
    uring_own(sock)->held_max = options->accept_held_max;
}

const struct port_ops port_uring_ops = {
    .name = "uring",
    .inherits = true,
    .create = uring_create,
    .destroy = uring_destroy,
    .own = uring_own_thread,
    .disown = uring_disown,
    .wait = uring_wait,
    .alarm = uring_alarm,
    .take = uring_take,
    .flush = uring_flush,
    .wake = uring_wake,
    .fd = uring_fd,
    .listen = linux_listen,
    .local = linux_local,
    .peer = linux_peer,
    .refuse = linux_refuse,
    .probe = linux_probe,
    .pending = linux_pending,
    .backlog = linux_backlog,
    .attach = uring_attach,
    .accept = uring_accept,
    .accept_stop = uring_accept_stop,
    .connect = uring_connect,
    .recv = uring_recv,
    .recv_stop = uring_recv_stop,
    .send_now = uring_send_now,
    .send = uring_send,
    .send_file = uring_send_file,
    .shutdown = uring_shutdown,
    .close = uring_close,
    .buf_release = uring_bufs_release,
};
