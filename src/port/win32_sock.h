/* Sockets of Windows as the completion port needs them beside its operations: listening, options,
 * addresses. Everything goes through a table of calls. No state. */
#ifndef PORT_WIN32_SOCK_H
#define PORT_WIN32_SOCK_H

#include "port/win32_calls.h"

/* The bodies of the port functions of the same name in port.h. */
int win32_listen(struct port *port, const struct address *address,
                 const struct port_listen_options *options, port_handle *handle, int *sys_error);
int win32_local(struct port *port, port_handle handle, struct addr *addr);
int win32_peer(struct port *port, port_handle handle, struct addr *addr);
void win32_refuse(struct port *port, port_handle handle, enum port_close_mode mode);
int win32_probe(struct port *port, int *sys_error);
bool win32_pending(struct port *port, port_handle handle);

/* What fails is left as it was. */
void win32_set_options(const struct win32_calls *calls, port_handle handle,
                       const struct port_sock_options *options);

/* SALLY_EADDRNOTAVAIL if the socket has connected to itself, else 0. */
int win32_self_connected(struct port *port, port_handle handle);

#endif
