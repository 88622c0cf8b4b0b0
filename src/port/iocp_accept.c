/* Accepting: some accepts are posted beforehand, each with the socket of the newcomer to be, in a
 * block that the listener has while it accepts. Every way out of an accept that has ended leads
 * through iocp_accept_fill, which fills the block by what is missing in it, not by what has
 * happened: so no failure of one newcomer leaves fewer. Where the system gives no more, or one
 * accept after another fails, it is tried again with a growing pause as long as some are posted or
 * nothing is used up; else the operation ends, and its owner waits for room. Memory: the blocks.
 * Only the owning thread. */
#include "port/iocp.h"

#include "os/error.h"
#include "port/win32_sock.h"
#include "sallyport/error.h"

enum { BACKOFF_MIN_MS = 10, BACKOFF_MAX_MS = 1000, FAILURES_MAX = 16 };

/* Without data the addresses are behind the accepts. */
static size_t block_bytes(uint32_t depth, uint32_t first_bytes)
{
    return sizeof(struct iocp_accepts) +
           depth * (sizeof(struct iocp_accept) + (first_bytes ? 0 : WIN32_ADDRS_BYTES));
}

static void block_init(struct iocp_accepts *block, struct port_sock *sock)
{
    unsigned char *addrs = (unsigned char *)&block->accepts[block->depth];
    block->sock = sock;
    for (uint32_t i = 0; i < block->depth; i++) {
        struct iocp_accept *accept = &block->accepts[i];
        accept->listener = sock;
        accept->handle = PORT_NO_HANDLE;
        if (!block->first_bytes) accept->buf = addrs + i * WIN32_ADDRS_BYTES;
        iocp_row_move(accept, &block->free, block->free.last);
    }
}

/* With data there are places for the silent ones, for the accepts that are posted, and for those
 * taken in a look and those whose end is still to be told. */
static uint32_t places(const struct iocp_port *port, struct port_sock *sock)
{
    if (!sock->hears) return port->accept_depth;
    return iocp_own(sock)->heard_ms + IOCP_POSTED_FACTOR * port->accept_depth + 2 * IOCP_TAKE_MAX;
}

/* The listener's family decides that of the newcomers' sockets. A system may take accepts for a
 * socket that does not listen, and would never finish them. */
static int block_make(struct iocp_port *port, struct port_sock *sock, int *sys)
{
    bool listens = false;
    struct addr local;
    *sys = IOCP_CALL(port, is_listener, sock->handle, &listens);
    if (!*sys && !listens) return SALLY_EINVAL;
    if (!*sys) *sys = IOCP_CALL(port, local, sock->handle, &local);
    if (*sys) return iocp_error(*sys);
    uint32_t depth = places(port, sock);
    uint32_t first_bytes = sock->hears ? WIN32_FIRST_BYTES : 0;
    struct iocp_accepts *block = mem_zalloc(port->port.mem, block_bytes(depth, first_bytes));
    if (!block) return SALLY_EEXHAUSTED;
    block->depth = depth;
    block->wanted = port->accept_depth;
    block->posted_max = (first_bytes ? IOCP_POSTED_FACTOR : 1) * port->accept_depth;
    block->held_max = iocp_own(sock)->heard_ms;
    block->first_bytes = first_bytes;
    /* one for both families is bound to an IPv6 address, which comes out as IPv4 if it is mapped */
    block->family = local.family;
    block_init(block, sock);
    iocp_own(sock)->accepts = block;
    if (first_bytes) iocp_hold_begin(port, block);
    return 0;
}

void iocp_accept_release(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    if (!block) return;
    if (block->free.count < block->depth) return;
    iocp_list_remove(port, &port->lacking, sock, IOCP_LACKING);
    iocp_own(sock)->accepts = NULL;
    if (block->first_bytes) iocp_hold_end(port, block);
    mem_free(port->port.mem, block, block_bytes(block->depth, block->first_bytes));
}

static bool any_posted(struct port_sock *sock)
{
    const struct iocp_accepts *block = iocp_own(sock)->accepts;
    return block->free.count < block->depth;
}

struct iocp_accept *iocp_accept_ready(struct port_sock *sock)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    return block ? block->ended.first : NULL;
}

/* --- posting --- */

/* First bytes need memory only while they are waited for. */
void iocp_accept_free(struct iocp_port *port, struct iocp_accept *accept)
{
    struct iocp_accepts *block = iocp_own(accept->listener)->accepts;
    accept->handle = PORT_NO_HANDLE;
    accept->taken = accept->watched = accept->late = false;
    iocp_row_move(accept, &block->free, NULL);
    if (!block->first_bytes) return;
    mem_free(port->port.mem, accept->buf, IOCP_FIRST_BUF_BYTES);
    accept->buf = NULL;
}

