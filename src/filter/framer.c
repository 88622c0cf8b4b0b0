/* See framer.h. */
#include "filter/framer.h"

#include <assert.h>
#include <string.h>

enum { CARRY_BYTES_MIN = 64 }; /* less is not worth an allocation of its own */

/* ---- The carry ---- */

void carry_close(struct carry *carry, struct mem *mem)
{
    if (!carry) return;
    mem_free(mem, carry->bytes, carry->bytes_max);
    carry->bytes = NULL;
    carry->bytes_max = 0;
}

void carry_free(struct carry *carry, struct mem *mem)
{
    carry_close(carry, mem);
    mem_free(mem, carry, sizeof *carry);
}

/* Room that grows in proportion to what is there, so that each byte is moved a constant number of
 * times, and not past what the message can need. */
static uint32_t carry__room_for(const struct carry *carry, uint32_t len, uint32_t bytes_max)
{
    uint32_t room = carry->bytes_max * 2;
    uint32_t end = carry->scan.whole > len ? carry->scan.whole : bytes_max;
    if (room < CARRY_BYTES_MIN) room = CARRY_BYTES_MIN;
    if (room > end) room = end;
    return room > len ? room : len;
}

static int carry__append(struct carry *carry, const struct framer *framer,
                         const unsigned char *data, size_t len)
{
    assert(len <= framer->framing->bytes_max - carry->len);
    uint32_t total = carry->len + (uint32_t)len;
    if (total > carry->bytes_max) {
        uint32_t room = carry__room_for(carry, total, framer->framing->bytes_max);
        if (framer->carry_max && room > framer->carry_max) return SALLY_ENOMEM;
        unsigned char *bytes = mem_alloc(framer->mem, room);
        if (!bytes) return SALLY_ENOMEM;
        if (carry->len) memcpy(bytes, carry->bytes, carry->len);
        mem_free(framer->mem, carry->bytes, carry->bytes_max);
        carry->bytes = bytes;
        carry->bytes_max = room;
    }
    if (len) memcpy(carry->bytes + carry->len, data, len);
    carry->len = total;
    return 0;
}

static int carry__begin(const struct framer *framer, const struct frame_scan *scan,
                        const unsigned char *data, size_t len)
{
    struct carry *carry = mem_zalloc(framer->mem, sizeof *carry);
    if (!carry) return SALLY_ENOMEM;
    carry->scan = *scan;
    carry->began_ms = framer->now_ms;
    *framer->carry = carry;
    return carry__append(carry, framer, data, len);
}

/* ---- Messages ---- */

static int error_of(enum frame_found found)
{
    return found == FRAME_TOO_LONG ? SALLY_ELIMIT : SALLY_EMALFORMED;
}

static bool framer__take(const struct framer *framer, const struct frame_scan *scan,
                         const unsigned char *frame, bool copied)
{
    uint32_t head = scan->head, tail = scan->tail;
    assert(head <= scan->seen && tail <= scan->seen - head);
    if (framer->framing->keep_frame) head = tail = 0;
    return framer->take(framer->ctx, frame + head, scan->seen - head - tail, copied);
}

/* Where a message lies whole: nothing is copied. `more` becomes false when no more is wanted. */
static int framer__direct(const struct framer *framer, const unsigned char *data, size_t len,
                          size_t *used, bool *more)
{
    struct frame_scan scan = {.whole = framer->wanted ? *framer->wanted : 0};
    enum frame_found found = framer->framing->kind->scan(framer->framing, &scan, data, len);
    if (found == FRAME_MORE) {
        *used = len;
        return carry__begin(framer, &scan, data, len);
    }
    if (found != FRAME_WHOLE) return error_of(found);
    *used = scan.seen;
    *more = framer__take(framer, &scan, data, false);
    return 0;
}

/* How many of the next bytes a message that is collected first and then looked at should have: as
 * many as it asked for, all when it didn't say. */
static size_t carry__wants(const struct carry *carry, uint32_t bytes_max, size_t len)
{
    uint32_t whole = carry->scan.whole > carry->len ? carry->scan.whole : bytes_max;
    size_t left = whole - carry->len;
    return len < left ? len : left;
}

/* Collects first, then looks at all of it. */
static int carry__collect(const struct framer *framer, struct carry *carry,
                          const unsigned char *data, size_t len, size_t *used,
                          enum frame_found *found)
{
    uint32_t before = carry->len;
    size_t taken = carry__wants(carry, framer->framing->bytes_max, len);
    *found = FRAME_MORE;
    *used = taken;
    int err = carry__append(carry, framer, data, taken);
    if (err || carry->len < carry->scan.whole) return err;
    *found = framer->framing->kind->scan(framer->framing, &carry->scan, carry->bytes, carry->len);
    if (*found == FRAME_WHOLE) *used = carry->scan.seen - before;
    return 0;
}

/* Looks at what is new, and then collects what belongs to the message. */
static int carry__continue(const struct framer *framer, struct carry *carry,
                           const unsigned char *data, size_t len, size_t *used,
                           enum frame_found *found)
{
    uint32_t before = carry->scan.seen;
    *found = framer->framing->kind->scan(framer->framing, &carry->scan, data, len);
    if (*found != FRAME_MORE && *found != FRAME_WHOLE) return 0;
    *used = carry->scan.seen - before;
    return carry__append(carry, framer, data, *used);
}

static int framer__carried(const struct framer *framer, const unsigned char *data, size_t len,
                           size_t *used, bool *more)
{
    struct carry *carry = *framer->carry;
    enum frame_found found;
    bool whole_each_time = framer->framing->kind->from_the_beginning;
    int err = (whole_each_time ? carry__collect : carry__continue)(framer, carry, data, len, used,
                                                                   &found);
    if (err) return err;
    if (found == FRAME_MORE) return 0;
    if (found != FRAME_WHOLE) return error_of(found);
    /* taken off before: who takes the message may end the connection */
    *framer->carry = NULL;
    *more = framer__take(framer, &carry->scan, carry->bytes, true);
    carry_free(carry, framer->mem);
    return 0;
}

int framer_feed(const struct framer *framer, const void *data, size_t len, size_t *used)
{
    const unsigned char *bytes = data;
    bool more = true;
    size_t at = 0;
    int err = 0;
    assert(len > 0);
    while (!err && more && at < len) {
        size_t step = 0;
        err = (*framer->carry ? framer__carried : framer__direct)(framer, bytes + at, len - at,
                                                                  &step, &more);
        if (!err) at += step;
    }
    *used = at;
    if (err) {
        carry_free(*framer->carry, framer->mem);
        *framer->carry = NULL;
    }
    return err;
}
