/* One byte at a time, so that a split can't matter: a connection has one header, of 50 bytes as a
 * rule. See proxy_header.h. */
#include "filter/proxy_header.h"

#include <string.h>

#include "os/address.h"

enum phase { PHASE_FIRST, PHASE_LINE, PHASE_HEAD, PHASE_BODY };

enum {
    HEAD_BYTES = 16,
    SIGNATURE_BYTES = 12,
    AT_COMMAND = 12,
    AT_FAMILY = 13,
    AT_LENGTH = 14,
    COMMAND_LOCAL = 0x20,
    COMMAND_PROXY = 0x21,
    FAMILY_V4 = 1,
    FAMILY_V6 = 2,
    FAMILY_UNIX = 3,
    PROTOCOL_MOST = 2, /* 0 unspecified, 1 stream, 2 datagram */
    V4_BYTES = 12,
    V6_BYTES = 36,
    UNIX_BYTES = 216,
    TLV_HEAD = 3,
    TLV_CRC32C = 3,
    CRC_BYTES = 4,
    FIELD_MAX = 46, /* INET6_ADDRSTRLEN */
};

static const char line_begin[] = "PROXY ";
static const uint8_t signature[SIGNATURE_BYTES] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                   0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

void proxy_header_init(struct proxy_header *header, uint32_t bytes_max)
{
    *header = (struct proxy_header){.bytes_max = bytes_max, .crc = UINT32_MAX};
}

bool proxy_header_begun(const struct proxy_header *header) { return header->phase != PHASE_FIRST; }

/* ---- Version 1 ---- */

struct field {
    const char *text;
    size_t len;
};

/* Up to a space, which is taken too, or to the end. */
static struct field field_next(struct field *rest)
{
    const char *space = memchr(rest->text, ' ', rest->len);
    struct field field = {rest->text, space ? (size_t)(space - rest->text) : rest->len};
    size_t taken = field.len + (space != NULL);
    rest->text += taken;
    rest->len -= taken;
    return field;
}

static bool field_is(struct field field, const char *text)
{
    return field.len == strlen(text) && memcmp(field.text, text, field.len) == 0;
}

/* A dotted end is IPv6 too: what inet_ntop(3) writes for a v4-mapped address is what proxies send.
 */
static bool read_ip(struct addr *addr, struct field field, bool v6)
{
    char text[FIELD_MAX];
    if (field.len >= sizeof text || memchr(field.text, 0, field.len)) return false;
    memcpy(text, field.text, field.len);
    text[field.len] = 0;
    bool colon = strchr(text, ':');
    return colon == v6 && address_parse_ip(addr, text) == 0;
}