static int post(struct iocp_port *port, struct port_sock *sock, struct iocp_accept *accept)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    enum addr_family family = (enum addr_family)block->family;
    if (!accept->buf) accept->buf = mem_alloc(port->port.mem, IOCP_FIRST_BUF_BYTES);
    if (!accept->buf) return WIN32_WSAENOBUFS;
    int sys = IOCP_CALL(port, socket, family, &accept->handle);
    if (sys) {
        iocp_accept_free(port, accept);
        return sys;
    }
    iocp_prepare(&accept->op, PORT_ACCEPT, IOCP_ACCEPT);
    sys = IOCP_CALL(port, accept, family, sock->handle, accept->handle, accept->buf,
                    block->first_bytes, &accept->op.overlapped);
    if (iocp_started(port, sock, &accept->op, sys)) {
        struct iocp_row *row = accept->op.ready ? &block->ended : &block->waiting;
        iocp_row_move(accept, row, row->last);
        block->posted++;
        return 0;
    }
    (void)IOCP_CALL(port, close, accept->handle);
    iocp_accept_free(port, accept);
    return sys;
}

void iocp_accept_lack(struct iocp_port *port, struct port_sock *sock)
{
    if (sock->marks & IOCP_LACKING) return;
    if (!port->lacking.count) port->retry_ms = port->now_ms + port->backoff_ms;
    if (port->backoff_ms < BACKOFF_MAX_MS) port->backoff_ms *= 2;
    iocp_list_add(port, &port->lacking, sock, IOCP_LACKING);
}

/* As many as are wanted, or as far as the system lets us: its code. */
static int fill(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    int sys = 0;
    if (block->crowd) return 0;
    while (!sys && block->waiting.count < block->wanted && block->posted < block->posted_max &&
           block->free.first)
        sys = post(port, sock, block->free.first);
    return sys;
}

/* Some posted and some not: the rest is tried again later. None: the owner is told. */
void iocp_accept_fill(struct iocp_port *port, struct port_sock *sock)
{
    if (sock->marks & (IOCP_STOP | IOCP_LACKING)) return;
    int sys = fill(port, sock);
    if (!sys) {
        port->backoff_ms = BACKOFF_MIN_MS;
    } else if (any_posted(sock)) {
        iocp_accept_lack(port, sock);
    } else {
        iocp_accept_release(port, sock);
        iocp_end(port, sock, PORT_ACCEPT, iocp_error(sys), sys);
    }
}

void iocp_accept_retry(struct iocp_port *port)
{
    if ((int32_t)(port->retry_ms - port->now_ms) > 0) return;
    port->retry_ms = port->now_ms + port->backoff_ms;
    for (uint32_t left = port->lacking.count; left > 0; left--) {
        struct port_sock *sock = iocp_at(port, port->lacking.head);
        iocp_list_remove(port, &port->lacking, sock, IOCP_LACKING);
        iocp_accept_fill(port, sock);
    }
}

/* --- events --- */

static void event_failed(struct port_event *event, struct port_sock *sock, int sys)
{
    *event = (struct port_event){.sock = sock,
                                 .op = PORT_ACCEPT,
                                 .more = true,
                                 .error = iocp_error(sys),
                                 .sys_error = sys,
                                 .accepted = PORT_NO_HANDLE};
}

/* The first bytes go with the newcomer, in the buffer that the accept had. */
static void hand_over_first(struct iocp_port *port, struct iocp_accept *accept,
                            struct port_event *event)
{
    event->data = accept->buf;
    event->bytes = (uint32_t)accept->op.overlapped.bytes;
    event->buf = IOCP_FIRST_BUF;
    accept->buf = NULL;
    port->port.bufs_lent++;
}

/* A posted accept's socket takes over what the listener's has, and knows who has come; one that was
 * taken has it, and is nobody's business but its owner's from now on. The system's code. */
static int settle(struct iocp_port *port, struct port_sock *sock, struct iocp_accept *accept,
                  struct addr *peer)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    if (accept->taken) {
        if (IOCP_CALL(port, peer, accept->handle, peer) != 0) *peer = (struct addr){0};
        return IOCP_CALL(port, option, accept->handle, WIN32_TAKEN, 0);
    }
    port->calls->accept_peer(port->calls->ctx, (enum addr_family)block->family, accept->buf,
                             block->first_bytes, peer);
    return IOCP_CALL(port, option, accept->handle, WIN32_ACCEPTED, sock->handle);
}

/* A newcomer, unless it has gone already. */
static void event_accepted(struct iocp_port *port, struct port_sock *sock,
                           struct iocp_accept *accept, struct port_event *event)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    port_handle handle = accept->handle;
    struct addr peer = {0};
    bool mute = block->first_bytes && !accept->op.overlapped.bytes;
    int sys = mute ? 0 : settle(port, sock, accept, &peer);
    if (sys || mute) {
        (void)IOCP_CALL(port, close, handle);
        event_failed(event, sock, sys);
        if (mute) event->error = SALLY_ERESET; /* it went without a word */
        return;
    }
    *event = (struct port_event){
        .sock = sock, .op = PORT_ACCEPT, .more = true, .accepted = handle, .peer = peer};
    if (block->first_bytes) hand_over_first(port, accept, event);
}

