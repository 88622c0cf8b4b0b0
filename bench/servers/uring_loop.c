/* Setting up and entering the ring. See uring_loop.h. */
#include "uring_loop.h"

#include <errno.h>
#include <sys/socket.h>

#include "server.h"
#include "uring_pool.h"

enum { SQ_ENTRIES = 2048, CQ_ENTRIES = 8192 };

void uring_loop_create(struct uring_loop *loop)
{
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    int err = io_uring_queue_init_params(SQ_ENTRIES, &loop->ring, &params);
    if (err) {
        errno = -err;
        server_die("io_uring_queue_init_params");
    }
    loop->bundles = params.features & URING_FEAT_RECVSEND_BUNDLE;
    if (io_uring_register_ring_fd(&loop->ring) != 1) server_die("io_uring_register_ring_fd");
}

struct io_uring_sqe *uring_loop_entry(struct uring_loop *loop, enum uring_kind kind, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    while (!sqe) {
        int rc = io_uring_submit(&loop->ring);
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) server_die("io_uring_submit");
        sqe = io_uring_get_sqe(&loop->ring);
        loop->submits++;
    }
    io_uring_prep_nop(sqe);
    sqe->user_data = (uint64_t)kind << 32 | (uint32_t)fd;
    return sqe;
}

void uring_loop_accept(struct uring_loop *loop, int listener)
{
    struct io_uring_sqe *sqe = uring_loop_entry(loop, URING_ACCEPT, listener);
    uint64_t user_data = sqe->user_data;
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = user_data;
}

void uring_loop_recv(struct uring_loop *loop, int fd)
{
    struct io_uring_sqe *sqe = uring_loop_entry(loop, URING_RECV, fd);
    uint64_t user_data = sqe->user_data;
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->user_data = user_data;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = POOL_GROUP;
    if (loop->bundles) sqe->ioprio |= URING_RECVSEND_BUNDLE;
}

void uring_loop_close(struct uring_loop *loop, int fd)
{
    struct io_uring_sqe *sqe = uring_loop_entry(loop, URING_CLOSE, fd);
    uint64_t user_data = sqe->user_data;
    io_uring_prep_close(sqe, fd);
    sqe->user_data = user_data;
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

void uring_loop_wait(struct uring_loop *loop)
{
    int rc = io_uring_submit_and_wait(&loop->ring, 1);
    if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
        errno = -rc;
        server_die("io_uring_submit_and_wait");
    }
    if (io_uring_sq_ready(&loop->ring) == 0) loop->submits++;
}
