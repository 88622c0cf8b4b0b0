/* Addresses as Winsock has them, without its headers: a sockaddr is bytes here. No state; any
 * thread. */
#ifndef PORT_WIN32_ADDR_H
#define PORT_WIN32_ADDR_H

#include "base/addr.h"

/* `sockaddr` is a SOCKADDR_STORAGE. v4-mapped addresses come out as IPv4, ADDR_NONE for a family
 * that isn't ours. */
void win32_addr_from(struct addr *addr, const void *sockaddr);

/* Its length. */
int win32_addr_to(const struct addr *addr, void *sockaddr);

#endif
