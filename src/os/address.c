/* Addresses as text, strictly: what is not plainly one of the written forms is refused, since the
 * system's own readers take "1", "0x7f.1" and "010.0.0.1" for addresses and people take them for
 * others. Nothing is allocated but by the resolver, for the time of its call. Any thread. */
#include "os/address.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/ascii.h"
#include "os/network.h"
#include "sallyport/error.h"

enum { LABEL_MAX = 63 };

/* All of the text, digits only, no zero in front. */
static bool number_parse(const char *text, uint32_t max, uint32_t *number)
{
    uint32_t n = 0;
    if (!*text || (text[0] == '0' && text[1])) return false;
    for (; *text; text++) {
        if (!ascii_is_digit(*text)) return false;
        uint32_t digit = (uint32_t)(*text - '0');
        if (digit > max || n > (max - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *number = n;
    return true;
}

static bool port_parse(const char *text, uint16_t *port)
{
    uint32_t number;
    if (!number_parse(text, UINT16_MAX, &number)) return false;
    *port = (uint16_t)number;
    return true;
}

/* ---- Bytes ---- */

static void addr_set_v4(struct addr *addr, const void *ip)
{
    addr->family = ADDR_V4;
    memcpy(addr->ip, ip, 4);
}

/* A v4-mapped address is the IPv4 one: else it would pass by the rules made for that. */
static void addr_set_v6(struct addr *addr, const struct in6_addr *ip, uint32_t scope)
{
    if (IN6_IS_ADDR_V4MAPPED(ip)) {
        addr_set_v4(addr, ip->s6_addr + 12);
        return;
    }
    addr->family = ADDR_V6;
    addr->scope = scope;
    memcpy(addr->ip, ip->s6_addr, 16);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    if (a->family != b->family || a->port != b->port) return false;
    switch (a->family) {
    case ADDR_V4: return memcmp(a->ip, b->ip, 4) == 0;
    case ADDR_V6: return a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
    default: return true;
    }
}

/* ---- Reading ---- */

/* A zone is an interface's name or number. */
static bool zone_parse(const char *zone, uint32_t *scope)
{
    if (strlen(zone) >= IF_NAMESIZE) return false;
    *scope = if_nametoindex(zone);
    return *scope || (number_parse(zone, INT_MAX, scope) && *scope);
}

/* Four decimal numbers and nothing else; systems differ in what else they take. */
static bool v4_parse(const char *text, uint8_t ip[4])
{
    for (int i = 0; i < 4; i++) {
        char part[4] = "";
        size_t len = strcspn(text, ".");
        uint32_t number;
        if (len >= sizeof part) return false;
        memcpy(part, text, len);
        if (!number_parse(part, UINT8_MAX, &number)) return false;
        ip[i] = (uint8_t)number;
        text += len;
        if (i < 3 && *text++ != '.') return false;
    }
    return *text == '\0';
}

/* The end of an IPv6 address may be written as an IPv4 one. */
static bool v4_tail_is_valid(const char *text)
{
    uint8_t ip[4];
    const char *tail = strrchr(text, ':');
    return !strchr(text, '.') || (tail && v4_parse(tail + 1, ip));
}

/* What stands in brackets. Zones only where they mean something: on link-local addresses. */
static bool v6_parse(char *text, struct addr *addr)
{
    uint32_t scope = 0;
    struct in6_addr ip;
    char *zone = strchr(text, '%');
    if (zone) *zone++ = '\0';
    if (inet_pton(AF_INET6, text, &ip) != 1 || !v4_tail_is_valid(text)) return false;
    if (zone && (!IN6_IS_ADDR_LINKLOCAL(&ip) || !zone_parse(zone, &scope))) return false;
    addr_set_v6(addr, &ip, scope);
    return true;
}

/* What the system's resolver might read as a number. */
static bool label_is_number(const char *label, size_t len)
{
    bool hex = len >= 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X');
    for (size_t i = hex ? 2 : 0; i < len; i++) {
        if (!(hex ? ascii_hex(label[i]) >= 0 : ascii_is_digit(label[i]))) return false;
    }
    return true;
}

static bool label_is_valid(const char *label, size_t len)
{
    if (len < 1 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-') return false;
    for (size_t i = 0; i < len; i++) {
        char c = label[i];
        if (!ascii_is_letter(c) && !ascii_is_digit(c) && c != '-' && c != '_') return false;
    }
    return true;
}

/* Labels with dots between, maybe one dot at the end; the last label is not a number, since a name
 * that ends in one is a broken IPv4 address. */
bool address_name_is_valid(const char *name)
{
    size_t left = strlen(name);
    if (left > 1 && name[left - 1] == '.') left--;
    if (left > ADDRESS_NAME_MAX) return false;
    for (;;) {
        const char *dot = memchr(name, '.', left);
        size_t len = dot ? (size_t)(dot - name) : left;
        if (!label_is_valid(name, len)) return false;
        if (!dot) return !label_is_number(name, len);
        name += len + 1;
        left -= len + 1;
    }
}

static bool path_parse(struct address *address, const char *path)
{
    size_t len = strlen(path);
    if (len < 2 || len >= ADDRESS_PATH_MAX || (path[0] != '/' && path[0] != '@')) return false;
    address->kind = ADDRESS_PATH;
    memcpy(address->host, path, len + 1);
    return true;
}

static bool fd_parse(struct address *address, const char *text)
{
    uint32_t fd;
    if (!number_parse(text, INT_MAX, &fd)) return false;
    address->kind = ADDRESS_FD;
    address->fd = fd;
    return true;
}

static bool host_parse(struct address *address)
{
    uint8_t v4[4];
    if (strcmp(address->host, "*") == 0) {
        address->kind = ADDRESS_ANY;
    } else if (v4_parse(address->host, v4)) {
        address->kind = ADDRESS_IP;
        addr_set_v4(&address->ip, v4);
    } else {
        address->kind = ADDRESS_NAME;
        return address_name_is_valid(address->host);
    }
    return true;
}

/* "host:port" or "[v6]:port". `host` holds the host's text while it is looked at. */
static bool host_port_parse(struct address *address, const char *text)
{
    bool v6 = text[0] == '[';
    if (v6) text++;
    const char *end = strchr(text, v6 ? ']' : ':');
    if (!end || (size_t)(end - text) >= sizeof address->host) return false;
    memcpy(address->host, text, (size_t)(end - text));
    if (v6 && *++end != ':') return false;
    if (!port_parse(end + 1, &address->ip.port)) return false;
    address->kind = ADDRESS_IP;
    bool valid = v6 ? v6_parse(address->host, &address->ip) : host_parse(address);
    if (address->kind != ADDRESS_NAME) memset(address->host, 0, sizeof address->host);
    return valid;
}

int address_parse(struct address *address, const char *text)
{
    struct address parsed = {0};
    bool valid;
    if (!text) return SALLY_EADDRESS;
    if (strncmp(text, "unix:", 5) == 0)
        valid = path_parse(&parsed, text + 5);
    else if (strncmp(text, "fd:", 3) == 0)
        valid = fd_parse(&parsed, text + 3);
    else
        valid = host_port_parse(&parsed, text);
    if (!valid) return SALLY_EADDRESS;
    *address = parsed;
    return 0;
}

int address_parse_ip(struct addr *addr, const char *text)
{
    struct addr parsed = {0};
    uint8_t v4[4];
    char v6[INET6_ADDRSTRLEN];
    size_t len = strlen(text);
    if (v4_parse(text, v4)) {
        addr_set_v4(&parsed, v4);
    } else {
        if (len >= sizeof v6 || strchr(text, '%')) return SALLY_EADDRESS;
        memcpy(v6, text, len + 1);
        if (!v6_parse(v6, &parsed)) return SALLY_EADDRESS;
    }
    *addr = parsed;
    return 0;
}

int address_parse_peer(struct addr *addr, const char *text)
{
    struct address address;
    if (address_parse_ip(addr, text) == 0) return 0;
    int err = address_parse(&address, text);
    if (err || address.kind != ADDRESS_IP) return SALLY_EADDRESS;
    *addr = address.ip;
    return 0;
}

/* ---- Writing ---- */

static void v6_format(const struct addr *addr, char *buf, size_t size)
{
    char ip[INET6_ADDRSTRLEN], zone[IF_NAMESIZE];
    inet_ntop(AF_INET6, addr->ip, ip, sizeof ip);
    if (!addr->scope)
        snprintf(buf, size, "[%s]:%u", ip, addr->port);
    else if (if_indextoname(addr->scope, zone))
        snprintf(buf, size, "[%s%%%s]:%u", ip, zone, addr->port);
    else
        snprintf(buf, size, "[%s%%%u]:%u", ip, addr->scope, addr->port);
}

const char *addr_format(const struct addr *addr, char *buf, size_t size)
{
    const uint8_t *ip = addr->ip;
    switch (addr->family) {
    case ADDR_V4:
        snprintf(buf, size, "%u.%u.%u.%u:%u", ip[0], ip[1], ip[2], ip[3], addr->port);
        break;
    case ADDR_V6: v6_format(addr, buf, size); break;
    case ADDR_UNIX: snprintf(buf, size, "unix:"); break;
    default: snprintf(buf, size, "-"); break;
    }
    return buf;
}

const char *addr_format_ip(const struct addr *addr, char *buf, size_t size)
{
    const uint8_t *ip = addr->ip;
    if (addr->family == ADDR_V4)
        snprintf(buf, size, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
    else if (addr->family != ADDR_V6 || !inet_ntop(AF_INET6, ip, buf, (socklen_t)size))
        snprintf(buf, size, "-");
    return buf;
}

/* ---- Resolving ---- */

static bool addr_from(struct addr *addr, const struct sockaddr *sockaddr, uint16_t port)
{
    *addr = (struct addr){.port = port};
    if (sockaddr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sockaddr, sizeof in);
        addr_set_v4(addr, &in.sin_addr);
    } else if (sockaddr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sockaddr, sizeof in6);
        addr_set_v6(addr, &in6.sin6_addr, in6.sin6_scope_id);
    }
    return addr->family != ADDR_NONE;
}

static bool addr_is_among(const struct addr *addr, const struct addr *addrs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (addr_equal(addr, &addrs[i])) return true;
    }
    return false;
}

/* Twice the same (two lines of the hosts file) would be two attempts at one peer. */
/* RFC 6761 section 6.3: this name is the loopback's also where no hosts file says so, as in a bare
 * container. */
static bool is_localhost(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcasecmp(host, "localhost.") == 0;
}

static int resolve_localhost(uint16_t port, struct addr *addrs, unsigned max, unsigned *count)
{
    if (max == 0) return SALLY_ENONAME;
    addrs[0] = (struct addr){.family = ADDR_V4, .port = port, .ip = {127, 0, 0, 1}};
    *count = 1;
    return 0;
}

int os_resolve(const char *host, uint16_t port, struct addr *addrs, unsigned max, unsigned *count)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    *count = 0;
    if (os_network_start() != 0) return SALLY_ESYSTEM;
    int err = getaddrinfo(host, NULL, &hints, &found);
    if (err == EAI_MEMORY) return SALLY_ENOMEM;
    if (err) return is_localhost(host) ? resolve_localhost(port, addrs, max, count) : SALLY_ENONAME;
    for (const struct addrinfo *info = found; info && *count < max; info = info->ai_next) {
        struct addr addr;
        if (!addr_from(&addr, info->ai_addr, port) || addr_is_among(&addr, addrs, *count)) continue;
        addrs[(*count)++] = addr;
    }
    freeaddrinfo(found);
    return *count ? 0 : SALLY_ENONAME;
}
