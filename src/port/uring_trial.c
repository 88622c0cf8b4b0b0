/* A trial of this kernel's io_uring: two connections over loopback through a port of its own, with
 * so few buffers that they run out again and again, every byte compared. A few hundred operations,
 * a few milliseconds, once in a process. Memory: all of it is given back, unless the kernel keeps
 * requests. Any thread: the port is the caller's for as long as the trial lasts. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/address.h"
#include "os/linux_mask.h"
#include "port/linux_sock.h"
#include "port/uring.h"
#include "sallyport/error.h"

enum {
    CLIENTS = 2,
    STREAM_BYTES = 96 * 1024,
    BUFS = 8,
    BUF_BYTES = 1024,
    WRITE_BYTES = 5000,
    ROUNDS = 2000,
    ROUND_MS = 5,
    UNTRIABLE = 1,
};

struct trial_conn {
    struct port_sock sock; /* first: it lives in the slot table */
    uint32_t received;
    unsigned char base;
    bool wrong;
};

struct trial_client {
    int fd;
    uint32_t sent;
    unsigned char base;
    unsigned char answer[2];
    uint32_t answered;
};

struct trial {
    struct port *port;
    struct slots socks;
    struct trial_conn *listener;
    struct trial_client clients[CLIENTS];
    unsigned accepted;
    unsigned good; /* streams that came whole */
    unsigned open; /* sockets of the port that have not told PORT_CLOSE */
    bool wrong;
    bool exhausted; /* no descriptors to accept with: that says nothing of io_uring */
};

static unsigned char stream_byte(unsigned char base, uint32_t offset)
{
    return (unsigned char)(base + offset * 7 + offset / 251);
}

/* --- the other side: plain sockets that never wait --- */

static void client_step(struct trial_client *client)
{
    unsigned char bytes[WRITE_BYTES];
    uint32_t len = STREAM_BYTES - client->sent;
    if (len > sizeof bytes) len = sizeof bytes;
    for (uint32_t i = 0; i < len; i++) bytes[i] = stream_byte(client->base, client->sent + i);
    ssize_t rc = len ? send(client->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (rc > 0) client->sent += (uint32_t)rc;
    if (client->answered == sizeof client->answer) return;
    rc = recv(client->fd, client->answer + client->answered,
              sizeof client->answer - client->answered, MSG_DONTWAIT);
    if (rc <= 0) return;
    client->answered += (uint32_t)rc;
    if (client->answered == sizeof client->answer) shutdown(client->fd, SHUT_WR);
}

static bool client_is_good(const struct trial_client *client)
{
    return client->answered == 2 && client->answer[0] == 'o' && client->answer[1] == 'k';
}

/* --- the port's side --- */

static struct trial_conn *conn_add(struct trial *trial, port_handle handle)
{
    struct trial_conn *conn = slots_take(&trial->socks);
    if (!conn) {
        port_refuse(trial->port, handle, PORT_CLOSE_RST);
        return NULL;
    }
    trial->open++;
    port_attach(trial->port, &conn->sock, handle, NULL);
    return conn;
}

static void on_accept(struct trial *trial, const struct port_event *event)
{
    if (event->error && !event->more) {
        trial->exhausted |= event->error == SALLY_EEXHAUSTED;
        trial->wrong |= event->error != SALLY_ECANCELED;
        port_close(trial->port, event->sock, PORT_CLOSE_FIN);
        return;
    }
    if (event->error) return;
    struct trial_conn *conn = conn_add(trial, event->accepted);
    if (conn) port_recv(trial->port, &conn->sock);
    if (++trial->accepted == CLIENTS) port_accept_stop(trial->port, event->sock);
}

static void on_data(struct trial *trial, struct trial_conn *conn, const struct port_event *event)
{
    static const struct span answer[2] = {{"o", 1}, {"k", 1}};
    const unsigned char *data = event->data;
    if (conn->received == 0) conn->base = data[0];
    for (uint32_t i = 0; i < event->bytes; i++)
        conn->wrong |= data[i] != stream_byte(conn->base, conn->received + i);
    conn->received += event->bytes;
    port_buf_release(trial->port, event->buf, event->data);
    if (conn->received == STREAM_BYTES) port_send(trial->port, &conn->sock, answer, 2);
}

static void on_recv(struct trial *trial, const struct port_event *event)
{
    struct trial_conn *conn = (struct trial_conn *)event->sock;
    if (event->more) {
        on_data(trial, conn, event);
        return;
    }
    trial->wrong |= event->error != 0;
    if (!event->error && !conn->wrong && conn->received == STREAM_BYTES) trial->good++;
    port_close(trial->port, event->sock, PORT_CLOSE_FIN);
}

static void on_event(struct trial *trial, const struct port_event *event)
{
    switch (event->op) {
    case PORT_ACCEPT: on_accept(trial, event); break;
    case PORT_RECV: on_recv(trial, event); break;
    case PORT_SEND: trial->wrong |= event->error != 0 || event->bytes != 2; break;
    case PORT_CLOSE:
        trial->open--;
        slots_give(&trial->socks, event->sock);
        break;
    default: trial->wrong = true;
    }
}

static void trial_run(struct trial *trial)
{
    for (unsigned round = 0; round < ROUNDS && trial->open && !trial->wrong; round++) {
        struct port_event event;
        for (unsigned i = 0; i < CLIENTS; i++) client_step(&trial->clients[i]);
        if (port_wait(trial->port, ROUND_MS) != 0) trial->wrong = true;
        while (port_take(trial->port, &event, 1)) on_event(trial, &event);
    }
}

/* What a trial that went wrong has left. The port is gone in any case; without its last events its
 * memory stays, for the kernel may still use it. */
static bool trial_clean(struct trial *trial)
{
    struct port_event event;
    for (uint32_t i = 0; i <= CLIENTS && trial->open; i++) {
        struct trial_conn *conn = slots_at(&trial->socks, i);
        bool taken = conn && slot_generation(&conn->sock.slot) & 1;
        if (taken && !(conn->sock.in_flight & PORT_BIT(PORT_CLOSE)))
            port_close(trial->port, &conn->sock, PORT_CLOSE_RST);
    }
    for (unsigned round = 0; round < ROUNDS / 10 && trial->open; round++) {
        if (port_wait(trial->port, ROUND_MS) != 0) return false;
        while (port_take(trial->port, &event, 1)) {
            if (event.op == PORT_RECV && event.bytes)
                port_buf_release(trial->port, event.buf, event.data);
            if (event.op == PORT_ACCEPT && event.accepted != PORT_NO_HANDLE)
                port_refuse(trial->port, event.accepted, PORT_CLOSE_RST);
            if (event.op != PORT_CLOSE) continue;
            trial->open--;
            slots_give(&trial->socks, event.sock);
        }
    }
    return trial->open == 0;
}

/* --- setting up --- */

/* To the listener's address, which is on loopback: the handshake is done when connect returns, for
 * the backlog has room. */
static bool client_open(struct trial_client *client, port_handle listener, unsigned number)
{
    struct sockaddr_in to;
    socklen_t len = sizeof to;
    client->base = (unsigned char)(number * 101 + 1);
    client->fd = -1;
    if (getsockname((int)listener, (struct sockaddr *)&to, &len) != 0) return false;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0) return false;
    linux_set_options(client->fd, &(struct port_sock_options){0}); /* no delay */
    return connect(client->fd, (struct sockaddr *)&to, len) == 0;
}

