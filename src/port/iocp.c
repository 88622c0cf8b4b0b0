/* The port on I/O completion ports: making it, waiting, waking, and handing out events. Memory: the
 * port itself, its receive buffers and a block for each listener that accepts, from the config's
 * mem; sockets are the owner's. One thread, but for iocp_wake.
 *
 * What a wait has found is a number of packets and of sockets with something due; what comes while
 * they are handed out belongs to the next wait. So a turn is bounded also when each event starts an
 * operation that ends at once, and who is always ready goes behind the others each time. */
#include "port/iocp.h"

#include "os/clock.h"
#include "os/error.h"
#include "port/win32_sock.h"
#include "sallyport/error.h"

enum {
    BUF_BYTES = 16 * 1024,
    BUFS_MAX = 128,
    BUFS_IDLE = 2,  /* kept when nothing has come for IDLE_MS */
    IDLE_MS = 1000, /* also the longest sleep: a wake-up that could not be posted is found then */
    RETRY_MS = 10,  /* between tries to get memory for a buffer */
    ACCEPT_DEPTH = 16,
    ACCEPT_DEPTH_MAX = 1024,
    NS_PER_MS = 1000000,
};

_Static_assert(sizeof(struct iocp_own) <= sizeof((struct port_sock *)0)->own, "own[] is too small");

/* Keys of packets, beside IOCP_KEY_NEWCOMER. */
enum { KEY_OPERATION = 1, KEY_WAKE = 2 };

static _Atomic(const char *) refusal = "";

const char *iocp_refusal(void) { return atomic_load(&refusal); }

/* --- making --- */

static void port_free(struct iocp_port *port)
{
    if (port->handle) IOCP_CALL(port, port_close, port->handle);
    mem_free(port->port.mem, port, sizeof *port);
}

/* The system's code. */
static int port_open(struct iocp_port *port)
{
    const char *missing = NULL;
    int sys = IOCP_CALL(port, start, &missing);
    if (sys) {
        atomic_store(&refusal, missing ? missing : "Winsock 2.2 does not start");
        return sys;
    }
    if (port->calls->can_transmit(port->calls->ctx)) port->port.abilities |= PORT_CAN_SEND_FILE;
    sys = IOCP_CALL(port, port_open, &port->handle);
    if (sys) port->handle = NULL;
    return sys;
}

static uint32_t depth_of(const struct port_config *config)
{
    uint32_t depth = config->accept_depth ? config->accept_depth : ACCEPT_DEPTH;
    return depth < ACCEPT_DEPTH_MAX ? depth : ACCEPT_DEPTH_MAX;
}

static int iocp_create(struct port **out, const struct port_config *config)
{
    struct iocp_port *port = mem_zalloc(config->mem, sizeof *port);
    if (!port) return SALLY_ENOMEM;
    port->port.ops = &port_iocp_ops;
    port->port.mem = config->mem;
    port->port.socks = config->socks;
    port->port.bufs_total = config->bufs_max ? config->bufs_max : BUFS_MAX;
    port->calls = config->world ? config->world : win32_system_calls();
    port->features_off = config->features_off;
    port->accept_depth = depth_of(config);
    port->buf_bytes = config->buf_bytes ? config->buf_bytes : BUF_BYTES;
    port->backoff_ms = RETRY_MS;
    int sys = port_open(port);
    if (sys) {
        bool used_up = os_error_map(sys) == SALLY_EEXHAUSTED;
        port_free(port);
        return used_up ? SALLY_EEXHAUSTED : SALLY_ENOPORT;
    }
    /* a free buffer holds a pointer, however little is read into it */
    size_t bytes = port->buf_bytes < sizeof(void *) ? sizeof(void *) : port->buf_bytes;
    pool_init(&port->bufs, config->mem, bytes, port->port.bufs_total, port->port.bufs_total);
    *out = &port->port;
    return 0;
}

static void iocp_destroy(struct port *base)
{
    struct iocp_port *port = iocp_of(base);
    assert(!port->due.count && !port->starved.count && !port->posted.count && !port->lacking.count);
    pool_free(&port->bufs);
    port_free(port);
}

static int iocp_own_port(struct port *base)
{
    struct iocp_port *port = iocp_of(base);
    assert(!port->owned);
    port->owned = true;
    port->owner = os_thread_self();
    return 0;
}

/* --- waiting --- */

