/* port_sim_ops: operations of a simulated port. Starting one only notes it; a bit later, when the
 * world comes to its SIM_MAKE, it gets a result or goes on waiting until the socket tells. So no
 * event is made inside the call (P3), and what the call was given is looked at late, when a caller
 * that changed or freed it too early is found out. One thread. */
#include <assert.h>
#include <string.h>

#include "port/sim.h"

/* ---- States ---- */

void sim_ops_poke(struct sim_link *link, enum port_op op)
{
    struct sim_op *state = &link->ops[op];
    struct sim_world *world = link->port->world;
    if (state->state != SIM_OP_ACTIVE || state->make_due) return;
    state->make_due = true;
    sim_world_later(world, sim_delay(world), SIM_MAKE, link->number, op);
}

static void start(struct sim_link *link, enum port_op op)
{
    struct sim_op *state = &link->ops[op];
    if (state->state != SIM_OP_IDLE)
        sim_violation(link->port->world, "slot %u: operation %d is started twice", link->slot_index,
                      (int)op);
    *state = (struct sim_op){.state = SIM_OP_ACTIVE, .make_due = state->make_due};
    link->sock->in_flight |= (uint8_t)PORT_BIT(op);
    sim_ops_poke(link, op);
}

static void finish(struct sim_link *link, enum port_op op, int error, uint32_t bytes)
{
    struct port_event event = {.op = (uint8_t)op, .error = error, .bytes = bytes};
    event.accepted = PORT_NO_HANDLE;
    link->ops[op].state = SIM_OP_ENDED;
    link->ops[op].starved = false;
    sim_port_push(link, &event);
    if (link->closing) sim_ops_poke(link, PORT_CLOSE);
}

static struct sim_sock *stream_of(struct sim_link *link, const char *what)
{
    struct sim_sock *s = link->s;
    if (!s || s->kind != SIM_STREAM || s->state != SIM_ESTABLISHED_STATE)
        sim_violation(link->port->world, "slot %u: %s on what is no connection", link->slot_index,
                      what);
    return s;
}

static bool coin(struct sim_link *link) { return sim_below(link->port->world, 2); }

static void stop(struct sim_link *link, enum port_op op)
{
    if (link->ops[op].state != SIM_OP_ACTIVE) return;
    link->ops[op].stopping = true;
    sim_ops_poke(link, op);
}

/* ---- Accept ---- */

void sim_op_accept(struct port *port, struct port_sock *sock)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    if (!link->s || link->s->kind != SIM_LISTENER)
        sim_violation(link->port->world, "slot %u: accept on what does not listen",
                      link->slot_index);
    start(link, PORT_ACCEPT);
}

void sim_op_accept_stop(struct port *port, struct port_sock *sock)
{
    stop(sim_link_of(sim_port_of(port), sock), PORT_ACCEPT);
}

static void tell_accepted(struct sim_link *link, struct sim_sock *s)
{
    struct sim_world *world = link->port->world;
    struct port_event event = {.op = PORT_ACCEPT, .more = true, .accepted = (port_handle)s->number};
    s->descriptor = true;
    bool nameless = s->error || sim_chance(world, world->faults.accept_no_address);
    if (!nameless) sim_address_of(&s->remote, &event.peer);
    sim_port_push(link, &event);
}

/* The accept fails, and its connection is lost with it. */
static void tell_lost(struct sim_link *link, struct sim_sock *s)
{
    static const int errors[] = {SALLY_ERESET, SALLY_EUNREACH, SALLY_ETIMEDOUT, SALLY_ESYSTEM};
    struct sim_world *world = link->port->world;
    struct port_event event = {.op = PORT_ACCEPT, .more = true, .accepted = PORT_NO_HANDLE};
    event.error = errors[sim_below(world, sizeof errors / sizeof errors[0])];
    sim_descriptor_give(world);
    sim_tcp_close(s, PORT_CLOSE_RST);
    sim_port_push(link, &event);
}

static void accept_one(struct sim_link *link)
{
    struct sim_world *world = link->port->world;
    if (!sim_descriptor_take(world)) {
        finish(link, PORT_ACCEPT, SALLY_EEXHAUSTED, 0);
        return;
    }
    struct sim_sock *s = sim_tcp_accept(link->s);
    if (sim_chance(world, world->faults.accept_fails)) {
        tell_lost(link, s);
    } else {
        if (sim_chance(world, world->faults.accept_dead)) sim_tcp_break(s);
        tell_accepted(link, s);
    }
    sim_ops_poke(link, PORT_ACCEPT);
}

