/* See trace.h. */
#include "filter/support/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/long.h"

uint64_t trace_seed(void) { return run_seed(1); }

/* ---- Memory ---- */

static void *counted_alloc(void *user, size_t bytes)
{
    struct counted *counted = user;
    if (++counted->asked == counted->fail_at) return NULL;
    size_t now = mem_in_use(&counted->mem) + bytes;
    if (now > counted->high) counted->high = now;
    if (bytes > counted->block_high) counted->block_high = bytes;
    return malloc(bytes);
}

static void counted_free(void *user, void *block, size_t bytes)
{
    (void)user;
    memset(block, 0xdd, bytes); /* so that bytes that are looked at too late are wrong */
    free(block);
}

void counted_init(struct counted *counted)
{
    *counted = (struct counted){0};
    mem_init(&counted->mem);
    counted->mem.alloc = counted_alloc;
    counted->mem.free = counted_free;
    counted->mem.user = counted;
}

/* ---- Traces ---- */

void trace_begin(struct trace *trace)
{
    *trace = (struct trace){0};
    counted_init(&trace->counted);
}

static void *grown(void *bytes, size_t *room, size_t wanted)
{
    if (wanted <= *room) return bytes;
    *room = wanted * 2 + 64;
    bytes = realloc(bytes, *room);
    assert_non_null(bytes);
    return bytes;
}

static bool trace__take(void *ctx, const void *payload, size_t len, bool copied)
{
    struct trace *trace = ctx;
    const unsigned char *at = payload;
    uint32_t len32 = (uint32_t)len;
    assert_false(trace->enough);
    assert_null(trace->carry); /* whoever takes may end the connection */
    bool inside = at >= trace->piece && at + len <= trace->piece + trace->piece_len;
    assert_true(copied ? !inside : inside);
    trace->log = grown(trace->log, &trace->room, trace->len + sizeof len32 + len);
    memcpy(trace->log + trace->len, &len32, sizeof len32);
    if (len) memcpy(trace->log + trace->len + sizeof len32, payload, len);
    trace->len += sizeof len32 + len;
    trace->messages++;
    trace->copied += copied;
    trace->enough = trace->stop_one_in && lot_below(&trace->lot, trace->stop_one_in) == 0;
    return !trace->enough;
}

/* What is kept between two pieces never exceeds what came, twice over. */
static void trace__check(const struct trace *trace, const struct framing *framing)
{
    const struct carry *carry = trace->carry;
    size_t in_use = mem_in_use(&trace->counted.mem) - trace->elsewhere;
    if (!carry) {
        assert_int_equal(in_use, 0);
        return;
    }
    assert_int_equal(in_use, sizeof *carry + carry->bytes_max);
    assert_true(carry->len > 0 && carry->len <= carry->bytes_max);
    assert_true(carry->len < framing->bytes_max || !framing->kind->from_the_beginning);
    assert_true(carry->len <= framing->bytes_max);
    assert_true(carry->bytes_max <= 64 || carry->bytes_max <= 2 * carry->len);
}

void trace_feed(struct trace *trace, const struct framing *framing, const void *data, size_t len)
{
    /* a copy of just that size, so that a sanitizer sees who looks behind it */
    unsigned char *piece = malloc(len ? len : 1);
    assert_non_null(piece);
    memcpy(piece, data, len);
    const struct framer framer = {.framing = framing,
                                  .mem = &trace->counted.mem,
                                  .carry = &trace->carry,
                                  .take = trace__take,
                                  .ctx = trace};
    for (size_t at = 0; at < len && !trace->error;) {
        size_t used = 0;
        trace->piece = piece + at;
        trace->piece_len = len - at;
        trace->enough = false;
        trace->error = framer_feed(&framer, piece + at, len - at, &used);
        assert_true(used <= len - at);
        if (!trace->error) assert_true(used > 0);
        if (!trace->error && used < len - at) trace->stopped++;
        if (trace->error) assert_null(trace->carry);
        at += used;
    }
    free(piece);
    trace__check(trace, framing);
    trace->left = trace->carry ? trace->carry->len : 0;
}

void trace_whole(struct trace *trace, const struct framing *framing, const void *data, size_t len)
{
    trace_begin(trace);
    trace_feed(trace, framing, data, len);
}

void trace_bytes(struct trace *trace, const struct framing *framing, const void *data, size_t len)
{
    trace_begin(trace);
    for (size_t at = 0; at < len; at++)
        trace_feed(trace, framing, (const unsigned char *)data + at, 1);
}

void trace_two(struct trace *trace, const struct framing *framing, const void *data, size_t len,
               size_t cut)
{
    trace_begin(trace);
    trace_feed(trace, framing, data, cut);
    trace_feed(trace, framing, (const unsigned char *)data + cut, len - cut);
}

void trace_random(struct trace *trace, const struct framing *framing, const void *data, size_t len,
                  uint64_t seed, uint32_t piece_max)
{
    trace_begin(trace);
    trace->lot.state = seed;
    trace->stop_one_in = lot_below(&trace->lot, 4);
    for (size_t at = 0; at < len;) {
        size_t piece = 1 + lot_below(&trace->lot, piece_max);
        if (piece > len - at) piece = len - at;
        trace_feed(trace, framing, (const unsigned char *)data + at, piece);
        at += piece;
    }
}

void trace_end(struct trace *trace)
{
    carry_free(trace->carry, &trace->counted.mem);
    assert_int_equal(mem_in_use(&trace->counted.mem), 0);
    free(trace->log);
}

void trace_same(const struct trace *a, const struct trace *b)
{
    assert_int_equal(a->error, b->error);
    assert_int_equal(a->messages, b->messages);
    assert_int_equal(a->left, b->left);
    assert_int_equal(a->len, b->len);
    if (a->len) assert_memory_equal(a->log, b->log, a->len);
}

const unsigned char *trace_message(const struct trace *trace, unsigned n, uint32_t *len)
{
    const unsigned char *at = trace->log;
    assert_true(n < trace->messages);
    for (;; n--) {
        memcpy(len, at, sizeof *len);
        at += sizeof *len;
        if (!n) return at;
        at += *len;
    }
}

/* ---- Streams ---- */

void stream_add(struct stream *stream, const void *data, size_t len)
{
    stream->bytes = grown(stream->bytes, &stream->room, stream->len + len + 1);
    if (len) memcpy(stream->bytes + stream->len, data, len);
    stream->len += len;
}

bool stream_add_message(struct stream *stream, const struct framing *framing, const void *data,
                        size_t len)
{
    sally_frame_edges edges;
    int err = framing_wrap(framing, data, len, &edges);
    if (err) {
        assert_int_equal(err, SALLY_EINVAL);
        return false;
    }
    stream_add(stream, edges.head, edges.head_bytes);
    stream_add(stream, data, len);
    stream_add(stream, edges.tail, edges.tail_bytes);
    return true;
}

void stream_free(struct stream *stream)
{
    free(stream->bytes);
    *stream = (struct stream){0};
}