static bool trial_open(struct trial *trial)
{
    const struct address loopback = {.kind = ADDRESS_IP,
                                     .ip = {.family = ADDR_V4, .ip = {127, 0, 0, 1}}};
    const struct port_listen_options options = {0};
    port_handle handle;
    int sys_error;
    if (port_listen(trial->port, &loopback, &options, &handle, &sys_error) != 0) return false;
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (client_open(&trial->clients[i], handle, i)) continue;
        port_refuse(trial->port, handle, PORT_CLOSE_FIN);
        return false;
    }
    trial->listener = conn_add(trial, handle);
    return trial->listener != NULL;
}

static int trial_verdict(const struct trial *trial)
{
    bool good = !trial->wrong && trial->open == 0 && trial->good == CLIENTS;
    for (unsigned i = 0; i < CLIENTS; i++) good = good && client_is_good(&trial->clients[i]);
    if (good && trial->port->counters.stray_events == 0) return 0;
    if (trial->exhausted) return UNTRIABLE;
    uring_refuse("io_uring gave wrong results in the trial", 0);
    return SALLY_ENOPORT;
}

static int trial_on_port(struct trial *trial)
{
    if (port_own(trial->port) != 0 || !trial_open(trial)) return UNTRIABLE;
    port_accept(trial->port, &trial->listener->sock);
    trial_run(trial);
    return trial_verdict(trial);
}

static int trial_create(struct trial *trial, struct mem *mem, uint32_t features_off)
{
    struct port_ops ops = port_uring_ops;
    struct port_config config = {.mem = mem,
                                 .socks = &trial->socks,
                                 .buf_bytes = BUF_BYTES,
                                 .bufs_max = BUFS,
                                 .sq_entries = 16,
                                 .cq_entries = 64,
                                 .features_off = features_off};
    ops.create = uring_create_untried;
    int err = port_create(&ops, &config, &trial->port);
    if (!err) trial->port->ops = &port_uring_ops; /* `ops` ends here */
    return err;
}

static int trial_whole(struct mem *mem, uint32_t features_off)
{
    struct trial trial = {0};
    for (unsigned i = 0; i < CLIENTS; i++) trial.clients[i].fd = -1;
    if (slots_init(&trial.socks, mem, sizeof(struct trial_conn), CLIENTS + 1, UINT32_MAX) != 0)
        return UNTRIABLE;
    int rc = trial_create(&trial, mem, features_off);
    if (!rc) {
        rc = trial_on_port(&trial);
        bool clean = trial_clean(&trial);
        for (unsigned i = 0; i < CLIENTS; i++)
            if (trial.clients[i].fd >= 0) close(trial.clients[i].fd);
        if (!clean) return SALLY_ENOPORT;
        port_destroy(trial.port);
    } else if (rc != SALLY_ENOPORT) {
        rc = UNTRIABLE; /* no memory, no descriptors: the real port will say so */
    }
    slots_free(&trial.socks);
    return rc;
}

/* Not among signals: they would end its connects and use up its rounds, and what is found is
 * remembered as what the kernel can do. */
int uring_trial(struct mem *mem, uint32_t features_off)
{
    sigset_t signals;
    linux_mask(&signals);
    int rc = trial_whole(mem, features_off);
    linux_unmask(&signals);
    return rc;
}
