/* A network address in 24 bytes, the same on every system. Plain data: resolving and sockaddr
 * conversion are os's. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdint.h>

enum addr_family { ADDR_NONE, ADDR_V4, ADDR_V6, ADDR_UNIX };

struct addr {
    uint8_t family; /* enum addr_family */
    uint8_t reserved;
    uint16_t port;  /* host byte order; 0 for ADDR_UNIX */
    uint32_t scope; /* IPv6 scope id, else 0 */
    uint8_t ip[16]; /* network byte order; v4 in the first four; v4-mapped v6 is normalised to v4 on
                       the way in */
};

#endif
