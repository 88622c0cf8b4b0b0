/* The ring that the io_uring servers share: set up for one thread that does its own task work, and
 * entered once a batch. One thread. */
#ifndef BENCH_SERVERS_URING_LOOP_H
#define BENCH_SERVERS_URING_LOOP_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

/* Newer than Debian's liburing 2.3; the values are the kernel's. */
#define URING_RECVSEND_BUNDLE      (1u << 4)  /* IORING_RECVSEND_BUNDLE, Linux 6.10 */
#define URING_FEAT_RECVSEND_BUNDLE (1u << 14) /* IORING_FEAT_RECVSEND_BUNDLE */

enum uring_kind { URING_ACCEPT = 1, URING_RECV, URING_SEND, URING_WAKE, URING_CLOSE };

struct uring_loop {
    struct io_uring ring;
    uint32_t submits; /* what an entry points to has to stay until this has moved on */
    bool bundles;     /* the kernel can */
};

void uring_loop_create(struct uring_loop *loop);

/* A free entry with its user data set; submits when there is none. */
struct io_uring_sqe *uring_loop_entry(struct uring_loop *loop, enum uring_kind kind, int fd);

void uring_loop_accept(struct uring_loop *loop, int listener);
void uring_loop_recv(struct uring_loop *loop, int fd);
void uring_loop_close(struct uring_loop *loop, int fd);

/* Submits everything and waits for at least one completion. */
void uring_loop_wait(struct uring_loop *loop);

static inline enum uring_kind uring_kind_of(const struct io_uring_cqe *cqe)
{
    return (enum uring_kind)(cqe->user_data >> 32);
}

static inline int uring_fd_of(const struct io_uring_cqe *cqe)
{
    return (int)(uint32_t)cqe->user_data;
}

#endif
