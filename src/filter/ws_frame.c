/* See ws_frame.h. */
#include "filter/ws_frame.h"

#include <string.h>

#include "filter/http_text.h"
#include "filter/utf8.h"

enum {
    FINAL = 0x80,
    RESERVED = 0x70,
    OPCODE = 0x0f,
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126, /* two bytes with the length follow */
    LENGTH_64 = 127, /* eight */
};

/* ---- Heads ---- */

static bool opcode_is_known(unsigned opcode)
{
    return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* The first byte alone may tell that it is none. */
static bool first_is_good(struct ws_head *head, unsigned byte)
{
    head->final = byte & FINAL;
    head->opcode = byte & OPCODE;
    if ((byte & RESERVED) || !opcode_is_known(head->opcode)) return false;
    return head->final || !ws_is_control(head->opcode);
}

static bool second_is_good(struct ws_head *head, unsigned byte, bool from_client)
{
    head->masked = byte & MASKED;
    if (head->masked != from_client) return false;
    return !ws_is_control(head->opcode) || (byte & LENGTH) <= WS_CONTROL_MAX;
}

/* The field of so many bytes; one that could be shorter has to be (section 5.2). */
static bool length_is_good(struct ws_head *head, const unsigned char *field, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | field[i];
    head->payload_bytes = value;
    return bytes == 2 ? value >= LENGTH_16 : value > UINT16_MAX && value <= INT64_MAX;
}

enum ws_answer ws_head_read(struct ws_head *head, const void *data, size_t len, bool from_client)
{
    const unsigned char *bytes = data;
    memset(head, 0, sizeof *head);
    if (len < 1) return WS_MORE;
    if (!first_is_good(head, bytes[0])) return WS_BAD;
    if (len < 2) return WS_MORE;
    if (!second_is_good(head, bytes[1], from_client)) return WS_BAD;
    unsigned length = bytes[1] & LENGTH;
    unsigned field = length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
    if (len < 2 + field) return WS_MORE;
    head->payload_bytes = length;
    if (field && !length_is_good(head, bytes + 2, field)) return WS_BAD;
    head->head_bytes = (uint8_t)(2 + field + (head->masked ? WS_MASK_BYTES : 0));
    if (len < head->head_bytes) return WS_MORE;
    if (head->masked) memcpy(head->mask, bytes + 2 + field, WS_MASK_BYTES);
    return WS_READ;
}

size_t ws_head_write(unsigned char *to, bool final, enum ws_opcode opcode, uint64_t payload_bytes,
                     const unsigned char *mask)
{
    unsigned field = payload_bytes > UINT16_MAX ? 8 : payload_bytes >= LENGTH_16 ? 2 : 0;
    unsigned length = field == 8 ? LENGTH_64 : field ? LENGTH_16 : (unsigned)payload_bytes;
    size_t at = 2;
    to[0] = (unsigned char)((final ? FINAL : 0) | (unsigned)opcode);
    to[1] = (unsigned char)((mask ? MASKED : 0) | length);
    for (unsigned i = field; i > 0; i--) to[at++] = (unsigned char)(payload_bytes >> (8 * (i - 1)));
    if (mask) memcpy(to + at, mask, WS_MASK_BYTES);
    return mask ? at + WS_MASK_BYTES : at;
}

void ws_mask(void *to, const void *from, size_t len, const unsigned char mask[WS_MASK_BYTES])
{
    unsigned char *out = to;
    const unsigned char *in = from;
    uint64_t eight, wide;
    size_t at = 0;
    memcpy(&wide, mask, WS_MASK_BYTES);
    memcpy((unsigned char *)&wide + WS_MASK_BYTES, mask, WS_MASK_BYTES);
    for (; len - at >= sizeof eight; at += sizeof eight) {
        memcpy(&eight, in + at, sizeof eight);
        eight ^= wide;
        memcpy(out + at, &eight, sizeof eight);
    }
    for (; at < len; at++) out[at] = in[at] ^ mask[at % WS_MASK_BYTES];
}

/* ---- A stream of them ---- */

static sally_decoded too_long(sally_decoded_frame *frame)
{
    frame->bytes_wanted = UINT32_MAX; /* more than any limit allows */
    return SALLY_DECODED_MORE;
}

/* What can't become a head is told at its second byte, so that a frame with reserved bits, which
 * looks like one at its first, is not waited for to end. */
static bool may_be_http(bool from_client, const unsigned char *bytes, size_t len)
{
    static const char begin[] = "HTTP/1.";
    size_t known = len < sizeof begin - 1 ? len : sizeof begin - 1;
    if (!from_client) return memcmp(bytes, begin, known) == 0;
    return bytes[0] < 0x7f && (len < 2 || (bytes[1] >= ' ' && bytes[1] < 0x7f));
}

static sally_decoded decode_http(bool from_client, const unsigned char *bytes, size_t len,
                                 sally_decoded_frame *frame)
{
    if (!may_be_http(from_client, bytes, len)) return SALLY_DECODED_ERROR;
    size_t most = len < SALLY_HTTP_HEAD_MAX ? len : SALLY_HTTP_HEAD_MAX;
    size_t head = http_head_find_end(bytes, most, SALLY_HTTP_FIELDS_MAX + 2);
    if (head == SIZE_MAX || (!head && len >= SALLY_HTTP_HEAD_MAX)) return too_long(frame);
    if (!head) return SALLY_DECODED_MORE;
    frame->frame_bytes = frame->payload_bytes = (uint32_t)head;
    return SALLY_DECODED_MESSAGE;
}

sally_decoded ws_decode(bool from_client, uint32_t payload_max, const void *data, size_t len,
                        sally_decoded_frame *frame)
{
    if (ws_is_http(data)) return decode_http(from_client, data, len, frame);
    struct ws_head head;
    enum ws_answer answer = ws_head_read(&head, data, len, from_client);
    if (answer == WS_BAD) return SALLY_DECODED_ERROR;
    if (answer == WS_MORE) return SALLY_DECODED_MORE;
    if (head.payload_bytes > payload_max) return too_long(frame);
    uint32_t bytes = head.head_bytes + (uint32_t)head.payload_bytes;
    frame->bytes_wanted = bytes;
    if (len < bytes) return SALLY_DECODED_MORE;
    frame->frame_bytes = frame->payload_bytes = bytes;
    return SALLY_DECODED_MESSAGE;
}

/* ---- Closing ---- */

/* 1004 to 1006 and 1015 are never sent, 1012 to 1014 were registered later, 3000 to 3999 are for
 * frameworks, 4000 to 4999 for programs (section 7.4 and IANA's registry). */
bool ws_close_code_is_valid(unsigned code)
{
    if (code >= 3000) return code <= 4999;
    return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

unsigned ws_close_read(struct ws_close *close, const void *payload, size_t len)
{
    const unsigned char *bytes = payload;
    *close = (struct ws_close){.code = SALLY_WS_NO_CODE};
    if (len == 0) return 0;
    if (len == 1) return SALLY_WS_PROTOCOL_ERROR;
    unsigned code = (unsigned)bytes[0] << 8 | bytes[1];
    if (!ws_close_code_is_valid(code)) return SALLY_WS_PROTOCOL_ERROR;
    if (!utf8_is_valid(bytes + 2, len - 2)) return SALLY_WS_NOT_UTF8;
    close->code = (uint16_t)code;
    close->reason = (const char *)bytes + 2;
    close->reason_len = (uint32_t)len - 2;
    return 0;
}

size_t ws_close_write(unsigned char *to, unsigned code, const char *reason, size_t reason_len)
{
    if (code == SALLY_WS_NO_CODE) return 0;
    to[0] = (unsigned char)(code >> 8);
    to[1] = (unsigned char)code;
    if (reason_len) memcpy(to + 2, reason, reason_len);
    return 2 + reason_len;
}