static void make_accept(struct sim_link *link)
{
    struct sim_world *world = link->port->world;
    bool waiting = link->s && link->s->backlog_len;
    if (link->held) {
        if (link->ops[PORT_ACCEPT].stopping)
            finish(link, PORT_ACCEPT, SALLY_ECANCELED, 0);
        else if (!sim_hold_make(link))
            finish(link, PORT_ACCEPT, SALLY_EEXHAUSTED, 0);
        return;
    }
    if (link->closing || (link->ops[PORT_ACCEPT].stopping && (!waiting || coin(link)))) {
        finish(link, PORT_ACCEPT, SALLY_ECANCELED, 0);
    } else if (!waiting) {
        return;
    } else if (sim_chance(world, world->faults.accept_ends)) {
        finish(link, PORT_ACCEPT, coin(link) ? SALLY_ESYSTEM : SALLY_ECANCELED, 0);
    } else {
        accept_one(link);
    }
}

/* ---- Connect ---- */

void sim_op_connect(struct port *port, struct port_sock *sock, const struct address *to,
                    const struct addr *from, const struct port_sock_options *options)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    struct sim_world *world = link->port->world;
    if (link->s || (to->kind != ADDRESS_IP && to->kind != ADDRESS_PATH))
        sim_violation(world, "slot %u: connect on a connected socket, or to no address",
                      link->slot_index);
    link->connect_forced = 0;
    if (!sim_descriptor_take(world)) {
        link->connect_forced = SALLY_EEXHAUSTED;
    } else {
        struct sim_sock *s = sim_tcp_connect(world, to, from);
        s->descriptor = true;
        if (options && options->send_buf_bytes && options->send_buf_bytes < s->tx.size)
            s->tx.size = options->send_buf_bytes;
        if (options && options->recv_buf_bytes && options->recv_buf_bytes < s->rx.size)
            s->rx.size = options->recv_buf_bytes;
        sim_link_bind(link, s);
        if (sim_chance(world, world->faults.connect_lost)) s->vanished = true;
        if (sim_chance(world, world->faults.connect_refused)) link->connect_forced = SALLY_EREFUSED;
        if (sim_chance(world, world->faults.connect_unreachable))
            link->connect_forced = SALLY_EUNREACH;
    }
    start(link, PORT_CONNECT);
}

static void connect_failed(struct sim_link *link, int error)
{
    if (link->s) {
        sim_descriptor_give(link->port->world);
        sim_tcp_close(link->s, PORT_CLOSE_RST);
        link->s = NULL;
    }
    finish(link, PORT_CONNECT, error, 0);
}

static void make_connect(struct sim_link *link)
{
    const struct sim_sock *s = link->s;
    if (link->connect_forced > 0) {
        finish(link, PORT_CONNECT, 0, 0);
    } else if (link->connect_forced) {
        connect_failed(link, link->connect_forced);
    } else if (s->state == SIM_FAILED) {
        connect_failed(link, s->error);
    } else if (s->state == SIM_ESTABLISHED_STATE) {
        /* reset since: the system may tell it now, or at the first receive */
        if (s->error && coin(link))
            connect_failed(link, s->error);
        else
            finish(link, PORT_CONNECT, 0, 0);
    }
}

/* ---- Receive ---- */

void sim_op_recv(struct port *port, struct port_sock *sock)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    stream_of(link, "receive");
    if (link->recv_ended)
        sim_violation(link->port->world, "slot %u: receive after the end of the stream",
                      link->slot_index);
    start(link, PORT_RECV);
}

void sim_op_recv_stop(struct port *port, struct port_sock *sock)
{
    stop(sim_link_of(sim_port_of(port), sock), PORT_RECV);
}

static void receive_end(struct sim_link *link, int error)
{
    link->recv_ended = true;
    finish(link, PORT_RECV, error, 0);
}

static void make_recv(struct sim_link *link)
{
    const struct sim_sock *s = link->s;
    if (link->closing || (link->ops[PORT_RECV].stopping && coin(link))) {
        finish(link, PORT_RECV, SALLY_ECANCELED, 0);
    } else if (s->rx.len) {
        bool got = sim_port_receive(link);
        if (got || link->ops[PORT_RECV].stopping) sim_ops_poke(link, PORT_RECV);
    } else if (s->fin_received && !(s->error && coin(link))) {
        receive_end(link, 0);
    } else if (s->error) {
        receive_end(link, s->error);
    } else if (link->ops[PORT_RECV].stopping) {
        finish(link, PORT_RECV, SALLY_ECANCELED, 0);
    }
}

