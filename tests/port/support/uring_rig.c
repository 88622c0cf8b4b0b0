/* See uring_rig.h. Memory is the test's own (malloc) but for what the port takes. One thread. */
#include "port/support/uring_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/address.h"
#include "port/linux_sock.h"
#include "sallyport/error.h"

unsigned char rig_byte(uint32_t tag, uint64_t offset)
{
    uint64_t word = (uint64_t)tag << 32 | (uint32_t)(offset / 8);
    return (unsigned char)(word >> 8 * (offset % 8));
}

/* --- the rig --- */

void rig_open(struct rig *rig, uint32_t sq, uint32_t cq, uint32_t buf_bytes, uint32_t bufs,
              uint32_t features_off)
{
    memset(rig, 0, sizeof *rig);
    rig->take_max = 16;
    mem_init(&rig->mem);
    assert_int_equal(
        slots_init(&rig->slots, &rig->mem, sizeof(struct rig_conn), RIG_CONNS_MAX, UINT32_MAX), 0);
    struct port_config config = {.mem = &rig->mem,
                                 .socks = &rig->slots,
                                 .buf_bytes = buf_bytes,
                                 .bufs_max = bufs,
                                 .sq_entries = sq,
                                 .cq_entries = cq,
                                 .features_off = features_off};
    int err = port_create(&port_uring_ops, &config, &rig->port);
    if (err) fail_msg("no port: %d, %s", err, uring_refusal());
    assert_int_equal(port_own(rig->port), 0);
}

struct rig_conn *rig_add(struct rig *rig, port_handle handle)
{
    struct rig_conn *conn = slots_take(&rig->slots);
    assert_non_null(conn);
    conn->rig = rig;
    rig->conns[conn->sock.slot.index] = conn;
    if (handle != PORT_NO_HANDLE) port_attach(rig->port, &conn->sock, handle, NULL);
    return conn;
}

void rig_listen(struct rig *rig)
{
    struct address loopback = {.kind = ADDRESS_IP, .ip = {.family = ADDR_V4, .ip = {127, 0, 0, 1}}};
    struct port_listen_options options = {0};
    port_handle handle;
    int sys_error = 0;
    assert_int_equal(port_listen(rig->port, &loopback, &options, &handle, &sys_error), 0);
    assert_int_equal(port_local(rig->port, handle, &rig->addr), 0);
    rig->listener = rig_add(rig, handle);
    port_accept(rig->port, &rig->listener->sock);
}

void rig_shut(struct rig *rig, struct rig_conn *conn, enum port_close_mode mode)
{
    if (conn->closing) return;
    conn->closing = true;
    port_close(rig->port, &conn->sock, mode);
}

unsigned rig_living(const struct rig *rig)
{
    unsigned count = 0;
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++) count += rig->conns[i] != NULL;
    return count;
}

static void give_back(struct rig *rig, unsigned keep)
{
    while (rig->held_count > keep) {
        struct rig_held *held = &rig->held[--rig->held_count];
        port_buf_release(rig->port, held->buf, held->data);
    }
}

static bool none_living(struct rig *rig, void *arg)
{
    (void)arg;
    return rig_living(rig) == 0;
}

void rig_close(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++)
        if (rig->conns[i]) rig_shut(rig, rig->conns[i], PORT_CLOSE_FIN);
    rig_until(rig, none_living, NULL);
    give_back(rig, 0);
    assert_int_equal(rig->port->bufs_lent, 0);
    for (unsigned op = 0; op < PORT_OPS; op++) {
        const struct port_counters *counters = &rig->port->counters;
        assert_int_equal(counters->started[op],
                         counters->completed[op] + counters->cancelled[op] + counters->failed[op]);
    }
    port_destroy(rig->port);
    slots_free(&rig->slots);
    assert_int_equal(mem_in_use(&rig->mem), 0);
}

/* --- the server --- */

static void send_on(struct rig_conn *conn)
{
    struct rig *rig = conn->rig;
    size_t left = conn->out_len - conn->out_done;
    if (conn->closing || left == 0 || conn->sending) return;
    conn->sending = true;
    const unsigned char *from = conn->out + conn->out_done;
    size_t half = left / 2;
    struct span spans[2] = {{from, half}, {from + half, left - half}};
    port_send(rig->port, &conn->sock, half ? spans : spans + 1, half ? 2 : 1);
}

