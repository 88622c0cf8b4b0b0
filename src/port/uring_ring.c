/* The ring's system calls. liburing sets the ring up; entering it is done here, because its own
 * waits hide what this port has to know: with entries to submit they sleep the whole time again
 * after a time-out or a signal that the kernel reported as a count of submitted entries.
 *
 * An entry is queued from the moment it is in the submission queue; a failed call never takes it
 * back, the next one submits it. No memory; the owning thread. */
#include <errno.h>
#include <string.h>

#include "port/linux_call.h"
#include "port/uring.h"
#include "sallyport/error.h"

enum { SUBMIT_TRIES = 8, NAP_MS = 10 };

int uring_enter_kernel(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                       size_t bytes)
{
    return linux_ring_enter(fd, submit, wait, flags, arg, bytes);
}

static inline int ring_enter(struct uring *uring, unsigned submit, unsigned wait, unsigned flags,
                             void *arg, size_t bytes)
{
    if (uring->ring_fd_registered) flags |= IORING_ENTER_REGISTERED_RING;
    int rc = uring->enter((unsigned)uring->ring.enter_ring_fd, submit, wait, flags, arg, bytes);
    if (uring->arena_used && uring_sq_ready(uring) == 0) uring->arena_used = 0;
    return rc;
}

/* Makes the filled entries the kernel's; how many it has not yet taken. */
static unsigned ring_publish(struct uring *uring)
{
    io_uring_smp_store_release(uring->ring.sq.ktail, uring->ring.sq.sqe_tail);
    return uring_sq_ready(uring);
}

int uring_submit(struct uring *uring)
{
    for (int tries = 0; tries < SUBMIT_TRIES; tries++) {
        unsigned count = ring_publish(uring);
        if (count == 0) return 0;
        int rc = ring_enter(uring, count, 0, 0, NULL, 0);
        if (rc < 0 && rc != -EINTR) return rc;
        if (rc == 0) return -EAGAIN;
    }
    return uring_sq_ready(uring) == 0 ? 0 : -EAGAIN;
}

struct io_uring_sqe *uring_sqe(struct uring *uring, uint8_t opcode, int fd, uint64_t user_data)
{
    struct io_uring_sqe *sqe = uring_sqe_free(uring);
    if (!sqe) {
        (void)uring_submit(uring);
        sqe = uring_sqe_free(uring);
        if (!sqe) return NULL;
    }
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = user_data;
    return sqe;
}

/* What goes away by itself: a signal, no memory for requests, a full completion queue, the time. */
static bool is_transient(int rc)
{
    return rc == -EINTR || rc == -EAGAIN || rc == -EBUSY || rc == -ETIME;
}

/* Without a time limit there is none to be set up: that costs more than the rest of the call. */
static __attribute__((noinline)) int ring_wait_for(struct uring *uring, unsigned submit,
                                                   uint32_t timeout_ms)
{
    struct __kernel_timespec time = {.tv_sec = timeout_ms / 1000,
                                     .tv_nsec = timeout_ms % 1000 * 1000000ll};
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)&time};
    return ring_enter(uring, submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg,
                      sizeof arg);
}

static inline int ring_wait(struct uring *uring, unsigned submit, uint32_t timeout_ms)
{
    if (timeout_ms != 0 && timeout_ms != PORT_FOREVER)
        return ring_wait_for(uring, submit, timeout_ms);
    return ring_enter(uring, submit, timeout_ms ? 1 : 0, IORING_ENTER_GETEVENTS, NULL, 0);
}

/* The kernel has no memory for requests: completions give it some. Not to spin meanwhile. */
static __attribute__((noinline)) int ring_failed(struct uring *uring, int rc, uint32_t timeout_ms)
{
    if (rc == -EAGAIN && timeout_ms > 0)
        rc = ring_wait(uring, 0, timeout_ms < NAP_MS ? timeout_ms : NAP_MS);
    return rc >= 0 || is_transient(rc) ? 0 : SALLY_ESYSTEM;
}

int uring_enter(struct uring *uring, uint32_t timeout_ms)
{
    int rc = ring_wait(uring, ring_publish(uring), timeout_ms);
    return rc >= 0 ? 0 : ring_failed(uring, rc, timeout_ms);
}
