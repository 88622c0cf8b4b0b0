/* However a stream is cut into pieces, and wherever the taker stops for a while, the messages and
 * the end are the same: for every kind of framing, for good streams and for bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/support/trace.h"
#include "support/long.h"

enum { STREAM_BYTES = 6000, SHORT_BYTES = 40, PAYLOAD_MAX = 300, BYTES_MAX = 400 };

/* ---- Decoders of a program's own ---- */

/* A digit says how many bytes follow it; '-' is an error. */
static sally_decoded digits(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    const unsigned char *bytes = data;
    (void)user;
    if (*bytes == '-') return SALLY_DECODED_ERROR;
    uint32_t whole = 1u + *bytes % 10;
    if (len < whole) return SALLY_DECODED_MORE;
    *frame =
        (sally_decoded_frame){.frame_bytes = whole, .payload_at = 1, .payload_bytes = whole - 1};
    return SALLY_DECODED_MESSAGE;
}

static int digits_encode(void *user, const void *data, size_t len, sally_frame_edges *edges)
{
    (void)user;
    (void)data;
    if (len > 9) return SALLY_EINVAL;
    edges->head_bytes = 1;
    edges->head[0] = (unsigned char)(50 + len); /* 50 % 10 is 0, and '-' is 45 */
    return 0;
}

/* Sixteen bits and so many bytes, a zero at the end; says what it wants. */
static sally_decoded wanting(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    const unsigned char *bytes = data;
    (void)user;
    if (len < 2) return SALLY_DECODED_MORE;
    uint32_t whole = 3 + bytes[0] + 256u * (bytes[1] & 1);
    if (len < whole) {
        frame->bytes_wanted = whole;
        return SALLY_DECODED_MORE;
    }
    if (bytes[whole - 1]) return SALLY_DECODED_ERROR;
    *frame =
        (sally_decoded_frame){.frame_bytes = whole, .payload_at = 2, .payload_bytes = whole - 3};
    return SALLY_DECODED_MESSAGE;
}

static int wanting_encode(void *user, const void *data, size_t len, sally_frame_edges *edges)
{
    (void)user;
    (void)data;
    edges->head_bytes = 2;
    edges->head[0] = (unsigned char)len;
    edges->head[1] = (unsigned char)(len >> 8);
    edges->tail_bytes = 1;
    return 0;
}

/* ---- Framings ---- */

static const sally_framing plains[] = {
    {.kind = SALLY_FRAMING_LENGTH, .message_bytes_max = BYTES_MAX},
    {.kind = SALLY_FRAMING_LENGTH, .message_bytes_max = BYTES_MAX, .length_bytes = 2},
    {.kind = SALLY_FRAMING_LENGTH, .message_bytes_max = BYTES_MAX, .length_bytes = 8},
    {.kind = SALLY_FRAMING_LENGTH, .length_bytes = 3, .little_endian = true, .length_offset = 5},
    {.kind = SALLY_FRAMING_LENGTH, .length_bytes = 2, .length_adjust = -2, .refuse_empty = true},
    {.kind = SALLY_FRAMING_LENGTH, .length_bytes = 2, .length_adjust = 1, .strip_bytes = 3},
    {.kind = SALLY_FRAMING_LENGTH, .length_bytes = 1, .length_offset = 3, .strip_bytes = 60},
    {.kind = SALLY_FRAMING_LENGTH, .length_varint = true, .message_bytes_max = BYTES_MAX},
    {.kind = SALLY_FRAMING_LENGTH, .length_varint = true, .length_offset = 2, .length_adjust = 9},
    {.kind = SALLY_FRAMING_LENGTH, .little_endian = true, .length_bits = 22, .length_tag = 0x155},
    {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 1},
    {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 17},
    {.kind = SALLY_FRAMING_DELIMITER, .end = "\0", .end_bytes = 1, .message_bytes_max = BYTES_MAX},
    {.kind = SALLY_FRAMING_DELIMITER, .end = "\r\n\r\n", .end_bytes = 4, .refuse_empty = true},
    {.kind = SALLY_FRAMING_DELIMITER, .end = "aabaaa", .end_bytes = 6},
    {.kind = SALLY_FRAMING_DELIMITER, .end = "aa", .end_bytes = 2, .message_bytes_max = 40},
    {.kind = SALLY_FRAMING_LINE, .message_bytes_max = BYTES_MAX},
    {.kind = SALLY_FRAMING_LINE, .send_crlf = true, .refuse_empty = true},
    {.kind = SALLY_FRAMING_MARKS, .begin = "<<", .begin_bytes = 2, .end = ">>", .end_bytes = 2},
    {.kind = SALLY_FRAMING_MARKS, .begin = "~", .begin_bytes = 1, .end = "~", .end_bytes = 1},
    {.kind = SALLY_FRAMING_CUSTOM, .decode = digits, .encode = digits_encode},
    {.kind = SALLY_FRAMING_CUSTOM,
     .decode = wanting,
     .encode = wanting_encode,
     .message_bytes_max = BYTES_MAX},
};
enum { PLAINS = sizeof plains / sizeof *plains };

/* ---- Streams ---- */

