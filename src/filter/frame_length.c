/* Messages with a length in their header. The header is read byte by byte, so that it makes no
 * difference where it was split; what it says is compared by subtraction with what is allowed, so
 * that no sum can wrap. */
#include <string.h>

#include "filter/framing.h"

enum { FIELD_MAX = 8, BYTE_BITS = 8, VARINT_BITS = 7 };

/* The last byte of a varint of ten has one bit of the 64 left. */
#define VARINT_LAST_MAX 1

static int length_take(struct framing *framing, const sally_framing *plain)
{
    uint32_t width = plain->length_varint ? 0 : plain->length_bytes ? plain->length_bytes : 4;
    uint32_t field_max = plain->length_varint ? FRAMING_VARINT_MAX : width;
    uint32_t offset = plain->length_offset, strip = plain->strip_bytes, bits = plain->length_bits;
    if (width > FIELD_MAX || (plain->length_varint && (plain->length_bytes || bits)))
        return SALLY_EINVAL;
    if (plain->length_varint && plain->little_endian) return SALLY_EINVAL;
    if (offset > SALLY_FRAME_HEAD_MAX - field_max) return SALLY_EINVAL;
    bool strips_part = strip > offset && (plain->length_varint || strip < offset + width);
    if (strips_part || strip > SALLY_FRAME_HEAD_MAX) return SALLY_EINVAL;
    if (bits > width * BYTE_BITS || (plain->length_tag && !bits)) return SALLY_EINVAL;
    uint32_t tag_bits = bits ? width * BYTE_BITS - bits : 0;
    if (tag_bits < 32 && plain->length_tag >> tag_bits) return SALLY_EINVAL;
    if (offset + field_max > framing->bytes_max || strip > framing->bytes_max) return SALLY_EINVAL;
    framing->varint = plain->length_varint;
    framing->little_endian = plain->little_endian;
    framing->offset = (uint8_t)offset;
    framing->width = (uint8_t)width;
    framing->bits = (uint8_t)(bits == width * BYTE_BITS ? 0 : bits);
    framing->strip = (uint8_t)strip;
    framing->tag = plain->length_tag;
    framing->adjust = plain->length_adjust;
    return 0;
}

/* ---- Reading ---- */

/* One byte of the header: MORE, WHOLE when it was the field's last, or BAD. */
static enum frame_found length_byte(const struct framing *framing, struct frame_scan *scan,
                                    unsigned char byte)
{
    uint32_t at = scan->seen++;
    if (at < framing->offset) return FRAME_MORE;
    at -= framing->offset;
    if (framing->varint) {
        if (at == FRAMING_VARINT_MAX - 1 && byte > VARINT_LAST_MAX) return FRAME_BAD;
        scan->value |= (uint64_t)(byte & 0x7f) << (VARINT_BITS * at);
        return byte & 0x80 ? FRAME_MORE : FRAME_WHOLE;
    }
    if (framing->little_endian)
        scan->value |= (uint64_t)byte << (BYTE_BITS * at);
    else
        scan->value = scan->value << BYTE_BITS | byte;
    return at + 1u < framing->width ? FRAME_MORE : FRAME_WHOLE;
}

/* The field has come: how long the message is. WHOLE when that is legal. */
static enum frame_found length_judge(const struct framing *framing, struct frame_scan *scan)
{
    uint64_t value = scan->value;
    const uint32_t header = scan->seen;
    if (framing->bits) {
        if (framing->tag && value >> framing->bits != framing->tag) return FRAME_BAD;
        value &= ((uint64_t)1 << framing->bits) - 1;
    }
    uint64_t more = framing->adjust > 0 ? (uint64_t)framing->adjust : 0;
    uint64_t less = framing->adjust < 0 ? (uint64_t) - (int64_t)framing->adjust : 0;
    if (value < less) return FRAME_BAD;
    value -= less;
    uint32_t room = framing->bytes_max - header;
    if (value > room || more > room - value) return FRAME_TOO_LONG;
    scan->whole = header + (uint32_t)(value + more);
    scan->head = framing->strip ? framing->strip : header;
    return scan->head <= scan->whole ? FRAME_WHOLE : FRAME_BAD;
}

static enum frame_found length_header(const struct framing *framing, struct frame_scan *scan,
                                      const unsigned char **data, size_t *len)
{
    enum frame_found found = FRAME_MORE;
    while (found == FRAME_MORE && *len) {
        found = length_byte(framing, scan, **data);
        (*data)++;
        (*len)--;
    }
    return found == FRAME_WHOLE ? length_judge(framing, scan) : found;
}

static enum frame_found length_scan(const struct framing *framing, struct frame_scan *scan,
                                    const unsigned char *data, size_t len)
{
    if (!scan->whole) {
        enum frame_found found = length_header(framing, scan, &data, &len);
        if (found != FRAME_WHOLE) return found;
    }
    if (len < scan->whole - scan->seen) {
        scan->seen += (uint32_t)len;
        return FRAME_MORE;
    }
    scan->seen = scan->whole;
    return framing_found(framing, scan);
}

/* ---- Writing ---- */

static uint32_t varint_put(unsigned char *to, uint64_t value)
{
    uint32_t n = 0;
    for (; value > 0x7f; value >>= VARINT_BITS) to[n++] = (unsigned char)(value | 0x80);
    to[n++] = (unsigned char)value;
    return n;
}

static void field_put(const struct framing *framing, unsigned char *to, uint64_t value)
{
    for (uint32_t i = 0; i < framing->width; i++) {
        uint32_t at = framing->little_endian ? i : framing->width - 1u - i;
        to[at] = (unsigned char)(value >> (BYTE_BITS * i));
    }
}

static int length_wrap(const struct framing *framing, const void *data, size_t len,
                       sally_frame_edges *edges)
{
    (void)data;
    uint32_t field_end = framing->offset + framing->width;
    if (framing->strip && framing->strip <= framing->offset) {
        edges->head_bytes = framing->strip; /* the field comes with the data */
        return 0;
    }
    uint32_t after = framing->strip ? framing->strip - field_end : 0; /* cut off behind the field */
    int64_t value = (int64_t)len + after - framing->adjust;
    if (value < 0) return SALLY_EINVAL;
    uint32_t bits = framing->bits ? framing->bits : framing->width * BYTE_BITS;
    if (!framing->varint && bits < 64 && (uint64_t)value >> bits) return SALLY_ELIMIT;
    if (framing->varint) {
        edges->head_bytes =
            framing->offset + varint_put(edges->head + framing->offset, (uint64_t)value);
        return 0;
    }
    uint64_t tag = framing->bits ? (uint64_t)framing->tag << framing->bits : 0;
    field_put(framing, edges->head + framing->offset, tag | (uint64_t)value);
    edges->head_bytes = field_end + after;
    return 0;
}

const struct frame_kind frame_length_kind = {
    .take = length_take, .scan = length_scan, .wrap = length_wrap};