static void echo(struct rig_conn *conn, const void *data, size_t len)
{
    if (conn->sending) {
        /* the bytes in flight stay where they are: nothing here moves them */
        assert_true(conn->out_len + len <= 1 << 20);
    } else if (conn->out_done == conn->out_len) {
        conn->out_done = conn->out_len = 0;
    }
    if (!conn->out) conn->out = malloc(1 << 20);
    assert_non_null(conn->out);
    memcpy(conn->out + conn->out_len, data, len);
    conn->out_len += len;
    send_on(conn);
}

static void check_stream(struct rig_conn *conn, const unsigned char *data, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++, conn->received++) {
        if (conn->received >= 4 && conn->received < 8)
            conn->tag |= (uint32_t)data[i] << 8 * (conn->received - 4);
        if (conn->received < 8) continue; /* the tag is just being learnt */
        if (data[i] != rig_byte(conn->tag, conn->received))
            fail_msg("stream %u has a wrong byte at %llu", conn->tag,
                     (unsigned long long)conn->received);
    }
}

static void on_data(struct rig *rig, struct rig_conn *conn, const struct port_event *event)
{
    assert_true(event->bytes > 0);
    check_stream(conn, event->data, event->bytes);
    rig->received += event->bytes;
    if (rig->echo && !conn->closing) echo(conn, event->data, event->bytes);
    if (rig->hold) {
        assert_true(rig->held_count < RIG_HELD_MAX);
        rig->held[rig->held_count++] = (struct rig_held){event->buf, event->data};
    } else {
        port_buf_release(rig->port, event->buf, event->data);
    }
}

static void on_accept(struct rig *rig, struct rig_conn *listener, const struct port_event *event)
{
    if (event->error) {
        rig->accept_errors++;
        if (event->more) return;
        rig->accept_ended = true;
        rig->accept_end = event->error;
        return;
    }
    struct rig_conn *conn = rig_add(rig, event->accepted);
    rig->opened++;
    if (event->peer.family == ADDR_NONE) rig->nameless++;
    if (listener->closing) {
        rig_shut(rig, conn, PORT_CLOSE_FIN);
    } else if (!rig->no_recv) {
        port_recv(rig->port, &conn->sock);
    }
}

static void on_close(struct rig *rig, struct rig_conn *conn)
{
    assert_int_equal(conn->sock.in_flight, 0);
    rig->conns[conn->sock.slot.index] = NULL;
    if (conn == rig->listener) rig->listener = NULL;
    rig->closed++;
    free(conn->out);
    slots_give(&rig->slots, conn);
}

static void on_recv_end(struct rig *rig, struct rig_conn *conn, int32_t error)
{
    conn->ended = true;
    conn->end = error;
    if (rig->echo && error == 0) rig_shut(rig, conn, PORT_CLOSE_FIN);
}

static void on_sent(struct rig_conn *conn, const struct port_event *event)
{
    conn->sending = false;
    if (event->error) return;
    assert_true(event->bytes > 0 && event->bytes <= conn->out_len - conn->out_done);
    conn->out_done += event->bytes;
    send_on(conn);
}

static void on_event(struct rig *rig, const struct port_event *event)
{
    struct rig_conn *conn = (struct rig_conn *)event->sock;
    rig->last = *event;
    if (!event->more) conn->finals[event->op]++;
    if (rig->on_event) rig->on_event(rig, event);
    switch (event->op) {
    case PORT_ACCEPT: on_accept(rig, conn, event); break;
    case PORT_RECV:
        if (event->more) {
            on_data(rig, conn, event);
        } else {
            on_recv_end(rig, conn, event->error);
        }
        break;
    case PORT_SEND:
        if (!rig->no_send) on_sent(conn, event);
        break;
    case PORT_CLOSE: on_close(rig, conn); break;
    default: break;
    }
}

