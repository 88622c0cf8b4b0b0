#include "admission/cidr.h"

#include <stdio.h>
#include <string.h>

#include "os/address.h"
#include "sallyport/error.h"

enum { V4_MAPPED_BITS = 96 };

static const char *const why_text =
    "not an address and not a network; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32";
static const char *const why_bits = "the number behind the slash is not one of the address's bits";
static const char *const why_host =
    "bits behind the network's prefix are set; write the network's first address";
static const char *const why_mapped =
    "a network of v4-mapped addresses has at least 96 bits; write it as an IPv4 network";

/* Clears what is behind the prefix; true if there was something. */
static bool cidr__mask(struct cidr *cidr)
{
    bool cleared = false;
    for (unsigned i = 0; i < sizeof cidr->ip; i++) {
        unsigned kept = cidr->bits > i * 8 ? cidr->bits - i * 8 : 0;
        unsigned mask = kept >= 8 ? 0xffu : 0xff00u >> kept & 0xffu;
        if (cidr->ip[i] & ~mask) cleared = true;
        cidr->ip[i] = (uint8_t)(cidr->ip[i] & mask);
    }
    return cleared;
}

/* Decimal, at most three digits, no zero in front; -1 for anything else. */
static int bits_parse(const char *text)
{
    int bits = 0;
    size_t len = strlen(text);
    if (len < 1 || len > 3 || (text[0] == '0' && len > 1)) return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return -1;
        bits = bits * 10 + (*text - '0');
    }
    return bits;
}

/* The address has been read as IPv4 though it was written as IPv6. */
static bool is_mapped(const char *text, const struct addr *addr)
{
    return addr->family == ADDR_V4 && strchr(text, ':');
}

static const char *cidr__bits(struct cidr *cidr, const char *text, const struct addr *addr,
                              const char *slash)
{
    bool mapped = is_mapped(text, addr);
    int most = mapped ? CIDR_BITS_MAX : (int)cidr_bits_of(addr->family);
    int bits = slash ? bits_parse(slash) : most;
    if (bits < 0 || bits > most) return why_bits;
    if (mapped && bits < V4_MAPPED_BITS) return why_mapped;
    cidr->bits = (uint8_t)(mapped ? bits - V4_MAPPED_BITS : bits);
    return NULL;
}

static const char *cidr__parse(struct cidr *cidr, const char *text)
{
    char ip[CIDR_TEXT_MAX];
    struct addr addr;
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof ip) return why_text;
    memcpy(ip, text, len);
    ip[len] = '\0';
    if (address_parse_ip(&addr, ip) != 0) return why_text;
    *cidr = (struct cidr){.family = addr.family};
    memcpy(cidr->ip, addr.ip, sizeof cidr->ip);
    const char *why = cidr__bits(cidr, ip, &addr, slash ? slash + 1 : NULL);
    if (why) return why;
    return cidr__mask(cidr) ? why_host : NULL;
}

int cidr_parse(struct cidr *cidr, const char *text, const char **why)
{
    struct cidr parsed;
    const char *wrong = text ? cidr__parse(&parsed, text) : why_text;
    if (why) *why = wrong;
    if (wrong) return SALLY_ENETWORK;
    *cidr = parsed;
    return 0;
}

struct cidr cidr_around(const struct addr *addr, unsigned bits)
{
    struct cidr cidr = {.family = addr->family};
    unsigned most = cidr_bits_of(addr->family);
    cidr.bits = (uint8_t)(bits < most ? bits : most);
    memcpy(cidr.ip, addr->ip, most / 8);
    (void)cidr__mask(&cidr);
    return cidr;
}

bool cidr_covers(const struct cidr *cidr, const struct addr *addr)
{
    if (cidr->family != addr->family) return false;
    struct cidr around = cidr_around(addr, cidr->bits);
    return cidr_equal(cidr, &around);
}

bool cidr_equal(const struct cidr *a, const struct cidr *b)
{
    return a->family == b->family && a->bits == b->bits && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

const char *cidr_format(const struct cidr *cidr, char *buf, size_t size)
{
    struct addr addr = {.family = cidr->family};
    char ip[CIDR_TEXT_MAX];
    memcpy(addr.ip, cidr->ip, sizeof addr.ip);
    addr_format_ip(&addr, ip, sizeof ip);
    if (cidr->bits == cidr_bits_of(cidr->family))
        snprintf(buf, size, "%s", ip);
    else
        snprintf(buf, size, "%s/%u", ip, cidr->bits);
    return buf;
}
