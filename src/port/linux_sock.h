/* What uring and epoll share: making, setting up and closing sockets. Plain system calls on
 * non-blocking, close-on-exec sockets; no state. */
#ifndef PORT_LINUX_SOCK_H
#define PORT_LINUX_SOCK_H

#include <sys/socket.h>
#include <sys/un.h>

#include "port/port.h"

union linux_sockaddr {
    struct sockaddr any;
    struct sockaddr_storage storage;
    struct sockaddr_un un;
};

/* The bodies of the port functions of the same name in port.h. */
int linux_listen(struct port *port, const struct address *address,
                 const struct port_listen_options *options, port_handle *handle, int *sys_error);
int linux_local(struct port *port, port_handle handle, struct addr *addr);
int linux_peer(struct port *port, port_handle handle, struct addr *addr);
void linux_refuse(struct port *port, port_handle handle, enum port_close_mode mode);
int linux_probe(struct port *port, int *sys_error);
bool linux_pending(struct port *port, port_handle handle);
bool linux_backlog(struct port *port, port_handle handle, struct port_backlog *backlog);

/* Options that can be set on a stream socket of any family; those a family hasn't are left out. */
void linux_set_options(int fd, const struct port_sock_options *options);

/* A socket ready to connect to `to` (an ADDRESS_IP or ADDRESS_PATH), bound to `from` unless NULL:
 * the descriptor, or a negative SALLY_E*. The sockaddr to connect to is left in `sockaddr`. */
int linux_connect_socket(const struct address *to, const struct addr *from,
                         const struct port_sock_options *options, union linux_sockaddr *sockaddr,
                         socklen_t *len, int *sys_error);

/* After a connect that ended without error: SALLY_EADDRNOTAVAIL if the socket has connected to
 * itself (possible on loopback when the target port is in the ephemeral range and nobody listens),
 * else 0. */
int linux_self_connected(int fd);

/* v4-mapped addresses come out as IPv4. ADDR_NONE for a family that isn't ours. */
void linux_addr_from(struct addr *addr, const struct sockaddr *sockaddr, socklen_t len);
socklen_t linux_addr_to(const struct addr *addr, union linux_sockaddr *sockaddr);

bool linux_listens(int fd);

/* SO_LINGER with time 0: the close that follows resets. */
void linux_reset_on_close(int fd);

#endif