void rig_turn(struct rig *rig, uint32_t timeout_ms)
{
    struct port_event events[64 + 1];
    unsigned count;
    unsigned late = rig->held_count;
    assert_int_equal(port_wait(rig->port, timeout_ms), 0);
    do {
        count = port_take(rig->port, events, rig->take_max);
        if (rig->port->emptied) assert_int_equal(port_take(rig->port, events + count, 1), 0);
        for (unsigned i = 0; i < count; i++) on_event(rig, &events[i]);
    } while (count && !rig->one_take);
    /* those held since the last turn: all but the newest `hold` */
    if (late && !rig->keep) give_back(rig, rig->held_count > rig->hold ? rig->hold : 0);
}

void rig_until(struct rig *rig, bool (*done)(struct rig *rig, void *arg), void *arg)
{
    for (unsigned i = 0; i < RIG_ROUNDS_MAX; i++) {
        if (done(rig, arg)) return;
        rig_turn(rig, 2);
    }
    fail_msg("nothing came of it");
}

static bool all_opened(struct rig *rig, void *count) { return rig->opened >= *(unsigned *)count; }
static bool all_closed(struct rig *rig, void *count) { return rig->closed >= *(unsigned *)count; }

void rig_until_opened(struct rig *rig, unsigned count) { rig_until(rig, all_opened, &count); }
void rig_until_closed(struct rig *rig, unsigned count) { rig_until(rig, all_closed, &count); }

/* --- clients --- */

void rig_client_open(struct rig *rig, struct rig_client *client, uint32_t tag, uint64_t goal)
{
    union linux_sockaddr to;
    socklen_t len = linux_addr_to(&rig->addr, &to);
    *client = (struct rig_client){.tag = tag, .goal = goal};
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    int on = 1;
    assert_int_equal(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    /* a connect that a signal interrupts can't simply be called again */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = connect(client->fd, &to.any, len);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(err, 0);
}

void rig_client_close(struct rig_client *client)
{
    if (client->fd >= 0) close(client->fd);
    client->fd = -1;
}

static void client_read(struct rig_client *client)
{
    unsigned char bytes[16384];
    ssize_t got = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        client->ended = true;
        return;
    }
    for (ssize_t i = 0; i < got; i++, client->echoed++)
        if (bytes[i] != rig_byte(client->tag, client->echoed))
            fail_msg("client %u got a wrong byte at %llu", client->tag,
                     (unsigned long long)client->echoed);
}

void rig_client_step(struct rig_client *client, size_t bytes)
{
    unsigned char out[16384];
    uint64_t left = client->goal - client->sent;
    if (bytes > sizeof out) bytes = sizeof out;
    if (bytes > left) bytes = (size_t)left;
    for (size_t i = 0; i < bytes; i++) out[i] = rig_byte(client->tag, client->sent + i);
    ssize_t sent = bytes ? send(client->fd, out, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (sent > 0) client->sent += (uint64_t)sent;
    client_read(client);
}

struct rig_conn *rig_only(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++)
        if (rig->conns[i] && rig->conns[i] != rig->listener) return rig->conns[i];
    fail_msg("there is none");
    return NULL;
}

struct rig_conn *rig_armed(struct rig *rig, struct rig_client *client)
{
    unsigned opened = rig->opened;
    rig_client_open(rig, client, 1, 1 << 20);
    rig_until_opened(rig, opened + 1);
    rig_turn(rig, 0);
    return rig_only(rig);
}

void rig_stream(struct rig *rig, unsigned clients, uint64_t bytes, size_t step)
{
    static struct rig_client all[RIG_CONNS_MAX];
    unsigned whole = 0;
    rig->echo = true;
    assert_true(clients < RIG_CONNS_MAX);
    for (unsigned i = 0; i < clients; i++) rig_client_open(rig, &all[i], i + 1, bytes);
    for (unsigned round = 0; whole < clients; round++) {
        if (round == RIG_ROUNDS_MAX) fail_msg("only %u of %u streams came whole", whole, clients);
        for (unsigned i = 0; i < clients; i++) {
            if (all[i].fd < 0) continue;
            rig_client_step(&all[i], step);
            if (all[i].ended) fail_msg("client %u was cut off", all[i].tag);
            if (all[i].echoed < bytes) continue;
            rig_client_close(&all[i]);
            whole++;
        }
        rig_turn(rig, 1);
    }
}
