/* Messages that end with a mark, or with the end of a line. */
#include <string.h>

#include "filter/framing.h"

/* So many bytes may be looked at: the end has to come within the limit. */
static size_t window(const struct framing *framing, const struct frame_scan *scan, size_t len)
{
    size_t left = framing->bytes_max - scan->seen;
    return len < left ? len : left;
}

/* No end in `looked` bytes: with the limit reached there can't be one in time. */
static enum frame_found goes_on(const struct framing *framing, struct frame_scan *scan,
                                size_t looked)
{
    scan->seen += (uint32_t)looked;
    return scan->seen < framing->bytes_max ? FRAME_MORE : FRAME_TOO_LONG;
}

/* ---- Delimiter ---- */

static int delimiter_take(struct framing *framing, const sally_framing *plain)
{
    int err = mark_init(&framing->end, plain->end, plain->end_bytes);
    if (!err && framing->end.len > framing->bytes_max) err = SALLY_EINVAL;
    return err;
}

static enum frame_found delimiter_scan(const struct framing *framing, struct frame_scan *scan,
                                       const unsigned char *data, size_t len)
{
    size_t looked = window(framing, scan, len);
    size_t end = mark_find(&framing->end, &scan->matched, data, looked);
    if (!end) return goes_on(framing, scan, looked);
    scan->seen += (uint32_t)end;
    scan->tail = framing->end.len;
    return framing_found(framing, scan);
}

/* The end must be found where it is put, not before: neither in the payload nor across it. */
static bool ends_only_here(const struct mark *end, const void *data, size_t len)
{
    uint8_t matched = 0;
    if (len && mark_find(end, &matched, data, len)) return false;
    return mark_find(end, &matched, end->bytes, end->len) == end->len;
}

static int delimiter_wrap(const struct framing *framing, const void *data, size_t len,
                          sally_frame_edges *edges)
{
    if (!ends_only_here(&framing->end, data, len)) return SALLY_EINVAL;
    edges->tail_bytes = framing->end.len;
    memcpy(edges->tail, framing->end.bytes, framing->end.len);
    return 0;
}

const struct frame_kind frame_delimiter_kind = {
    .take = delimiter_take, .scan = delimiter_scan, .wrap = delimiter_wrap};

/* ---- Line ---- */

static int line_take(struct framing *framing, const sally_framing *plain)
{
    framing->send_crlf = plain->send_crlf;
    return framing->bytes_max < 2 ? SALLY_EINVAL : 0;
}

static enum frame_found line_scan(const struct framing *framing, struct frame_scan *scan,
                                  const unsigned char *data, size_t len)
{
    size_t looked = window(framing, scan, len);
    const unsigned char *end = memchr(data, '\n', looked);
    if (!end) {
        scan->matched = data[looked - 1] == '\r';
        return goes_on(framing, scan, looked);
    }
    bool after_cr = end > data ? end[-1] == '\r' : scan->matched;
    scan->seen += (uint32_t)(end - data) + 1;
    scan->tail = after_cr ? 2 : 1;
    return framing_found(framing, scan);
}

/* A CR at the end of a payload would be taken for the line end's. */
static int line_wrap(const struct framing *framing, const void *data, size_t len,
                     sally_frame_edges *edges)
{
    const char *bytes = data;
    if (len && (memchr(bytes, '\n', len) || (!framing->send_crlf && bytes[len - 1] == '\r')))
        return SALLY_EINVAL;
    const char *end = framing->send_crlf ? "\r\n" : "\n";
    edges->tail_bytes = framing->send_crlf ? 2 : 1;
    memcpy(edges->tail, end, edges->tail_bytes);
    return 0;
}

const struct frame_kind frame_line_kind = {.take = line_take, .scan = line_scan, .wrap = line_wrap};

/* ---- Marks: the same behind a mark at the beginning ---- */

static int marks_take(struct framing *framing, const sally_framing *plain)
{
    int err = mark_init(&framing->begin, plain->begin, plain->begin_bytes);
    if (!err) err = mark_init(&framing->end, plain->end, plain->end_bytes);
    if (!err && framing->begin.len + framing->end.len > framing->bytes_max) err = SALLY_EINVAL;
    return err;
}

static enum frame_found marks_scan(const struct framing *framing, struct frame_scan *scan,
                                   const unsigned char *data, size_t len)
{
    const struct mark *begin = &framing->begin;
    scan->head = begin->len;
    while (scan->seen < begin->len && len) {
        if (*data != begin->bytes[scan->seen]) return FRAME_BAD;
        scan->seen++;
        data++;
        len--;
    }
    return len ? delimiter_scan(framing, scan, data, len) : FRAME_MORE;
}

static int marks_wrap(const struct framing *framing, const void *data, size_t len,
                      sally_frame_edges *edges)
{
    edges->head_bytes = framing->begin.len;
    memcpy(edges->head, framing->begin.bytes, framing->begin.len);
    return delimiter_wrap(framing, data, len, edges);
}

const struct frame_kind frame_marks_kind = {
    .take = marks_take, .scan = marks_scan, .wrap = marks_wrap};
