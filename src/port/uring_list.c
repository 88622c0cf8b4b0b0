/* What waits: operations and cancellations that found the submission queue full (work), last events
 * that no completion brings (due), receives without a buffer (starved). Lists go through the
 * sockets themselves by slot index, so nothing is allocated; a socket leaves all of them before its
 * PORT_CLOSE is told. The owning thread. */
#include <errno.h>

#include "os/error.h"
#include "port/uring.h"
#include "sallyport/error.h"

enum { FED_UNIT = 16, FED_LATELY = 8 }; /* the mean of about so many */

static struct port_sock *sock_at(const struct uring *uring, uint32_t link)
{
    return link ? slots_at(uring->port.socks, link - 1) : NULL;
}

static uint32_t link_to(const struct port_sock *sock) { return sock->slot.index + 1; }

static uint8_t list_mark(enum uring_list_id list)
{
    return list == URING_WORK ? URING_IN_WORK : URING_IN_DUE;
}

void uring_push(struct uring *uring, enum uring_list_id list, struct port_sock *sock)
{
    if (sock->marks & list_mark(list)) return;
    struct uring_list *ends = &uring->lists[list];
    sock->marks |= list_mark(list);
    uring_own(sock)->next[list] = 0;
    if (ends->tail) {
        uring_own(sock_at(uring, ends->tail))->next[list] = link_to(sock);
    } else {
        ends->head = link_to(sock);
    }
    ends->tail = link_to(sock);
    /* who polls the ring's descriptor sees only completions */
    if (ends->count++ == 0 && uring->fd_used) port_wake(&uring->port);
}

struct port_sock *uring_pop(struct uring *uring, enum uring_list_id list)
{
    struct uring_list *ends = &uring->lists[list];
    struct port_sock *sock = sock_at(uring, ends->head);
    if (!sock) return NULL;
    ends->head = uring_own(sock)->next[list];
    if (!ends->head) ends->tail = 0;
    ends->count--;
    sock->marks &= (uint8_t)~list_mark(list);
    return sock;
}

/* --- starting and cancelling --- */

static bool issue(struct uring *uring, struct port_sock *sock, enum port_op op)
{
    switch (op) {
    case PORT_ACCEPT: return uring_accept_issue(uring, sock);
    case PORT_CONNECT: return uring_connect_issue(uring, sock);
    case PORT_RECV: return uring_recv_issue(uring, sock);
    default:
        return uring_is_file(sock) ? uring_file_issue(uring, sock) : uring_send_issue(uring, sock);
    }
}

void uring_start(struct uring *uring, struct port_sock *sock, enum port_op op)
{
    struct uring_sock *own = uring_own(sock);
    if (issue(uring, sock, op)) {
        own->armed |= uring_bit(op);
        own->start &= (uint8_t)~uring_bit(op);
        return;
    }
    own->start |= uring_bit(op);
    uring_push(uring, URING_WORK, sock);
}

/* By user_data, which the kernel finds by a hash; by descriptor it would walk all requests. Success
 * posts nothing, the operation's own completion says it; "not found" means that it is on its way.
 */
