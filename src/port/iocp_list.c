/* What the kinds of operations share: the lists of sockets, endings that no packet brings, and the
 * account of what the system owes. It allocates nothing. Only the owning thread. */
#include <string.h>

#include "os/error.h"
#include "port/iocp.h"
#include "sallyport/error.h"

static uint32_t link_to(const struct port_sock *sock) { return sock->slot.index + 1; }

/* --- lists --- */

void iocp_list_add(struct iocp_port *port, struct iocp_list *list, struct port_sock *sock,
                   uint8_t mark)
{
    struct iocp_own *own = iocp_own(sock);
    assert(!(sock->marks & (IOCP_STARVED | IOCP_POSTED | IOCP_LACKING)));
    sock->marks |= mark;
    own->wait_next = 0;
    own->wait_prev = list->tail;
    if (list->tail) {
        iocp_own(iocp_at(port, list->tail))->wait_next = link_to(sock);
    } else {
        list->head = link_to(sock);
    }
    list->tail = link_to(sock);
    list->count++;
}

void iocp_list_remove(struct iocp_port *port, struct iocp_list *list, struct port_sock *sock,
                      uint8_t mark)
{
    struct iocp_own *own = iocp_own(sock);
    if (!(sock->marks & mark)) return;
    struct port_sock *next = iocp_at(port, own->wait_next);
    struct port_sock *prev = iocp_at(port, own->wait_prev);
    if (next) iocp_own(next)->wait_prev = own->wait_prev;
    if (prev) iocp_own(prev)->wait_next = own->wait_next;
    if (!next) list->tail = own->wait_prev;
    if (!prev) list->head = own->wait_next;
    list->count--;
    sock->marks &= (uint8_t)~mark;
}

static void row_leave(struct iocp_accept *accept)
{
    struct iocp_row *row = accept->row;
    if (!row) return;
    if (accept->prev)
        accept->prev->next = accept->next;
    else
        row->first = accept->next;
    if (accept->next)
        accept->next->prev = accept->prev;
    else
        row->last = accept->prev;
    row->count--;
}

void iocp_row_move(struct iocp_accept *accept, struct iocp_row *to, struct iocp_accept *after)
{
    assert(after != accept && (!after || after->row == to));
    row_leave(accept);
    accept->row = to;
    accept->prev = after;
    accept->next = after ? after->next : to->first;
    if (after)
        after->next = accept;
    else
        to->first = accept;
    if (accept->next)
        accept->next->prev = accept;
    else
        to->last = accept;
    to->count++;
}

void iocp_push_due(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_list *list = &port->due;
    if (sock->marks & IOCP_IS_DUE) return;
    sock->marks |= IOCP_IS_DUE;
    iocp_own(sock)->due_next = 0;
    if (list->tail)
        iocp_own(iocp_at(port, list->tail))->due_next = link_to(sock);
    else
        list->head = link_to(sock);
    list->tail = link_to(sock);
    list->count++;
}

struct port_sock *iocp_pop_due(struct iocp_port *port)
{
    struct iocp_list *list = &port->due;
    struct port_sock *sock = iocp_at(port, list->head);
    list->head = iocp_own(sock)->due_next;
    if (!list->head) list->tail = 0;
    list->count--;
    sock->marks &= (uint8_t)~IOCP_IS_DUE;
    return sock;
}

/* --- endings --- */

void iocp_end(struct iocp_port *port, struct port_sock *sock, enum port_op op, int error,
              int sys_error)
{
    struct iocp_own *own = iocp_own(sock);
    assert((sock->in_flight & PORT_BIT(op)) && !(own->due & PORT_BIT(op)));
    own->due |= iocp_bit(op);
    if (op == PORT_SEND) {
        own->out_error = (int16_t)error;
        own->out_sys = sys_error;
    } else if (op != PORT_CLOSE) {
        own->in_error = (int16_t)error;
        own->in_sys = sys_error;
    }
    iocp_push_due(port, sock);
}

void iocp_event_last(struct port_event *event, struct port_sock *sock, enum port_op op, int error,
                     int sys_error)
{
    sock->in_flight &= (uint8_t)~PORT_BIT(op);
    if (op == PORT_RECV || op == PORT_ACCEPT) sock->marks &= (uint8_t)~IOCP_STOP;
    *event = (struct port_event){
        .sock = sock,
        .op = (uint8_t)op,
        .error = error,
        .sys_error = error == SALLY_ECANCELED ? 0 : sys_error,
        .accepted = PORT_NO_HANDLE,
    };
}

/* --- what the system owes --- */

void iocp_prepare(struct iocp_op *op, enum port_op kind, enum iocp_place place)
{
    assert(!op->owed && !op->ready);
    memset(op, 0, sizeof *op);
    op->kind = (uint8_t)kind;
    op->place = (uint8_t)place;
}

/* An accept finishes on its listener. */
bool iocp_started(struct iocp_port *port, struct port_sock *sock, struct iocp_op *op, int sys)
{
    if (sys && sys != WIN32_ERROR_IO_PENDING) return false;
    if (sys == 0 && (sock->marks & IOCP_SKIPS)) {
        op->ready = true;
        iocp_push_due(port, sock);
    } else {
        op->owed = true;
        iocp_own(sock)->owed++;
    }
    return true;
}

int iocp_finished(struct port_sock *sock, struct iocp_op *op)
{
    assert(op->owed != op->ready);
    if (op->owed) {
        assert(iocp_own(sock)->owed > 0);
        iocp_own(sock)->owed--;
    }
    op->owed = op->ready = false;
    return win32_code_of_status((uint32_t)op->overlapped.status);
}

/* The numbers of "cancelled" also come when the connection was torn down under us. */
int iocp_error(int sys)
{
    int error = os_error_map(sys);
    return error == SALLY_ECANCELED ? SALLY_ERESET : error;
}

void iocp_close_progress(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    if (sock->state != IOCP_CLOSING || own->owed) return;
    assert(!own->in.ready && !own->out.ready && !own->buf && !own->accepts);
    if (!(own->due & PORT_BIT(PORT_CLOSE))) iocp_end(port, sock, PORT_CLOSE, 0, 0);
}