/* One packet on its way is enough. A system without memory can't post one: the owner, which never
 * sleeps for long, finds it then. */
void iocp_wake(struct port *base)
{
    struct iocp_port *port = iocp_of(base);
    if (atomic_exchange(&port->woken, true)) return;
    if (IOCP_CALL(port, port_post, port->handle, KEY_WAKE) == 0) return;
    atomic_store(&port->wake_lost, true);
    atomic_store(&port->woken, false);
}

static int64_t iocp_fd(struct port *base)
{
    (void)base;
    return -1;
}

static uint32_t sleep_ms(const struct iocp_port *port, uint32_t timeout_ms)
{
    if (port->due.count || (port->starved.count && port->buf_freed)) return 0;
    uint32_t longest = IDLE_MS;
    if (port->speaking) {
        int32_t left = (int32_t)(port->look_ms - port->now_ms);
        longest = left > 0 ? (uint32_t)left : 0;
    }
    /* no buffer although fewer than the cap are out: no release need come, memory may */
    if (port->starved.count && port->bufs.out < port->bufs.out_max) longest = RETRY_MS;
    if (port->lacking.count) {
        int32_t left = (int32_t)(port->retry_ms - port->now_ms);
        if (left < (int32_t)longest) longest = left > 0 ? (uint32_t)left : 0;
    }
    return timeout_ms < longest ? timeout_ms : longest;
}

/* Told before the wait returns: who has woken us finds that we look at what it has left. */
static void take_wakes(struct iocp_port *port)
{
    for (uint32_t i = 0; i < port->count; i++)
        if (port->packets[i].key == KEY_WAKE) atomic_store(&port->woken, false);
}

static void tick(struct iocp_port *port)
{
    port->now_ms = (uint32_t)(os_clock_ns() / NS_PER_MS);
    if (port->posted.count) iocp_recv_cool(port);
    if (port->lacking.count) iocp_accept_retry(port);
    if (port->speaking) iocp_hold_look(port);
}

/* What the last wait found and nobody took yet comes first: asking again would put those who were
 * ready then behind the same ones for ever. */
static int iocp_wait(struct port *base, uint32_t timeout_ms)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    if (port->next < port->count || port->due_now) return 0;
    port->next = port->count = 0;
    tick(port);
    uint32_t sleep = atomic_exchange(&port->wake_lost, false) ? 0 : sleep_ms(port, timeout_ms);
    int sys = IOCP_CALL(port, port_wait, port->handle, port->packets, IOCP_PACKETS_MAX,
                        &port->count, sleep);
    if (sys) {
        port->count = 0;
        return SALLY_ESYSTEM;
    }
    take_wakes(port);
    port->due_now = port->due.count;
    port->accepts_now = IOCP_TAKE_MAX;
    if (!port->count && sleep == IDLE_MS && port->bufs.kept > BUFS_IDLE)
        pool_trim(&port->bufs, BUFS_IDLE);
    return 0;
}

/* Each call is made when it is started: nothing waits to be submitted. */
static void iocp_flush(struct port *base) { (void)base; }

/* --- handing out --- */

static unsigned take_in(struct iocp_port *port, struct port_sock *sock, struct port_event *event)
{
    return iocp_own(sock)->in.kind == PORT_CONNECT ? iocp_connect_done(port, sock, event)
                                                   : iocp_recv_done(port, sock, event);
}

/* One of those that finished at once. */
static unsigned take_ready(struct iocp_port *port, struct port_sock *sock, struct port_event *event)
{
    struct iocp_own *own = iocp_own(sock);
    struct iocp_accept *accept = iocp_accept_ready(sock);
    if (accept) return iocp_accept_done(port, accept, event);
    if (own->in.ready) return take_in(port, sock, event);
    return own->out.ready ? iocp_send_done(port, sock, event) : 0;
}

static bool any_ready(struct port_sock *sock)
{
    const struct iocp_own *own = iocp_own(sock);
    return own->in.ready || own->out.ready || iocp_accept_ready(sock);
}

/* Endings in the order of their numbers, so that PORT_CLOSE is the last; after it not even the list
 * is touched through the socket. */
