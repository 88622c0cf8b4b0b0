/* Networks: an address and how many of its bits count. IPv4 and IPv6; a v4-mapped IPv6 network is
 * the IPv4 one, as a v4-mapped peer is an IPv4 peer (base/addr.h). Pure; any thread. */
#ifndef ADMISSION_CIDR_H
#define ADMISSION_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum { CIDR_TEXT_MAX = 64, CIDR_BITS_MAX = 128 };

struct cidr {
    uint8_t family; /* ADDR_V4 or ADDR_V6 */
    uint8_t bits;   /* at most 32, at most 128 */
    uint8_t ip[16]; /* the bits that don't count are 0 */
};

/* "192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::ffff:192.0.2.0/120". An address alone is all its
 * bits. Bits set behind the prefix are refused instead of dropped: "10.1.2.3/8" is more often a
 * slip than a wish to ban sixteen million. SALLY_ENETWORK, with `why` (static) if not NULL. */
int cidr_parse(struct cidr *cidr, const char *text, const char **why);

/* The network of that many bits around an address; more bits than it has are all of them. */
struct cidr cidr_around(const struct addr *addr, unsigned bits);

bool cidr_covers(const struct cidr *cidr, const struct addr *addr);
bool cidr_equal(const struct cidr *a, const struct cidr *b);

/* "192.0.2.0/24", and without the slash for one address; returns buf. */
const char *cidr_format(const struct cidr *cidr, char *buf, size_t size);

/* How many bits an address of that family has. */
static inline unsigned cidr_bits_of(uint8_t family) { return family == ADDR_V4 ? 32 : 128; }

static inline bool cidr_takes(const struct addr *addr)
{
    return addr->family == ADDR_V4 || addr->family == ADDR_V6;
}

#endif
