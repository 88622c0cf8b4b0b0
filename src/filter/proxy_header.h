/* The header of the PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): what a
 * proxy says first about the client behind it. Bytes in, an answer out; any split gives the same
 * one. No memory of its own, no clock; any thread, one at a time for one header.
 *
 * The bytes come from a peer that is trusted to tell the truth, which is not to be trusted to be
 * well: nothing that comes reaches an assert, and what is not exactly a header is refused.
 *
 * Version 1 is a line of at most 107 bytes, version 2 has 16 bytes, addresses, and values with a
 * type and a length (TLV), which are walked and dropped; the checksum among them (PP2_TYPE_CRC32C)
 * is judged when it is there. Of a LOCAL command, and where family or protocol are unspecified,
 * everything behind the first 16 bytes is skipped unread, as section 2.2 asks for. */
#ifndef FILTER_PROXY_HEADER_H
#define FILTER_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
    PROXY_LINE_MAX = 107,        /* version 1, CR LF included */
    PROXY_HEADER_LEAST = 232,    /* a bound must leave room for every address: 16 + 2 * 108 */
    PROXY_HEADER_MOST = 65551,   /* 16 + what its length field can say */
    PROXY_HEADER_DEFAULT = 4096, /* certificates' names fit, and nobody needs more */
};

enum proxy_answer { PROXY_MORE, PROXY_DONE, PROXY_MALFORMED };

struct proxy_header {
    /* of PROXY_DONE; a v4-mapped address is the IPv4 one */
    struct addr source; /* the client; ADDR_NONE: it isn't said, the socket's own is to be used */
    struct addr dest;   /* what the client connected to; ADDR_NONE likewise */
    uint8_t version;

    /* the reader's own */
    uint8_t phase;
    uint8_t len;  /* of bytes */
    uint8_t keep; /* of what is left, the addresses: so many go to `bytes` */
    uint8_t tlv_type;
    uint8_t tlv_len; /* of the TLV's head */
    bool checked;    /* a checksum came */
    bool tlvs;       /* what is left is to be walked */
    uint32_t bytes_max;
    uint32_t left;     /* of version 2, after the first 16 */
    uint32_t tlv_left; /* of the TLV's value */
    uint32_t crc;
    uint32_t crc_told;
    uint8_t bytes[PROXY_LINE_MAX];
};

/* `bytes_max` bounds version 2's whole header. */
void proxy_header_init(struct proxy_header *header, uint32_t bytes_max);

/* Takes bytes: after PROXY_MORE all of them, after PROXY_DONE those of the header, and the rest is
 * data. Not to be called again after another answer than PROXY_MORE. */
enum proxy_answer proxy_header_feed(struct proxy_header *header, const void *data, size_t len,
                                    size_t *used);

/* Whether any byte came. */
bool proxy_header_begun(const struct proxy_header *header);

#endif