/* Decimal, no zero in front: another reader might take that for octal. */
static bool read_port(struct addr *addr, struct field field)
{
    uint32_t port = 0;
    if (field.len < 1 || field.len > 5 || (field.text[0] == '0' && field.len > 1)) return false;
    for (size_t i = 0; i < field.len; i++) {
        if (field.text[i] < '0' || field.text[i] > '9') return false;
        port = port * 10 + (uint32_t)(field.text[i] - '0');
    }
    addr->port = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool read_addresses(struct proxy_header *header, struct field rest, bool v6)
{
    struct field source = field_next(&rest), dest = field_next(&rest);
    struct field source_port = field_next(&rest), dest_port = field_next(&rest);
    bool ended = dest_port.text + dest_port.len == rest.text && rest.len == 0; /* no space */
    return ended && read_ip(&header->source, source, v6) && read_ip(&header->dest, dest, v6) &&
           read_port(&header->source, source_port) && read_port(&header->dest, dest_port);
}

/* The line is whole, with its end. */
static bool line_read(struct proxy_header *header)
{
    const size_t begin = sizeof line_begin - 1;
    struct field rest = {(const char *)header->bytes + begin, header->len - begin - 2u};
    struct field kind = field_next(&rest);
    header->version = 1;
    if (field_is(kind, "UNKNOWN")) return true; /* whatever else it says is not to be looked at */
    if (field_is(kind, "TCP4")) return read_addresses(header, rest, false);
    return field_is(kind, "TCP6") && read_addresses(header, rest, true);
}

static enum proxy_answer line_take(struct proxy_header *header, uint8_t byte)
{
    uint8_t before = header->len ? header->bytes[header->len - 1] : 0;
    size_t at = header->len;
    header->bytes[header->len++] = byte;
    if (at < sizeof line_begin - 1)
        return byte == (uint8_t)line_begin[at] ? PROXY_MORE : PROXY_MALFORMED;
    if ((byte == '\n') != (before == '\r')) return PROXY_MALFORMED; /* only together */
    if (byte == '\n') return line_read(header) ? PROXY_DONE : PROXY_MALFORMED;
    return header->len < PROXY_LINE_MAX ? PROXY_MORE : PROXY_MALFORMED;
}

/* ---- Version 2: the checksum (RFC 4960 appendix B), over a header whose own is zero ---- */

static void crc_add(struct proxy_header *header, uint8_t byte)
{
    const uint32_t castagnoli = 0x82f63b78;
    uint32_t crc = header->crc ^ byte;
    for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (castagnoli & (0 - (crc & 1)));
    header->crc = crc;
}

/* ---- Version 2: the first 16 bytes ---- */

/* How many bytes the addresses have; 0: there are none that count. */
static unsigned addresses_bytes(const struct proxy_header *header)
{
    unsigned family = header->bytes[AT_FAMILY] >> 4, protocol = header->bytes[AT_FAMILY] & 15;
    if (header->bytes[AT_COMMAND] == COMMAND_LOCAL || !family || !protocol) return 0;
    return family == FAMILY_V4 ? V4_BYTES : family == FAMILY_V6 ? V6_BYTES : UNIX_BYTES;
}

/* A LOCAL command's family means nothing; the others have those that version 2 knows. */
static bool family_is_known(const struct proxy_header *header)
{
    unsigned family = header->bytes[AT_FAMILY] >> 4, protocol = header->bytes[AT_FAMILY] & 15;
    return header->bytes[AT_COMMAND] == COMMAND_LOCAL ||
           (family <= FAMILY_UNIX && protocol <= PROTOCOL_MOST);
}

static enum proxy_answer head_end(struct proxy_header *header)
{
    unsigned addresses = addresses_bytes(header);
    header->left = (uint32_t)header->bytes[AT_LENGTH] << 8 | header->bytes[AT_LENGTH + 1];
    header->version = 2;
    if (HEAD_BYTES + header->left > header->bytes_max || header->left < addresses)
        return PROXY_MALFORMED;
    header->phase = PHASE_BODY;
    header->tlvs = addresses > 0;
    header->keep = (uint8_t)addresses;
    return header->left ? PROXY_MORE : PROXY_DONE;
}

static enum proxy_answer head_take(struct proxy_header *header, uint8_t byte)
{
    unsigned at = header->len++;
    bool good = true;
    header->bytes[at] = byte;
    crc_add(header, byte);
    if (at < SIGNATURE_BYTES)
        good = byte == signature[at];
    else if (at == AT_COMMAND)
        good = byte == COMMAND_LOCAL || byte == COMMAND_PROXY;
    else if (at == AT_FAMILY)
        good = family_is_known(header);
    if (!good) return PROXY_MALFORMED;
    return header->len < HEAD_BYTES ? PROXY_MORE : head_end(header);
}

/* ---- Version 2: addresses ---- */

static void take_ip(struct addr *addr, const uint8_t *ip, const uint8_t *port, bool v6)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 section 2.5.5.2 */
    *addr = (struct addr){.family = ADDR_V4, .port = (uint16_t)(port[0] << 8 | port[1])};
    if (v6 && memcmp(ip, mapped, sizeof mapped) == 0) {
        memcpy(addr->ip, ip + sizeof mapped, 4);
        return;
    }
    if (v6) addr->family = ADDR_V6;
    memcpy(addr->ip, ip, v6 ? 16 : 4);
}