static void cancel(struct uring *uring, struct port_sock *sock, enum port_op op)
{
    struct uring_sock *own = uring_own(sock);
    struct io_uring_sqe *sqe =
        uring_sqe(uring, IORING_OP_ASYNC_CANCEL, -1, uring_data(sock, URING_CANCEL));
    if (!sqe) {
        own->cancel |= uring_bit(op);
        uring_push(uring, URING_WORK, sock);
        return;
    }
    own->cancel &= (uint8_t)~uring_bit(op);
    bool of_file = op == PORT_SEND && uring_is_file(sock);
    sqe->addr = uring_data(sock, of_file ? URING_FILE : (unsigned)op);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void uring_stop(struct uring *uring, struct port_sock *sock, enum port_op op)
{
    struct uring_sock *own = uring_own(sock);
    if (own->armed & PORT_BIT(op)) {
        cancel(uring, sock, op);
    } else if (own->start & PORT_BIT(op)) {
        own->start &= (uint8_t)~uring_bit(op);
        own->due_error = SALLY_ECANCELED;
        own->due_sys = 0;
        uring_due(uring, sock, op);
    } else if (op == PORT_RECV && sock->marks & URING_STARVED) {
        uring_unstarve(uring, sock);
        uring_due(uring, sock, op);
    }
    /* else it has ended already and its event is due */
}

void uring_over(struct port_sock *sock, enum port_op op)
{
    struct uring_sock *own = uring_own(sock);
    own->armed &= (uint8_t)~uring_bit(op);
    own->cancel &= (uint8_t)~uring_bit(op);
}

static void retry(struct uring *uring, struct port_sock *sock)
{
    for (unsigned op = 0; op < PORT_CLOSE; op++) {
        if (uring_own(sock)->start & PORT_BIT(op)) uring_start(uring, sock, (enum port_op)op);
        if (uring_own(sock)->cancel & PORT_BIT(op)) cancel(uring, sock, (enum port_op)op);
    }
}

void uring_work(struct uring *uring)
{
    for (uint32_t count = uring->lists[URING_WORK].count; count > 0; count--) {
        struct port_sock *sock = uring_pop(uring, URING_WORK);
        retry(uring, sock);
        uring_close_progress(uring, sock); /* a socket in the list isn't closed */
    }
}

/* --- events without a completion --- */

void uring_due(struct uring *uring, struct port_sock *sock, enum port_op op)
{
    uring_own(sock)->due |= uring_bit(op);
    uring_push(uring, URING_DUE, sock);
}

void uring_end(struct uring *uring, struct port_sock *sock, enum port_op op, int32_t error,
               int32_t sys_error, struct port_event *event)
{
    event->sock = sock;
    event->op = (uint8_t)op;
    event->more = false;
    event->error = error;
    event->sys_error = sys_error;
    event->bytes = 0;
    event->accepted = PORT_NO_HANDLE;
    sock->in_flight &= (uint8_t)~uring_bit(op);
    if (op == PORT_ACCEPT || op == PORT_RECV) sock->marks &= (uint8_t)~URING_STOP;
    if (sock->state == URING_CLOSING) uring_close_progress(uring, sock);
}

/* PORT_CLOSE has the highest bit, so it comes last; after it the socket isn't touched. */
void uring_take_due(struct uring *uring, struct port_event *event)
{
    struct port_sock *sock = uring_pop(uring, URING_DUE);
    struct uring_sock *own = uring_own(sock);
    enum port_op op = (enum port_op)__builtin_ctz(own->due);
    own->due &= (uint8_t)(own->due - 1);
    if (own->due) uring_push(uring, URING_DUE, sock);
    int32_t error = op == PORT_CLOSE ? 0 : op == PORT_CONNECT ? own->due_error : SALLY_ECANCELED;
    if (op == PORT_ACCEPT && (sock->marks & URING_BROKEN)) {
        sock->marks &= (uint8_t)~URING_BROKEN;
        error = SALLY_EEXHAUSTED;
    }
    uring_end(uring, sock, op, error, op == PORT_CONNECT ? own->due_sys : 0, event);
}

int32_t uring_error(int res)
{
    if (res >= 0) return 0;
    return res == -ECANCELED ? SALLY_ECANCELED : os_error_map(-res);
}

/* --- receives without a buffer --- */

/* Between its neighbours; 0: an end of the list. */
static void starved_link(struct uring *uring, struct port_sock *sock, uint32_t prev, uint32_t next)
{
    struct uring_list *ends = &uring->starved;
    struct uring_sock *own = uring_own(sock);
    sock->marks |= URING_STARVED;
    own->starved_next = next;
    own->starved_prev = prev;
    *(prev ? &uring_own(sock_at(uring, prev))->starved_next : &ends->head) = link_to(sock);
    *(next ? &uring_own(sock_at(uring, next))->starved_prev : &ends->tail) = link_to(sock);
    ends->count++;
}

void uring_starve(struct uring *uring, struct port_sock *sock)
{
    uint32_t prev = uring->starved.tail, next = 0;
    if (uring_own(sock)->starved_next == URING_FED) {
        prev = uring->starved_front;
        next = prev ? uring_own(sock_at(uring, prev))->starved_next : uring->starved.head;
        uring->starved_front = link_to(sock);
    }
    starved_link(uring, sock, prev, next);
}

void uring_unstarve(struct uring *uring, struct port_sock *sock)
{
    struct uring_list *ends = &uring->starved;
    struct uring_sock *own = uring_own(sock);
    uint32_t prev = own->starved_prev, next = own->starved_next;
    *(prev ? &uring_own(sock_at(uring, prev))->starved_next : &ends->head) = next;
    *(next ? &uring_own(sock_at(uring, next))->starved_prev : &ends->tail) = prev;
    if (uring->starved_front == link_to(sock)) uring->starved_front = prev;
    ends->count--;
    own->starved_next = 0;
    sock->marks &= (uint8_t)~URING_STARVED;
}

/* No more than there are buffers for, as far as can be foreseen: the rest would only fail again.
 * Those that turn out to be idle leave their buffer, and the next round goes on behind them. */
void uring_feed(struct uring *uring)
{
    if (!uring->starved.count) return;
    uring->starved_front = 0;
    uint32_t each = uring->fed_bufs / FED_UNIT + 1;
    uint32_t ready = uring_bufs_ready(uring);
    for (uint32_t n = (ready + each - 1) / each; n > 0 && uring->starved.count; n--) {
        struct port_sock *sock = sock_at(uring, uring->starved.head);
        uring_unstarve(uring, sock);
        uring_own(sock)->starved_next = URING_FED;
        uring_start(uring, sock, PORT_RECV);
    }
}

void uring_fed_took(struct uring *uring, struct port_sock *sock, uint32_t bytes)
{
    uring_own(sock)->starved_next = 0;
    uint32_t bufs = (bytes - 1) / uring->bufs.bytes; /* beyond the one that each has */
    uring->fed_bufs += bufs * FED_UNIT / FED_LATELY;
    uring->fed_bufs -= uring->fed_bufs / FED_LATELY;
}

bool uring_restless(const struct uring *uring)
{
    return uring->lists[URING_WORK].count || uring->lists[URING_DUE].count || uring->chunk.sock ||
           !uring->wake_armed || uring->hold_ready ||
           (uring->starved.count && uring_bufs_ready(uring));
}
