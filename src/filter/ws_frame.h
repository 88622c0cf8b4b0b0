/* WebSocket frames (RFC 6455 section 5): heads read and written, masks, what a close frame says.
 * Bytes in, an answer out: no I/O, no memory of its own, no state. Any thread. */
#ifndef FILTER_WS_FRAME_H
#define FILTER_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/framing.h"
#include "sallyport/websocket.h"

enum {
    WS_HEAD_MAX = 14, /* two bytes, a length of eight, a mask of four */
    WS_MASK_BYTES = 4,
    WS_CONTROL_MAX = 125, /* bytes of a control frame's payload */
};

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = SALLY_WS_TEXT,
    WS_BINARY = SALLY_WS_BINARY,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

static inline bool ws_is_control(unsigned opcode) { return opcode & 8; }

struct ws_head {
    bool final;
    bool masked;
    uint8_t opcode;
    uint8_t head_bytes;
    unsigned char mask[WS_MASK_BYTES];
    uint64_t payload_bytes;
};

enum ws_answer { WS_MORE, WS_READ, WS_BAD };

/* Reads the head that begins there. `from_client`: it has to be masked, else it must not be. WS_BAD
 * as soon as it can be known: reserved bits, an opcode that nobody has defined, a control frame
 * that is long or not final, the wrong side's mask, a length that could have been written shorter
 * or has more than 63 bits. */
enum ws_answer ws_head_read(struct ws_head *head, const void *data, size_t len, bool from_client);

/* Writes the head of a frame with so many bytes; how long it is, at most WS_HEAD_MAX. `mask` NULL:
 * none. */
size_t ws_head_write(unsigned char *to, bool final, enum ws_opcode opcode, uint64_t payload_bytes,
                     const unsigned char *mask);

/* Masks, or unmasks, which is the same (section 5.3). `to` may be `from`. */
void ws_mask(void *to, const void *from, size_t len, const unsigned char mask[WS_MASK_BYTES]);

/* A decoder's answer (sallyport/framing.h) for a stream that begins with an HTTP head and goes on
 * with frames; both as one message, whole. Which of the two stands there the first byte tells: a
 * head begins with a letter, and such a byte has bits set that are reserved in a frame. */
sally_decoded ws_decode(bool from_client, uint32_t payload_max, const void *data, size_t len,
                        sally_decoded_frame *frame);

/* Whether it is a head, of what ws_decode has found. */
static inline bool ws_is_http(const void *frame) { return *(const unsigned char *)frame & 0x70; }

/* ---- Closing: section 7.4 ---- */

/* A code that may be on the wire. */
bool ws_close_code_is_valid(unsigned code);

struct ws_close {
    uint16_t code; /* 1005: there was none */
    const char *reason;
    uint32_t reason_len;
};

/* What a close frame's payload says. 0, or the code to fail with: 1002, or 1007 for a reason that
 * is not UTF-8. */
unsigned ws_close_read(struct ws_close *close, const void *payload, size_t len);

/* The payload of one, at most WS_CONTROL_MAX bytes; how many. Code 1005: none. */
size_t ws_close_write(unsigned char *to, unsigned code, const char *reason, size_t reason_len);

#endif