/* ---- Send ---- */

static size_t spans_bytes(struct sim_link *link, const struct span *spans, unsigned count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!spans[i].len)
            sim_violation(link->port->world, "slot %u: an empty span", link->slot_index);
        bytes += spans[i].len;
    }
    return bytes;
}

static uint64_t spans_sum(const struct span *spans, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) sum = sim_checksum(sum, spans[i].data, spans[i].len);
    return sum;
}

/* Reads every byte, as late as a kernel might. */
static void check_spans(struct sim_link *link)
{
    if (link->file) sim_file_check(link);
    if (spans_sum(link->spans, link->span_count) != link->send_sum)
        sim_violation(link->port->world, "slot %u: bytes were changed while they were sent",
                      link->slot_index);
}

/* How many of `bytes` a send takes: 0 when it has to wait. */
static uint32_t send_part(struct sim_link *link, size_t bytes)
{
    struct sim_world *world = link->port->world;
    uint32_t room = sim_ring_room(&link->s->tx);
    uint32_t part = bytes < room ? (uint32_t)bytes : room;
    if (part && sim_chance(world, world->faults.send_short))
        part = 1 + (uint32_t)sim_below(world, part);
    return part;
}

static void put_part(struct sim_link *link, const struct span *spans, uint32_t part)
{
    for (unsigned i = 0; part; i++) {
        uint32_t len = spans[i].len < part ? (uint32_t)spans[i].len : part;
        uint32_t put = sim_tcp_write(link->s, spans[i].data, len);
        assert(put == len);
        (void)put;
        part -= len;
    }
}

static struct sim_sock *sendable(struct sim_link *link)
{
    struct sim_sock *s = stream_of(link, "send");
    if (link->shut || link->send_failed)
        sim_violation(link->port->world, "slot %u: send after a half-close or a failed send",
                      link->slot_index);
    return s;
}

int64_t sim_op_send_now(struct port *port, struct port_sock *sock, const struct span *spans,
                        unsigned count, int *sys_error)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    struct sim_world *world = link->port->world;
    const struct sim_sock *s = sendable(link);
    if (sys_error) *sys_error = 0;
    if (link->ops[PORT_SEND].state != SIM_OP_IDLE)
        sim_violation(world, "slot %u: send_now while a send is in flight", link->slot_index);
    size_t bytes = spans_bytes(link, spans, count);
    if (!(port->abilities & PORT_CAN_SEND_NOW)) return 0;
    if (s->error) {
        link->send_failed = true;
        return s->error;
    }
    if (sim_chance(world, world->faults.send_now_none)) return 0;
    uint32_t part = send_part(link, bytes);
    put_part(link, spans, part);
    return part;
}

void sim_op_send(struct port *port, struct port_sock *sock, const struct span *spans,
                 unsigned count)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    struct sim_world *world = link->port->world;
    sendable(link);
    start(link, PORT_SEND);
    if (count > link->span_room) {
        link->spans =
            sim_grow(world, link->spans, link->span_room * sizeof *spans, count * sizeof *spans);
        link->span_room = count;
    }
    memcpy(link->spans, spans, count * sizeof *spans);
    link->file = NULL;
    link->span_count = count;
    link->send_bytes = spans_bytes(link, spans, count);
    link->send_sum = spans_sum(spans, count);
}

void sim_op_send_file(struct port *port, struct port_sock *sock, const struct port_file *file)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    sendable(link);
    start(link, PORT_SEND);
    link->span_count = 0;
    link->send_bytes = file->bytes < PORT_FILE_BYTES_MAX ? file->bytes : PORT_FILE_BYTES_MAX;
    link->send_sum = spans_sum(NULL, 0);
    link->file = file;
    link->file_copy = *file;
    sim_file_check(link);
}

/* Of spans or of a file: how many bytes went, 0 without room, or SALLY_E*. */
static int64_t send_some(struct sim_link *link)
{
    uint32_t part = send_part(link, link->send_bytes);
    if (!part) return 0;
    check_spans(link);
    if (link->file) return sim_file_put(link, part);
    put_part(link, link->spans, part);
    return part;
}

