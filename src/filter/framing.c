/* From a program's description to one that is ready for use, and what is put around a payload; see
 * framing.h. */
#include "filter/framing.h"

#include <string.h>

/* ---- Making ---- */

static const struct frame_kind *const kinds[] = {
    [SALLY_FRAMING_LENGTH] = &frame_length_kind,       [SALLY_FRAMING_FIXED] = &frame_fixed_kind,
    [SALLY_FRAMING_DELIMITER] = &frame_delimiter_kind, [SALLY_FRAMING_LINE] = &frame_line_kind,
    [SALLY_FRAMING_MARKS] = &frame_marks_kind,         [SALLY_FRAMING_CUSTOM] = &frame_custom_kind,
    [SALLY_FRAMING_ON_DEMAND] = &frame_demand_kind,
};

static bool says_length(const sally_framing *plain)
{
    return plain->length_offset || plain->length_bytes || plain->length_varint ||
           plain->little_endian || plain->length_bits || plain->length_tag ||
           plain->length_adjust || plain->strip_bytes;
}

/* What is set and belongs to another kind is a mistake that would be hard to find later. */
static bool says_foreign(const sally_framing *plain)
{
    sally_framing_kind kind = plain->kind;
    bool has_end = kind == SALLY_FRAMING_DELIMITER || kind == SALLY_FRAMING_MARKS;
    return (says_length(plain) && kind != SALLY_FRAMING_LENGTH) ||
           (plain->fixed_bytes && kind != SALLY_FRAMING_FIXED) ||
           ((plain->begin || plain->begin_bytes) && kind != SALLY_FRAMING_MARKS) ||
           ((plain->end || plain->end_bytes) && !has_end) ||
           (plain->send_crlf && kind != SALLY_FRAMING_LINE) ||
           ((plain->decode || plain->encode || plain->user) && kind != SALLY_FRAMING_CUSTOM);
}

int framing_init(struct framing *framing, const sally_framing *plain)
{
    memset(framing, 0, sizeof *framing);
    unsigned kind = (unsigned)plain->kind;
    if (kind >= sizeof kinds / sizeof *kinds) return SALLY_EINVAL;
    if (plain->message_bytes_max > FRAMING_BYTES_LIMIT || says_foreign(plain)) return SALLY_EINVAL;
    framing->kind = kinds[kind];
    if (!framing->kind) return 0;
    framing->bytes_max = plain->message_bytes_max ? plain->message_bytes_max : FRAMING_BYTES_MAX;
    framing->keep_frame = plain->keep_frame;
    framing->refuse_empty = plain->refuse_empty;
    return framing->kind->take(framing, plain);
}

static bool mark_equal(const struct mark *a, const struct mark *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool framing_equal(const struct framing *a, const struct framing *b)
{
    return a->kind == b->kind && a->bytes_max == b->bytes_max && a->keep_frame == b->keep_frame &&
           a->refuse_empty == b->refuse_empty && a->varint == b->varint &&
           a->little_endian == b->little_endian && a->send_crlf == b->send_crlf &&
           a->offset == b->offset && a->width == b->width && a->bits == b->bits &&
           a->strip == b->strip && a->tag == b->tag && a->adjust == b->adjust &&
           a->fixed_bytes == b->fixed_bytes && a->decode == b->decode && a->encode == b->encode &&
           a->user == b->user && mark_equal(&a->begin, &b->begin) && mark_equal(&a->end, &b->end);
}

sally_framing sally_framing_iocps(void)
{
    return (sally_framing){.kind = SALLY_FRAMING_LENGTH,
                           .message_bytes_max = 512,
                           .refuse_empty = true, /* there is a type at least */
                           .little_endian = true};
}

sally_framing sally_framing_hp_pack(uint32_t flag, uint32_t payload_max)
{
    enum { HEADER = 4, LENGTH_BITS = 22, PAYLOAD_MAX = 0x40000, PAYLOAD_LIMIT = 0x3fffff };
    if (!payload_max) payload_max = PAYLOAD_MAX;
    /* more than the header can say is left for framing_init to refuse */
    uint32_t bytes_max = payload_max > PAYLOAD_LIMIT ? UINT32_MAX : payload_max + HEADER;
    return (sally_framing){.kind = SALLY_FRAMING_LENGTH,
                           .message_bytes_max = bytes_max,
                           .refuse_empty = true,
                           .little_endian = true,
                           .length_bits = LENGTH_BITS,
                           .length_tag = flag};
}

/* ---- Using ---- */

enum frame_found framing_found(const struct framing *framing, const struct frame_scan *scan)
{
    bool empty = scan->head + scan->tail == scan->seen;
    return empty && framing->refuse_empty ? FRAME_BAD : FRAME_WHOLE;
}

/* Bytes that are said to be one frame have to be read as one. */
static int framing__check(const struct framing *framing, const sally_frame_edges *edges,
                          const void *data, size_t len)
{
    struct frame_scan scan = {0};
    enum frame_found found = FRAME_MORE;
    if (edges->head_bytes)
        found = framing->kind->scan(framing, &scan, edges->head, edges->head_bytes);
    if (found == FRAME_MORE && len) found = framing->kind->scan(framing, &scan, data, len);
    return found == FRAME_WHOLE && scan.seen == edges->head_bytes + len ? 0 : SALLY_EINVAL;
}

int framing_wrap(const struct framing *framing, const void *data, size_t len,
                 sally_frame_edges *edges)
{
    memset(edges, 0, sizeof *edges);
    if (len > framing->bytes_max) return SALLY_ELIMIT;
    if (framing->keep_frame) return framing__check(framing, edges, data, len);
    if (len == 0 && framing->refuse_empty) return SALLY_EINVAL;
    int err = framing->kind->wrap(framing, data, len, edges);
    if (err) return err;
    if (edges->head_bytes + edges->tail_bytes > framing->bytes_max - len) return SALLY_ELIMIT;
    bool field_is_data = framing->strip && framing->strip <= framing->offset;
    return field_is_data ? framing__check(framing, edges, data, len) : 0;
}
