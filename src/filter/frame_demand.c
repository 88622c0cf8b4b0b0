/* Messages whose size the program says before each: scan->whole is set by the framer. */
#include "filter/framing.h"

static int demand_take(struct framing *framing, const sally_framing *plain)
{
    if (plain->keep_frame || plain->refuse_empty) return SALLY_EINVAL; /* there is no frame */
    framing->on_demand = true;
    return 0;
}

static enum frame_found demand_scan(const struct framing *framing, struct frame_scan *scan,
                                    const unsigned char *data, size_t len)
{
    (void)framing;
    (void)data;
    if (len < scan->whole - scan->seen) {
        scan->seen += (uint32_t)len;
        return FRAME_MORE;
    }
    scan->seen = scan->whole;
    return FRAME_WHOLE;
}

/* Where a message ends is not in the bytes. */
static int demand_wrap(const struct framing *framing, const void *data, size_t len,
                       sally_frame_edges *edges)
{
    (void)framing;
    (void)data;
    (void)len;
    (void)edges;
    return SALLY_ENOTSUP;
}

const struct frame_kind frame_demand_kind = {
    .take = demand_take, .scan = demand_scan, .wrap = demand_wrap};