static void make_send(struct sim_link *link)
{
    if (link->closing) {
        bool taken = link->send_forced > 0;
        finish(link, PORT_SEND, taken ? 0 : SALLY_ECANCELED,
               taken ? (uint32_t)link->send_forced : 0);
        return;
    }
    if (link->s->error) {
        link->send_failed = true;
        finish(link, PORT_SEND, link->s->error, 0);
        return;
    }
    int64_t some = send_some(link);
    if (!some) return;
    link->send_failed = some < 0 && some != SALLY_EFILEEND;
    finish(link, PORT_SEND, some < 0 ? (int)some : 0, some > 0 ? (uint32_t)some : 0);
}

/* A close meets a send in flight: nothing went, all that fitted went and it is told, or it went and
 * nobody knows. */
static void decide_send(struct sim_link *link)
{
    if (link->ops[PORT_SEND].state != SIM_OP_ACTIVE) return;
    check_spans(link);
    link->send_forced = 0;
    if (!link->s || link->s->error || coin(link)) return;
    int64_t some = send_some(link);
    if (some > 0 && coin(link)) link->send_forced = (int)some;
}

int sim_op_shutdown(struct port *port, struct port_sock *sock)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    struct sim_sock *s = sendable(link);
    if (link->ops[PORT_SEND].state != SIM_OP_IDLE)
        sim_violation(s->world, "slot %u: half-close while a send is in flight", link->slot_index);
    if (s->error) return s->error;
    link->shut = true;
    sim_tcp_finish(s);
    return 0;
}

/* ---- Close ---- */

static void decide_connect(struct sim_link *link)
{
    if (link->ops[PORT_CONNECT].state != SIM_OP_ACTIVE) return;
    bool made = link->s && link->s->state == SIM_ESTABLISHED_STATE && !link->connect_forced;
    link->connect_forced = made && coin(link) ? 1 : SALLY_ECANCELED;
}

void sim_op_close(struct port *port, struct port_sock *sock, enum port_close_mode mode)
{
    struct sim_link *link = sim_link_of(sim_port_of(port), sock);
    decide_send(link);
    decide_connect(link);
    link->closing = true;
    if (link->held) sim_hold_end(link);
    if (link->s) {
        link->descriptor = link->s->descriptor;
        sim_tcp_close(link->s, mode);
        link->s = NULL;
    }
    for (unsigned op = 0; op < PORT_CLOSE; op++) sim_ops_poke(link, (enum port_op)op);
    start(link, PORT_CLOSE);
}

static void make_close(struct sim_link *link)
{
    for (unsigned op = 0; op < PORT_CLOSE; op++)
        if (link->ops[op].state == SIM_OP_ACTIVE) return; /* its end comes back here */
    if (link->descriptor) sim_descriptor_give(link->port->world);
    link->descriptor = false;
    finish(link, PORT_CLOSE, 0, 0);
}

/* ---- Both ends of an operation's end ---- */

void sim_ops_make(struct sim_world *world, uint64_t number, enum port_op op)
{
    struct sim_link *link = sim_link_find(world, number);
    if (!link) return;
    link->ops[op].make_due = false;
    if (link->ops[op].state != SIM_OP_ACTIVE) return;
    sim_link_check(link);
    switch (op) {
    case PORT_ACCEPT: make_accept(link); break;
    case PORT_CONNECT: make_connect(link); break;
    case PORT_RECV: make_recv(link); break;
    case PORT_SEND: make_send(link); break;
    case PORT_CLOSE: make_close(link); break;
    case PORT_OPS: assert(false);
    }
}

void sim_ops_taken(struct sim_link *link, const struct port_event *event)
{
    enum port_op op = (enum port_op)event->op;
    assert(link->ops[op].state == SIM_OP_ENDED);
    link->ops[op].state = SIM_OP_IDLE;
    link->sock->in_flight &= (uint8_t)~PORT_BIT(op);
    if (op == PORT_SEND) {
        check_spans(link);
        link->span_count = 0;
        link->file = NULL;
    }
    bool as_new = op == PORT_CONNECT && event->error && !link->closing;
    if (op == PORT_CONNECT && event->error) link->sock->handle = PORT_NO_HANDLE;
    if (as_new) link->sock->own[0] = 0;
    if (op == PORT_CLOSE) link->sock->own[0] = SIM_LINK_GONE;
    if (as_new || op == PORT_CLOSE) sim_link_free(link);
}
