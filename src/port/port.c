/* The calls of port.h but those that every request makes, which are in the header: each asserts
 * what the port may assume of its caller, counts, and hands on to the kind's own function. It
 * allocates nothing and keeps nothing but the counters, which belong to the port's thread; so
 * everything here may be called where port.h says that the call itself may.
 *
 * The counts are kept here and not in the ports so that they mean the same on each: an operation is
 * started when its start is called and ends when the owner has its last event in hand. */
#include "port/port.h"

#include <assert.h>

#include "os/address.h"
#include "sallyport/error.h"

static void assert_living(const struct port_sock *sock)
{
    assert(slot_generation(&sock->slot) & 1); /* not given back */
    assert(!(sock->in_flight & PORT_BIT(PORT_CLOSE)));
    (void)sock;
}

static void count_start(struct port *port, struct port_sock *sock, enum port_op op)
{
    assert_living(sock);
    assert(!(sock->in_flight & PORT_BIT(op)));
    (void)sock;
    counter_add(&port->counters.started[op], 1);
}

int port_create(const struct port_ops *ops, const struct port_config *config, struct port **port)
{
    assert(config->mem && config->socks);
    *port = NULL;
    int err = ops->create(port, config);
    if (err) return err;
    assert(*port);
    (*port)->ops = ops;
    (*port)->mem = config->mem;
    (*port)->socks = config->socks;
    if (config->features_off & PORT_NO_FILE_SEND)
        (*port)->abilities &= ~(uint32_t)PORT_CAN_SEND_FILE;
    return 0;
}

void port_destroy(struct port *port)
{
    if (port) port->ops->destroy(port);
}

int port_own(struct port *port) { return port->ops->own(port); }

void port_disown(struct port *port)
{
    if (port->ops->disown) port->ops->disown(port);
}

bool port_alarm(struct port *port, uint32_t delay_ms)
{
    return port->ops->alarm && port->ops->alarm(port, delay_ms);
}

void port_count_end(struct port_counters *counters, const struct port_event *event)
{
    assert(event->op < PORT_OPS);
    assert(event->op != PORT_ACCEPT || event->error != 0); /* accepting ends for a reason only */
    if (event->error == 0) {
        counter_add(&counters->completed[event->op], 1);
    } else if (event->error == SALLY_ECANCELED) {
        counter_add(&counters->cancelled[event->op], 1);
    } else {
        counter_add(&counters->failed[event->op], 1);
    }
}

void port_flush(struct port *port) { port->ops->flush(port); }

void port_wake(struct port *port) { port->ops->wake(port); }

int64_t port_fd(struct port *port) { return port->ops->fd(port); }

/* A Unix socket's options are its own, and a given descriptor was listening before we could say
 * anything. */
bool port_inherits(const struct port *port, const struct address *address)
{
    return port->ops->inherits && (address->kind == ADDRESS_IP || address->kind == ADDRESS_ANY);
}

int port_listen(struct port *port, const struct address *address,
                const struct port_listen_options *options, port_handle *handle, int *sys_error)
{
    *handle = PORT_NO_HANDLE;
    return port->ops->listen(port, address, options, handle, sys_error);
}

int port_local(struct port *port, port_handle handle, struct addr *addr)
{
    return port->ops->local(port, handle, addr);
}

int port_peer(struct port *port, port_handle handle, struct addr *addr)
{
    return port->ops->peer(port, handle, addr);
}

void port_refuse(struct port *port, port_handle handle, enum port_close_mode mode)
{
    assert(handle != PORT_NO_HANDLE);
    port->ops->refuse(port, handle, mode);
}

bool port_pending(struct port *port, port_handle handle)
{
    return port->ops->pending && port->ops->pending(port, handle);
}

bool port_backlog(struct port *port, port_handle handle, struct port_backlog *backlog)
{
    return port->ops->backlog && port->ops->backlog(port, handle, backlog);
}

int port_probe(struct port *port, int *sys_error) { return port->ops->probe(port, sys_error); }

void port_attach(struct port *port, struct port_sock *sock, port_handle handle,
                 const struct port_sock_options *options)
{
    assert_living(sock);
    assert(handle != PORT_NO_HANDLE && !sock->in_flight);
    sock->hears = options && options->accept_data_ms;
    if (sock->hears) sock->data_ms = options->accept_data_ms;
    port->ops->attach(port, sock, handle, options);
}

void port_accept(struct port *port, struct port_sock *sock)
{
    count_start(port, sock, PORT_ACCEPT);
    port->ops->accept(port, sock);
}

void port_accept_stop(struct port *port, struct port_sock *sock)
{
    assert_living(sock);
    port->ops->accept_stop(port, sock);
}

void port_connect(struct port *port, struct port_sock *sock, const struct address *to,
                  const struct addr *from, const struct port_sock_options *options)
{
    assert(!sock->in_flight);
    count_start(port, sock, PORT_CONNECT);
    sock->hears = 0;
    port->ops->connect(port, sock, to, from, options);
}

void port_recv(struct port *port, struct port_sock *sock)
{
    count_start(port, sock, PORT_RECV);
    port->ops->recv(port, sock);
}

void port_recv_stop(struct port *port, struct port_sock *sock)
{
    assert_living(sock);
    port->ops->recv_stop(port, sock);
}

void port_send_file(struct port *port, struct port_sock *sock, const struct port_file *file)
{
    assert(port->abilities & PORT_CAN_SEND_FILE);
    assert(file->handle != OS_NO_FILE && file->bytes > 0); /* 0 means "all of it" to some systems */
    count_start(port, sock, PORT_SEND);
    port->ops->send_file(port, sock, file);
}

int port_shutdown(struct port *port, struct port_sock *sock)
{
    assert_living(sock);
    assert(!(sock->in_flight & PORT_BIT(PORT_SEND)));
    return port->ops->shutdown(port, sock);
}

void port_close(struct port *port, struct port_sock *sock, enum port_close_mode mode)
{
    count_start(port, sock, PORT_CLOSE);
    port->ops->close(port, sock, mode);
}
