/* Any bytes after a WebSocket's handshake, in four splits: the same frames and the same end, no
 * byte looked at outside of what came, no more memory than that. And as a close frame's payload, as
 * UTF-8, and as the head of the handshake.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_websocket -max_total_time=60. In every build
 * with tests, fuzz/replay.c runs the same entry over seeded inputs, as the test fuzz/websocket. */
#include "filter/framer.h"
#include "filter/utf8.h"
#include "filter/ws_frame.h"
#include "filter/ws_handshake.h"
#include "fuzz.h"

enum { PAYLOAD_MAX = 2000, STREAM_MAX = 16384 };

/* What a run tells. */
struct told {
    uint64_t hash;
    uint32_t frames;
    int error;
};

struct side {
    bool client; /* whose frames come */
};

static sally_decoded decode(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    const struct side *side = user;
    sally_decoded decoded = ws_decode(side->client, PAYLOAD_MAX, data, len, frame);
    HOLD(decoded != SALLY_DECODED_MESSAGE ||
         (frame->frame_bytes >= 1 && frame->frame_bytes <= len));
    return decoded;
}

static void mix(struct told *told, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) told->hash = (told->hash ^ bytes[i]) * 0x100000001b3u;
}

static bool take(void *ctx, const void *frame, size_t len, bool copied)
{
    struct told *told = ctx;
    (void)copied;
    mix(told, &len, sizeof len);
    mix(told, frame, len);
    told->frames++;
    return true;
}

/* Pieces of `step` bytes; 0: all at once. */
static struct told run_in(const struct framing *framing, const uint8_t *data, size_t len,
                          size_t step)
{
    struct mem mem;
    struct told told = {0};
    struct carry *carry = NULL;
    const struct framer framer = {
        .framing = framing, .mem = &mem, .carry = &carry, .take = take, .ctx = &told};
    mem_init(&mem);
    for (size_t at = 0; at < len && !told.error;) {
        size_t used, piece = step && step < len - at ? step : len - at;
        uint8_t *copy = fuzz_copy(data + at, piece);
        told.error = framer_feed(&framer, copy, piece, &used);
        HOLD(told.error || used == piece);
        HOLD(mem_in_use(&mem) <= 4 * len + 512);
        free(copy);
        at += piece;
    }
    carry_free(carry, &mem);
    HOLD(mem_in_use(&mem) == 0);
    return told;
}

/* Frames made of the input, so that streams get far. Three bytes for each: its kind, its length,
 * and what it is filled with; where that is 0 the first byte stands there as it was drawn. */
static size_t make_stream(uint8_t *stream, bool masked, const uint8_t *data, size_t size)
{
    static const uint8_t opcodes[] = {0x81, 0x82, 0x01, 0x80, 0x00, 0x89, 0x8a, 0x88};
    static const unsigned char mask[WS_MASK_BYTES] = {1, 2, 3, 4};
    size_t len = 0;
    for (size_t at = 0; at + 2 < size && len + 600 < STREAM_MAX; at += 3) {
        size_t bytes = data[at] & 0x80 ? data[at + 1] * 2u : data[at + 1] & 63;
        uint8_t first = opcodes[data[at] & 7];
        if (ws_is_control(first & 15) && bytes > WS_CONTROL_MAX) bytes = WS_CONTROL_MAX;
        size_t head = ws_head_write(stream + len, true, WS_TEXT, bytes, masked ? mask : NULL);
        stream[len] = data[at + 2] == 0 ? data[at] : first;
        memset(stream + len + head, data[at + 2], bytes);
        len += head + bytes;
    }
    return len;
}

static void run_stream(bool client, const uint8_t *data, size_t len)
{
    struct side side = {client};
    struct framing framing;
    const sally_framing plain = {.kind = SALLY_FRAMING_CUSTOM,
                                 .message_bytes_max = SALLY_HTTP_HEAD_MAX + WS_HEAD_MAX,
                                 .decode = decode,
                                 .user = &side};
    HOLD(framing_init(&framing, &plain) == 0);
    static const size_t steps[] = {1, 7, 250};
    struct told whole = run_in(&framing, data, len, 0);
    for (unsigned i = len > 1000; i < 3; i++) { /* byte by byte only what is short */
        struct told cut = run_in(&framing, data, len, steps[i]);
        HOLD(cut.hash == whole.hash && cut.frames == whole.frames && cut.error == whole.error);
    }
}

static void run_parts(const uint8_t *data, size_t size)
{
    struct ws_close close;
    struct utf8 utf8 = {0};
    sally_http_head head;
    unsigned code = ws_close_read(&close, data, size);
    HOLD(code == 0 || code == 1002 || code == 1007);
    HOLD(code || size == 0 || close.reason_len == size - 2);
    bool valid = true;
    for (size_t i = 0; valid && i < size; i++) valid = utf8_feed(&utf8, data + i, 1);
    HOLD((valid && utf8_is_whole(&utf8)) == utf8_is_valid(data, size));
    if (sally_http_read_request(&head, data, size) == 0) (void)ws_judge_request(&head);
    if (sally_http_read_response(&head, data, size) == 0)
        (void)ws_judge_response(&head, (const unsigned char *)"0123456789abcdef", "a, b");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[STREAM_MAX];
    if (size < 2 || size > STREAM_MAX) return 0;
    run_parts(data, size);
    run_stream(data[0] & 1, data + 1, size - 1);
    size_t len = make_stream(stream, data[0] & 1, data + 1, size - 1);
    if (len) run_stream(data[0] & 1, stream, len);
    return 0;
}
