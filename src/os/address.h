/* Addresses as text, as the system has them, and from names. */
#ifndef OS_ADDRESS_H
#define OS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
    ADDRESS_TEXT_MAX = 128,
    ADDRESS_HOST_MAX = 256,
    ADDRESS_PATH_MAX = 108,
    ADDRESS_NAME_MAX = 253 /* RFC 1035 section 2.3.4, as text */
};

enum address_kind { ADDRESS_IP, ADDRESS_NAME, ADDRESS_ANY, ADDRESS_PATH, ADDRESS_FD };

/* What a text names. */
struct address {
    enum address_kind kind;
    struct addr ip;              /* ADDRESS_IP; of the others only the port */
    char host[ADDRESS_HOST_MAX]; /* ADDRESS_NAME: the host; ADDRESS_PATH: the path, '@' first for an
                                    abstract name */
    int64_t fd;                  /* ADDRESS_FD */
};

/* "1.2.3.4:80", "[::1]:80", "[fe80::1%eth0]:80", "host:80", "*:80" (every address, IPv4 and IPv6),
 * "unix:/path", "unix:@name" (Linux' abstract names), "fd:3" (a listening socket the program was
 * given). Decimal ports 0 to 65535 only; numbers in other bases and short IPv4 forms are refused.
 * SALLY_EADDRESS. Does no look-up. */
int address_parse(struct address *address, const char *text);

/* Whether it is a host name, as address_parse takes it: at most ADDRESS_NAME_MAX bytes, without the
 * dot that may be at its end. */
bool address_name_is_valid(const char *name);

/* "1.2.3.4" or "2001:db8::1", nothing beside it: no port, no brackets, no zone. As strict.
 * SALLY_EADDRESS. */
int address_parse_ip(struct addr *addr, const char *text);

/* The same, or with a port, as addr_format writes it. */
int address_parse_peer(struct addr *addr, const char *text);

/* The address without its port and zone, "-" for what has none. Returns buf. */
const char *addr_format_ip(const struct addr *addr, char *buf, size_t size);

/* "1.2.3.4:80", "[::1]:80", "unix:", "-" for ADDR_NONE; always terminated. Returns buf. */
const char *addr_format(const struct addr *addr, char *buf, size_t size);

bool addr_equal(const struct addr *a, const struct addr *b);

/* Resolves a name with the system's resolver: blocks, so never on a shard's thread. Both families,
 * in the resolver's order. SALLY_ENONAME, SALLY_ENOMEM. */
int os_resolve(const char *host, uint16_t port, struct addr *addrs, unsigned max, unsigned *count);

#endif
