/* Messages that a decoder of the program's own finds. What it says is checked: a mistake in it may
 * cost its connection, and nothing else. */
#include "filter/framing.h"

static int custom_take(struct framing *framing, const sally_framing *plain)
{
    if (!plain->decode) return SALLY_EINVAL;
    framing->decode = plain->decode;
    framing->encode = plain->encode;
    framing->user = plain->user;
    return 0;
}

static enum frame_found custom_more(const struct framing *framing, struct frame_scan *scan,
                                    size_t len, uint32_t wanted)
{
    if (len >= framing->bytes_max || wanted > framing->bytes_max) return FRAME_TOO_LONG;
    scan->seen = (uint32_t)len;
    scan->whole = wanted;
    return FRAME_MORE;
}

static enum frame_found custom_scan(const struct framing *framing, struct frame_scan *scan,
                                    const unsigned char *data, size_t len)
{
    /* never more than the limit: else it would depend on the pieces what it says about too much */
    if (len > framing->bytes_max) len = framing->bytes_max;
    sally_decoded_frame frame = {0};
    sally_decoded decoded = framing->decode(framing->user, data, len, &frame);
    if (decoded == SALLY_DECODED_MORE) return custom_more(framing, scan, len, frame.bytes_wanted);
    if (decoded != SALLY_DECODED_MESSAGE) return FRAME_BAD;
    uint32_t bytes_min = scan->whole > scan->seen ? scan->whole : scan->seen; /* it said before */
    if (frame.frame_bytes < 1 || frame.frame_bytes > len || frame.frame_bytes < bytes_min)
        return FRAME_BAD;
    if (frame.payload_at > frame.frame_bytes ||
        frame.payload_bytes > frame.frame_bytes - frame.payload_at)
        return FRAME_BAD;
    scan->seen = frame.frame_bytes;
    scan->head = frame.payload_at;
    scan->tail = frame.frame_bytes - frame.payload_at - frame.payload_bytes;
    return framing_found(framing, scan);
}

static int custom_wrap(const struct framing *framing, const void *data, size_t len,
                       sally_frame_edges *edges)
{
    if (!framing->encode) return SALLY_ENOTSUP;
    int err = framing->encode(framing->user, data, len, edges);
    if (err) return err;
    bool fits =
        edges->head_bytes <= SALLY_FRAME_HEAD_MAX && edges->tail_bytes <= SALLY_FRAME_MARK_MAX;
    return fits ? 0 : SALLY_EINVAL;
}

const struct frame_kind frame_custom_kind = {
    .take = custom_take, .scan = custom_scan, .wrap = custom_wrap, .from_the_beginning = true};
