/* Messages that are all of one size. */
#include "filter/framing.h"

static int fixed_take(struct framing *framing, const sally_framing *plain)
{
    if (!plain->fixed_bytes || plain->fixed_bytes > framing->bytes_max) return SALLY_EINVAL;
    framing->fixed_bytes = plain->fixed_bytes;
    return 0;
}

static enum frame_found fixed_scan(const struct framing *framing, struct frame_scan *scan,
                                   const unsigned char *data, size_t len)
{
    (void)data;
    scan->whole = framing->fixed_bytes;
    if (len < scan->whole - scan->seen) {
        scan->seen += (uint32_t)len;
        return FRAME_MORE;
    }
    scan->seen = scan->whole;
    return FRAME_WHOLE;
}

static int fixed_wrap(const struct framing *framing, const void *data, size_t len,
                      sally_frame_edges *edges)
{
    (void)data;
    (void)edges;
    return len == framing->fixed_bytes ? 0 : SALLY_EINVAL;
}

const struct frame_kind frame_fixed_kind = {
    .take = fixed_take, .scan = fixed_scan, .wrap = fixed_wrap};
