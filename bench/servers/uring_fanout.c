/* Fan-out on bare io_uring: a message is copied once into a block that all its receivers share, and
 * goes to each by a send of its own; all of them are submitted in one call. What waits for a
 * connection goes out as one vectored send, one at a time. One thread. */
#include "uring_fanout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "inbox.h"
#include "members.h"
#include "server.h"
#include "uring_loop.h"
#include "uring_pool.h"

enum { VECTORS_MAX = 64 };

struct block {
    uint32_t refs;
    uint32_t len;
    char bytes[];
};

struct letter {
    struct block *block;
    struct letter *next;
};

struct member {
    int fd;
    uint32_t place;
    uint32_t sending; /* letters, from the first, in the kernel's hands */
    uint32_t bytes;   /* of those */
    bool ended;
    struct letter *first, **last;
    struct inbox inbox;
    struct msghdr message;
    struct iovec vectors[VECTORS_MAX];
};

static struct fanout {
    struct uring_loop loop;
    struct uring_pool pool;
    struct members members;
    struct member **by_fd;
    struct letter *spare; /* letters to be used again */
    int *starved;
    uint32_t starved_count;
} fanout;

static struct letter *letter_take(void)
{
    struct letter *letter = fanout.spare;
    if (!letter) return server_memory(1, sizeof *letter);
    fanout.spare = letter->next;
    return letter;
}

static void letter_drop(struct member *member)
{
    struct letter *letter = member->first;
    member->first = letter->next;
    if (!member->first) member->last = &member->first;
    if (--letter->block->refs == 0) free(letter->block);
    letter->next = fanout.spare;
    fanout.spare = letter;
}

static void member_send(struct member *member)
{
    struct io_uring_sqe *sqe = uring_loop_entry(&fanout.loop, URING_SEND, member->fd);
    uint64_t user_data = sqe->user_data;
    struct block *block = member->first->block;
    if (!member->first->next) {
        member->sending = 1;
        member->bytes = block->len;
        io_uring_prep_send(sqe, member->fd, block->bytes, block->len, MSG_NOSIGNAL | MSG_WAITALL);
        sqe->user_data = user_data;
        return;
    }
    member->sending = member->bytes = 0;
    for (struct letter *n = member->first; n && member->sending < VECTORS_MAX; n = n->next) {
        member->vectors[member->sending++] = (struct iovec){n->block->bytes, n->block->len};
        member->bytes += n->block->len;
    }
    member->message = (struct msghdr){.msg_iov = member->vectors, .msg_iovlen = member->sending};
    io_uring_prep_sendmsg(sqe, member->fd, &member->message, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = user_data;
}

static void fan_out(void *from, const char *messages, uint64_t len)
{
    struct block *block = malloc(sizeof *block + len);
    if (!block) server_die("memory");
    block->refs = 1;
    block->len = (uint32_t)len;
    memcpy(block->bytes, messages, len);
    for (uint32_t n = 0; n < fanout.members.count; n++) {
        struct member *member = fanout.members.all[n];
        if (member == from) continue;
        struct letter *letter = letter_take();
        *letter = (struct letter){.block = block};
        block->refs++;
        *member->last = letter;
        member->last = &letter->next;
        if (!member->sending) member_send(member);
    }
    if (--block->refs == 0) free(block);
}

static void member_finish(struct member *member)
{
    if (!member->ended || member->sending) return;
    while (member->first) letter_drop(member);
    uring_loop_close(&fanout.loop, member->fd);
    fanout.by_fd[member->fd] = NULL;
    free(member);
}

static void member_sent(struct member *member, int res)
{
    for (; member->sending > 0; member->sending--) letter_drop(member);
    if (res < 0 || (uint32_t)res < member->bytes) shutdown(member->fd, SHUT_RDWR);
    if (member->first && res >= 0 && !member->ended)
        member_send(member);
    else
        member_finish(member);
}

static void member_received(struct member *member, const struct io_uring_cqe *cqe)
{
    for (uint32_t left = cqe->res > 0 ? (uint32_t)cqe->res : 0, len; left > 0; left -= len) {
        uint16_t buffer = uring_pool_take(&fanout.pool);
        len = left < POOL_BUFFER_BYTES ? left : POOL_BUFFER_BYTES;
        inbox_take(&member->inbox, uring_pool_at(&fanout.pool, buffer), len, fan_out, member);
        uring_pool_give(&fanout.pool, buffer);
    }
    if (cqe->flags & IORING_CQE_F_MORE) return;
    if (cqe->res > 0) {
        uring_loop_recv(&fanout.loop, member->fd);
    } else if (cqe->res == -ENOBUFS) {
        fanout.starved[fanout.starved_count++] = member->fd;
    } else {
        member->ended = true;
        members_remove(&fanout.members, member->place);
        member_finish(member);
    }
}

static void accepted(const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        struct member *member = server_memory(1, sizeof *member);
        member->fd = cqe->res;
        member->last = &member->first;
        fanout.by_fd[cqe->res] = member;
        members_add(&fanout.members, member, &member->place);
        uring_loop_recv(&fanout.loop, cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) uring_loop_accept(&fanout.loop, uring_fd_of(cqe));
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    enum uring_kind kind = uring_kind_of(cqe);
    if (kind == URING_ACCEPT)
        accepted(cqe);
    else if (kind == URING_RECV)
        member_received(fanout.by_fd[uring_fd_of(cqe)], cqe);
    else if (kind == URING_SEND)
        member_sent(fanout.by_fd[uring_fd_of(cqe)], cqe->res);
}

static void turn(void)
{
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;
    uring_loop_wait(&fanout.loop);
    io_uring_for_each_cqe(&fanout.loop.ring, head, cqe)
    {
        dispatch(cqe);
        count++;
    }
    io_uring_cq_advance(&fanout.loop.ring, count);
    uring_pool_publish(&fanout.pool);
    /* A buffer is given back before the turn ends: there are some again. */
    while (fanout.starved_count > 0)
        uring_loop_recv(&fanout.loop, fanout.starved[--fanout.starved_count]);
}

_Noreturn void uring_fanout(int listener)
{
    fanout.by_fd = server_memory(server_fds_max(), sizeof *fanout.by_fd);
    fanout.starved = server_memory(server_fds_max(), sizeof *fanout.starved);
    uring_loop_create(&fanout.loop);
    uring_pool_create(&fanout.pool, &fanout.loop.ring);
    uring_loop_accept(&fanout.loop, listener);
    server_ready(server_port(listener));
    for (;;) turn();
}
