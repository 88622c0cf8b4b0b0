#include "port/win32_addr.h"

#include <stdbool.h>
#include <string.h>
#include <winsock2.h>
#include <ws2tcpip.h>

void win32_addr_from(struct addr *addr, const void *sockaddr)
{
    const struct sockaddr_in *in = sockaddr;
    const struct sockaddr_in6 *in6 = sockaddr;
    memset(addr, 0, sizeof *addr); /* ADDR_NONE; also the bytes that a family leaves unused */
    if (in->sin_family == AF_INET) {
        addr->family = ADDR_V4;
        addr->port = ntohs(in->sin_port);
        memcpy(addr->ip, &in->sin_addr, 4);
    } else if (in6->sin6_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        addr->family = mapped ? ADDR_V4 : ADDR_V6;
        addr->port = ntohs(in6->sin6_port);
        addr->scope = mapped ? 0 : in6->sin6_scope_id;
        memcpy(addr->ip, in6->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
}

int win32_addr_to(const struct addr *addr, void *sockaddr)
{
    memset(sockaddr, 0, sizeof(SOCKADDR_STORAGE));
    if (addr->family == ADDR_V6) {
        struct sockaddr_in6 *in6 = sockaddr;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(addr->port);
        in6->sin6_scope_id = addr->scope;
        memcpy(&in6->sin6_addr, addr->ip, 16);
        return sizeof *in6;
    }
    struct sockaddr_in *in = sockaddr;
    in->sin_family = AF_INET;
    in->sin_port = htons(addr->port);
    memcpy(&in->sin_addr, addr->ip, 4);
    return sizeof *in;
}