/* Few different bytes, so that marks nearly come all the time. */
static size_t draw_payload(struct lot *lot, const struct framing *framing, unsigned char *payload)
{
    static const char alphabet[] = "ab\r\n<>~\0x";
    uint32_t most = lot_below(lot, 3) ? 12 : PAYLOAD_MAX;
    uint32_t room = framing->bytes_max > 80 ? framing->bytes_max - 80 : 8;
    uint32_t len = framing->fixed_bytes ? framing->fixed_bytes : lot_below(lot, most);
    if (len > room) len = room;
    if (framing->kind == &frame_length_kind && framing->width == 1) len %= 180;
    if (framing->encode == digits_encode) len %= 10;
    bool any = lot_below(lot, 2);
    for (uint32_t i = 0; i < len; i++)
        payload[i] = any ? (unsigned char)lot_next(lot)
                         : (unsigned char)alphabet[lot_below(lot, sizeof alphabet - 1)];
    return len;
}

/* Whole frames; what they carry goes to `payloads` as a trace has it. */
static void draw_stream(struct lot *lot, const struct framing *framing, size_t bytes,
                        struct stream *stream, struct stream *payloads)
{
    unsigned char payload[PAYLOAD_MAX];
    while (stream->len < bytes) {
        size_t len = draw_payload(lot, framing, payload);
        if (!stream_add_message(stream, framing, payload, len)) continue;
        uint32_t len32 = (uint32_t)len;
        stream_add(payloads, &len32, sizeof len32);
        stream_add(payloads, payload, len);
    }
}

static void spoil(struct lot *lot, struct stream *stream)
{
    uint32_t places = 1 + lot_below(lot, 4);
    while (places--)
        stream->bytes[lot_below(lot, (uint32_t)stream->len)] =
            lot_below(lot, 3) ? (unsigned char)lot_next(lot) : 0xff;
    stream->len -= lot_below(lot, (uint32_t)stream->len / 4);
}

static struct framing made(const sally_framing *plain)
{
    struct framing framing;
    assert_int_equal(framing_init(&framing, plain), 0);
    return framing;
}

static void same_in_every_split(const struct framing *framing, const struct stream *stream,
                                uint64_t seed)
{
    struct trace whole, other;
    trace_whole(&whole, framing, stream->bytes, stream->len);
    trace_bytes(&other, framing, stream->bytes, stream->len);
    trace_same(&whole, &other);
    trace_end(&other);
    for (uint32_t most = 2; most < stream->len; most *= 5) {
        trace_random(&other, framing, stream->bytes, stream->len, seed + most, most);
        trace_same(&whole, &other);
        trace_end(&other);
    }
    trace_end(&whole);
}

static unsigned rounds(void) { return long_form() ? 500 : 6; }

static void good_streams_give_their_messages_in_every_split(void **state)
{
    (void)state;
    uint64_t seed = trace_seed();
    for (unsigned round = 0; round < rounds(); round++) {
        for (unsigned i = 0; i < PLAINS; i++) {
            struct lot lot = {seed + round * 1000 + i};
            struct framing framing = made(&plains[i]);
            struct stream stream = {0}, payloads = {0};
            struct trace trace;
            draw_stream(&lot, &framing, STREAM_BYTES, &stream, &payloads);
            trace_whole(&trace, &framing, stream.bytes, stream.len);
            assert_int_equal(trace.error, 0);
            assert_int_equal(trace.left, 0);
            assert_int_equal(trace.copied, 0);
            assert_int_equal(trace.counted.asked, 0);
            assert_int_equal(trace.len, payloads.len);
            assert_memory_equal(trace.log, payloads.bytes, payloads.len);
            trace_end(&trace);
            same_in_every_split(&framing, &stream, lot_next(&lot));
            stream_free(&stream);
            stream_free(&payloads);
        }
    }
}

static void bad_streams_end_the_same_in_every_split(void **state)
{
    (void)state;
    uint64_t seed = trace_seed();
    for (unsigned round = 0; round < rounds(); round++) {
        for (unsigned i = 0; i < PLAINS; i++) {
            struct lot lot = {seed + round * 1000 + 500 + i};
            struct framing framing = made(&plains[i]);
            struct stream stream = {0}, payloads = {0};
            draw_stream(&lot, &framing, STREAM_BYTES / 4, &stream, &payloads);
            spoil(&lot, &stream);
            same_in_every_split(&framing, &stream, lot_next(&lot));
            stream_free(&stream);
            stream_free(&payloads);
        }
    }
}

/* Each place, and each pair of places. */
static void short_streams_are_cut_everywhere(void **state)
{
    (void)state;
    uint64_t seed = trace_seed();
    for (unsigned i = 0; i < PLAINS; i++) {
        struct lot lot = {seed + i};
        struct framing framing = made(&plains[i]);
        struct stream stream = {0}, payloads = {0};
        draw_stream(&lot, &framing, SHORT_BYTES, &stream, &payloads);
        if (stream.len > 3 * SHORT_BYTES) stream.len = 3 * SHORT_BYTES;
        struct trace whole, other;
        trace_whole(&whole, &framing, stream.bytes, stream.len);
        for (size_t cut = 1; cut < stream.len; cut++) {
            trace_two(&other, &framing, stream.bytes, stream.len, cut);
            trace_same(&whole, &other);
            trace_end(&other);
            for (size_t second = cut + 1; second < stream.len; second++) {
                trace_two(&other, &framing, stream.bytes, second, cut);
                trace_feed(&other, &framing, stream.bytes + second, stream.len - second);
                trace_same(&whole, &other);
                trace_end(&other);
            }
        }
        trace_end(&whole);
        stream_free(&stream);
        stream_free(&payloads);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_streams_give_their_messages_in_every_split),
        cmocka_unit_test(bad_streams_end_the_same_in_every_split),
        cmocka_unit_test(short_streams_are_cut_everywhere),
    };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