static void take_ending(struct port_sock *sock, struct port_event *event)
{
    struct iocp_own *own = iocp_own(sock);
    enum port_op op = (enum port_op)__builtin_ctz(own->due);
    own->due &= (uint8_t)(own->due - 1);
    if (op == PORT_CLOSE)
        iocp_event_last(event, sock, op, 0, 0);
    else if (op == PORT_SEND)
        iocp_event_last(event, sock, op, own->out_error, own->out_sys);
    else
        iocp_event_last(event, sock, op, own->in_error, own->in_sys);
}

/* What finished at once comes before the ending behind it. What a socket has left comes in this
 * turn too if it is an ending, of which there are few, and so do a bounded number of accepts: of a
 * crowd hundreds end in one look. */
static unsigned take_due(struct iocp_port *port, struct port_event *event)
{
    struct port_sock *sock = iocp_pop_due(port);
    struct iocp_own *own = iocp_own(sock);
    port->due_now--;
    bool last = own->due == PORT_BIT(PORT_CLOSE);
    if (!any_ready(sock)) {
        if (!own->due) return 0;
        take_ending(sock, event);
        if (last) return 1;
        if (own->due) {
            iocp_push_due(port, sock);
            port->due_now++;
        }
        return 1;
    }
    unsigned count = take_ready(port, sock, event);
    if (!own->due && !any_ready(sock)) return count;
    bool now = iocp_accept_ready(sock) && port->accepts_now;
    iocp_push_due(port, sock);
    if (now) port->accepts_now--, port->due_now++;
    return count;
}

static struct port_sock *sock_of_op(struct iocp_op *op)
{
    size_t at =
        op->place == IOCP_IN ? offsetof(struct iocp_own, in) : offsetof(struct iocp_own, out);
    unsigned char *own = (unsigned char *)op - at;
    return (struct port_sock *)(void *)(own - offsetof(struct port_sock, own));
}

static unsigned take_packet(struct iocp_port *port, struct port_event *event)
{
    const struct win32_packet *packet = &port->packets[port->next++];
    struct iocp_op *op = (struct iocp_op *)packet->overlapped;
    if (packet->key == KEY_WAKE) return 0;
    if (packet->key == IOCP_KEY_NEWCOMER) {
        iocp_hold_news(port);
        return 0;
    }
    if (packet->key != KEY_OPERATION || !op || !op->owed) {
        counter_add(&port->port.counters.stray_events, 1);
        return 0;
    }
    if (op->place == IOCP_ACCEPT) return iocp_accept_done(port, (struct iocp_accept *)op, event);
    struct port_sock *sock = sock_of_op(op);
    return op->place == IOCP_IN ? take_in(port, sock, event) : iocp_send_done(port, sock, event);
}

static unsigned iocp_take(struct port *base, struct port_event *events, unsigned max)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    unsigned count = 0;
    while (count < max && port->due_now) count += take_due(port, &events[count]);
    while (count < max && port->starved.count) {
        unsigned fed = iocp_feed(port, &events[count]);
        if (!fed) break;
        count += fed;
    }
    while (count < max && port->next < port->count) count += take_packet(port, &events[count]);
    base->emptied = port->next == port->count && !port->due_now && !port->starved.count;
    return count;
}

void iocp_buf_release(struct port *base, uint32_t buf, const void *data)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    base->bufs_lent--;
    if (buf == IOCP_FIRST_BUF) {
        mem_free(base->mem, (void *)(uintptr_t)data, IOCP_FIRST_BUF_BYTES);
        return;
    }
    pool_give(&port->bufs, (void *)(uintptr_t)data);
    port->buf_freed = true;
}

const struct port_ops port_iocp_ops = {
    .name = "iocp",
    .create = iocp_create,
    .destroy = iocp_destroy,
    .own = iocp_own_port,
    .wait = iocp_wait,
    .take = iocp_take,
    .flush = iocp_flush,
    .wake = iocp_wake,
    .fd = iocp_fd,
    .listen = win32_listen,
    .local = win32_local,
    .peer = win32_peer,
    .refuse = win32_refuse,
    .pending = win32_pending,
    .probe = win32_probe,
    .attach = iocp_attach,
    .accept = iocp_accept,
    .accept_stop = iocp_accept_stop,
    .connect = iocp_connect,
    .recv = iocp_recv,
    .recv_stop = iocp_recv_stop,
    .send_now = iocp_send_now,
    .send = iocp_send,
    .send_file = iocp_send_file,
    .shutdown = iocp_shutdown,
    .close = iocp_close,
    .buf_release = iocp_buf_release,
};