/* What an accept leaves behind: it is posted again, or with the last of them the operation ends. */
static void go_on(struct iocp_port *port, struct port_sock *sock)
{
    if (sock->state == IOCP_CLOSING || (sock->marks & IOCP_STOP)) {
        if (any_posted(sock)) return;
        iocp_accept_release(port, sock);
        if (!(iocp_own(sock)->due & PORT_BIT(PORT_ACCEPT)))
            iocp_end(port, sock, PORT_ACCEPT, SALLY_ECANCELED, 0);
        iocp_close_progress(port, sock);
        return;
    }
    /* failing one after another is no reason to keep the processor busy */
    if (iocp_own(sock)->accepts->failures >= FAILURES_MAX)
        iocp_accept_lack(port, sock);
    else
        iocp_accept_fill(port, sock);
}

/* One that said nothing for too long; its socket is closed already. */
static void cut_done(struct port_sock *sock, bool told, struct port_event *event)
{
    if (!told) return;
    event_failed(event, sock, 0);
    event->error = SALLY_ETIMEDOUT;
}

/* The code it has ended with. */
static int accept_finished(struct iocp_accepts *block, struct iocp_accept *accept)
{
    if (accept->taken) return accept->sys;
    block->posted--;
    return iocp_finished(accept->listener, &accept->op);
}

/* A peer that was taken and has reset since is none of the system's failures. */
static void accept_failed(struct iocp_port *port, struct iocp_accept *accept, int sys, bool told,
                          struct port_event *event)
{
    struct iocp_accepts *block = iocp_own(accept->listener)->accepts;
    bool come = accept->taken && accept->handle != PORT_NO_HANDLE;
    if (accept->handle != PORT_NO_HANDLE) (void)IOCP_CALL(port, close, accept->handle);
    if (!come && block->failures < FAILURES_MAX) block->failures++;
    if (!told) return;
    event_failed(event, accept->listener, sys);
    if (os_error_map(sys) == SALLY_EEXHAUSTED) block->failures = FAILURES_MAX;
}

unsigned iocp_accept_done(struct iocp_port *port, struct iocp_accept *accept,
                          struct port_event *event)
{
    struct port_sock *sock = accept->listener;
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    int sys = accept_finished(block, accept);
    bool stopped = sock->state == IOCP_CLOSING || (sock->marks & IOCP_STOP);
    bool told = sock->state != IOCP_CLOSING && !(stopped && sys);
    if (accept->late) {
        cut_done(sock, told, event);
    } else if (!sys && told) {
        block->failures = 0;
        event_accepted(port, sock, accept, event);
    } else {
        accept_failed(port, accept, sys, told, event);
    }
    iocp_accept_free(port, accept);
    go_on(port, sock);
    return told;
}

/* --- starting and stopping --- */

void iocp_accept(struct port *base, struct port_sock *sock)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    assert(sock->state == IOCP_OPEN);
    sock->in_flight |= iocp_bit(PORT_ACCEPT);
    int sys = iocp_own(sock)->attach_sys;
    int error = sys ? iocp_error(sys) : block_make(port, sock, &sys);
    if (error)
        iocp_end(port, sock, PORT_ACCEPT, error, sys);
    else
        iocp_accept_fill(port, sock);
}

/* Connections that come meanwhile are real; one by one, since a system may take the call for all
 * of them to mean more than those of the listener. */
static void cancel_posted(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_accepts *block = iocp_own(sock)->accepts;
    for (uint32_t i = 0; i < block->depth; i++)
        if (block->accepts[i].op.owed)
            (void)IOCP_CALL(port, cancel, sock->handle, &block->accepts[i].op.overlapped);
}

void iocp_accept_stop(struct port *base, struct port_sock *sock)
{
    struct iocp_port *port = iocp_of(base);
    struct iocp_own *own = iocp_own(sock);
    iocp_assert_owner(port);
    if (!(sock->in_flight & PORT_BIT(PORT_ACCEPT)) || (own->due & PORT_BIT(PORT_ACCEPT))) return;
    if (sock->marks & IOCP_STOP) return;
    sock->marks |= IOCP_STOP;
    iocp_list_remove(port, &port->lacking, sock, IOCP_LACKING);
    iocp_hold_drop(port, own->accepts);
    cancel_posted(port, sock);
    if (any_posted(sock)) return;
    iocp_accept_release(port, sock);
    iocp_end(port, sock, PORT_ACCEPT, SALLY_ECANCELED, 0);
}

/* Those that finished at once and were not taken go with the listener. */
void iocp_accept_close(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    if (!(sock->in_flight & PORT_BIT(PORT_ACCEPT))) return;
    iocp_list_remove(port, &port->lacking, sock, IOCP_LACKING);
    if (own->accepts) iocp_hold_drop(port, own->accepts);
    for (struct iocp_accept *accept; (accept = iocp_accept_ready(sock));) {
        (void)accept_finished(own->accepts, accept);
        if (accept->handle != PORT_NO_HANDLE) (void)IOCP_CALL(port, close, accept->handle);
        iocp_accept_free(port, accept);
    }
    if (own->owed) return;
    iocp_accept_release(port, sock);
    if (!(own->due & PORT_BIT(PORT_ACCEPT))) iocp_end(port, sock, PORT_ACCEPT, SALLY_ECANCELED, 0);
}
