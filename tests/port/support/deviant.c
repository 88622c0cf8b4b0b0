/* The deviant port: epoll's calls, with one of them changed. See deviant.h. Only epoll's public
 * face is used, so it breaks the contract where any port could. */
#include "port/support/deviant.h"

#include <stdlib.h>

#include "sallyport/error.h"

enum { SLOTS_MAX = 8192, KEPT_MAX = 256, ACCEPTED_MAX = 30, LOUD_BYTES = 1000 };

static struct port_ops ops;
static enum deviation chosen;

/* By slot index. */
static bool sending_when_closed[SLOTS_MAX];
static bool stopped[SLOTS_MAX];

static struct port_event kept[KEPT_MAX]; /* events that come later */
static unsigned kept_len;
static unsigned accepted;
static unsigned wakes;
static bool loud_in_turn;
static struct port_sock *last_receiver;

static void keep(const struct port_event *event)
{
    if (kept_len == KEPT_MAX) abort();
    kept[kept_len++] = *event;
}

/* The operation goes on as if nothing had come; false: the event is dropped. */
static bool swallow(const struct port_event *event)
{
    event->sock->in_flight |= (uint8_t)PORT_BIT(event->op);
    return false;
}

static bool drop_bytes(struct port *port, const struct port_event *event)
{
    port_epoll_ops.buf_release(port, event->buf, event->data);
    return false;
}

static bool swap_two(const struct port_event *event)
{
    unsigned char *bytes = (unsigned char *)(uintptr_t)event->data;
    unsigned char first = bytes[0];
    bytes[0] = bytes[event->bytes / 2];
    bytes[event->bytes / 2] = first;
    return true;
}

static bool tell_another(struct port_event *event)
{
    struct port_sock *other = last_receiver;
    last_receiver = event->sock;
    if (other && other != event->sock && (slot_generation(&other->slot) & 1) &&
        (other->in_flight & PORT_BIT(PORT_RECV)) && !(other->in_flight & PORT_BIT(PORT_CLOSE)))
        event->sock = other;
    return true;
}

static bool too_many(const struct port_event *event)
{
    if (++accepted <= ACCEPTED_MAX) return true;
    port_epoll_ops.refuse(NULL, event->accepted, PORT_CLOSE_RST);
    return false;
}

/* What becomes of an event: false when it isn't handed out (now). */
static bool bend(struct port *port, struct port_event *event)
{
    bool bytes = event->op == PORT_RECV && event->bytes > 0;
    bool *stop = &stopped[event->sock->slot.index];
    switch (chosen) {
    case DEVIATE_DOUBLES_A_SEND:
        if (event->op == PORT_SEND) keep(event);
        return true;
    case DEVIATE_LOSES_A_CLOSE:
        return event->op != PORT_CLOSE || !sending_when_closed[event->sock->slot.index] ||
               swallow(event);
    case DEVIATE_HIDES_FAILED_CONNECTS:
        return event->op != PORT_CONNECT || !event->error ||
               (event->sock->in_flight & PORT_BIT(PORT_CLOSE)) || swallow(event);
    case DEVIATE_MIXES_BYTES: return !bytes || event->bytes < 2 || swap_two(event);
    case DEVIATE_SENDS_TOO_MUCH:
        if (event->op == PORT_SEND && !event->error) event->bytes++;
        return true;
    case DEVIATE_FORGETS_AFTER_A_STOP:
        if (!bytes || !*stop) return true;
        *stop = false;
        return drop_bytes(port, event);
    case DEVIATE_STOPS_ACCEPTING:
        return event->op != PORT_ACCEPT || event->error || too_many(event);
    case DEVIATE_HITS_ANOTHER_SOCKET: return !bytes || tell_another(event);
    case DEVIATE_FAVOURS_THE_LOUD:
        if (!bytes) return true;
        if (event->bytes >= LOUD_BYTES) return loud_in_turn = true;
        keep(event);
        return false;
    case DEVIATE_NOT:
    case DEVIATE_ENDS_INSIDE_THE_CALL:
    case DEVIATE_CLOSES_TOO_EARLY:
    case DEVIATE_LOSES_WAKE_UPS:
    case DEVIATE_LEAKS_A_DESCRIPTOR:
    case DEVIATIONS: break;
    }
    return true;
}

/* The quiet ones' bytes wait for a turn without a loud one. */
static unsigned take_kept(struct port_event *event)
{
    if (!kept_len || loud_in_turn) return 0;
    *event = kept[0];
    kept_len--;
    for (unsigned i = 0; i < kept_len; i++) kept[i] = kept[i + 1];
    return 1;
}

static unsigned take_early_close(struct port_event *events, unsigned count)
{
    for (unsigned i = 0; i + 1 < count; i++) {
        if (events[i].op != PORT_RECV || events[i + 1].op != PORT_CLOSE) continue;
        if (events[i].sock != events[i + 1].sock) continue;
        struct port_event swapped = events[i];
        events[i] = events[i + 1];
        events[i + 1] = swapped;
    }
    return count;
}

static unsigned deviant_take(struct port *port, struct port_event *events, unsigned max)
{
    if (chosen == DEVIATE_CLOSES_TOO_EARLY)
        return take_early_close(events, port_epoll_ops.take(port, events, max));
    if (chosen != DEVIATE_FAVOURS_THE_LOUD && take_kept(events)) return 1;
    while (port_epoll_ops.take(port, events, 1))
        if (bend(port, events)) return 1;
    return take_kept(events);
}

/* What epoll says of the last event is not true of those that are kept. */
static unsigned deviant_take_any(struct port *port, struct port_event *events, unsigned max)
{
    unsigned count = deviant_take(port, events, max);
    port->emptied = false;
    return count;
}

static int deviant_wait(struct port *port, uint32_t timeout_ms)
{
    loud_in_turn = false;
    return port_epoll_ops.wait(port, kept_len ? 0 : timeout_ms);
}

static void deviant_wake(struct port *port)
{
    if (chosen == DEVIATE_LOSES_WAKE_UPS && ++wakes % 5 == 0) return;
    port_epoll_ops.wake(port);
}

static void deviant_recv_stop(struct port *port, struct port_sock *sock)
{
    stopped[sock->slot.index] = true;
    port_epoll_ops.recv_stop(port, sock);
    if (chosen != DEVIATE_ENDS_INSIDE_THE_CALL) return;
    struct port_event event;
    if (port_epoll_ops.take(port, &event, 1)) keep(&event);
}

static void deviant_close(struct port *port, struct port_sock *sock, enum port_close_mode mode)
{
    sending_when_closed[sock->slot.index] = sock->in_flight & PORT_BIT(PORT_SEND);
    stopped[sock->slot.index] = false;
    port_epoll_ops.close(port, sock, mode);
}

static void deviant_refuse(struct port *port, port_handle handle, enum port_close_mode mode)
{
    if (chosen != DEVIATE_LEAKS_A_DESCRIPTOR) port_epoll_ops.refuse(port, handle, mode);
}

const struct port_ops *deviant_ops(enum deviation deviation)
{
    chosen = deviation;
    ops = port_epoll_ops;
    ops.name = "deviant";
    ops.wait = deviant_wait;
    ops.take = deviant_take_any;
    ops.wake = deviant_wake;
    ops.recv_stop = deviant_recv_stop;
    ops.close = deviant_close;
    ops.refuse = deviant_refuse;
    return &ops;
}