/* They are whole. Those of Unix sockets name nobody whom a rule could be for. */
static void addresses_read(struct proxy_header *header)
{
    const uint8_t *at = header->bytes + HEAD_BYTES;
    unsigned family = header->bytes[AT_FAMILY] >> 4;
    bool v6 = family == FAMILY_V6;
    size_t ip = v6 ? 16 : 4;
    if (family == FAMILY_UNIX) return;
    take_ip(&header->source, at, at + 2 * ip, v6);
    take_ip(&header->dest, at + ip, at + 2 * ip + 2, v6);
}

static void address_take(struct proxy_header *header, uint8_t byte)
{
    if (header->len < PROXY_LINE_MAX) header->bytes[header->len++] = byte;
    if (--header->keep == 0) addresses_read(header);
}

/* ---- Version 2: types, lengths and values ---- */

/* A head is whole: a checksum has four bytes and comes once. A value that doesn't fit into what is
 * left is seen at the end. */
static bool tlv_begin(struct proxy_header *header)
{
    if (header->tlv_type != TLV_CRC32C) return true;
    bool good = header->tlv_left == CRC_BYTES && !header->checked;
    header->checked = true;
    return good;
}

/* False: it can't be. `left` is without this byte. */
static bool tlv_take(struct proxy_header *header, uint8_t byte)
{
    if (header->tlv_len < TLV_HEAD) {
        if (header->tlv_len++ == 0) {
            header->tlv_type = byte;
            header->tlv_left = 0;
            return true;
        }
        header->tlv_left = header->tlv_left << 8 | byte;
        if (header->tlv_len < TLV_HEAD) return true;
        if (!tlv_begin(header)) return false;
    } else {
        if (header->tlv_type == TLV_CRC32C) header->crc_told = header->crc_told << 8 | byte;
        header->tlv_left--;
    }
    if (!header->tlv_left) header->tlv_len = 0;
    return true;
}

static enum proxy_answer body_end(const struct proxy_header *header)
{
    if (header->tlv_len) return PROXY_MALFORMED; /* one was begun */
    bool wrong = header->checked && header->crc_told != (header->crc ^ UINT32_MAX);
    return wrong ? PROXY_MALFORMED : PROXY_DONE;
}

static enum proxy_answer body_take(struct proxy_header *header, uint8_t byte)
{
    bool of_crc = header->tlv_len == TLV_HEAD && header->tlv_type == TLV_CRC32C;
    header->left--;
    crc_add(header, of_crc ? 0 : byte);
    if (header->keep)
        address_take(header, byte);
    else if (header->tlvs && !tlv_take(header, byte))
        return PROXY_MALFORMED;
    return header->left ? PROXY_MORE : body_end(header);
}

/* ---- Both ---- */

static enum proxy_answer header_take(struct proxy_header *header, uint8_t byte)
{
    if (header->phase == PHASE_FIRST)
        header->phase = byte == (uint8_t)line_begin[0] ? PHASE_LINE : PHASE_HEAD;
    switch ((enum phase)header->phase) {
    case PHASE_LINE: return line_take(header, byte);
    case PHASE_HEAD: return head_take(header, byte);
    case PHASE_BODY: return body_take(header, byte);
    case PHASE_FIRST: break;
    }
    return PROXY_MALFORMED;
}

enum proxy_answer proxy_header_feed(struct proxy_header *header, const void *data, size_t len,
                                    size_t *used)
{
    const uint8_t *bytes = data;
    enum proxy_answer answer = PROXY_MORE;
    *used = 0;
    while (*used < len && answer == PROXY_MORE) answer = header_take(header, bytes[(*used)++]);
    return answer;
}
