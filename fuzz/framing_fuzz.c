/* Any framing and any stream of bytes, in four splits: the same messages and the same end,
 * no byte looked at outside of what came, no more memory than that, nothing left behind. The first
 * bytes of an input choose the framing, the rest is the stream.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_framing -max_total_time=60. In every build
 * with tests, fuzz/replay.c runs the same entry over seeded inputs, as the test fuzz/framing. */
#include "filter/framer.h"
#include "fuzz.h"
#include "sallyport/bytes.h"

/* What a run tells, as one number, so that two runs can be compared. */
struct told {
    uint64_t hash;
    uint64_t messages;
    uint32_t left;
    int error;
};

struct run {
    struct told told;
    struct carry *carry;
    const uint8_t *piece;
    size_t piece_len;
    const struct framing *framing;
    bool on_demand;
    uint32_t wanted; /* on demand: the next message's bytes, which depend on those before */
};

static void *fuzz_alloc(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}

static void fuzz_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

static bool fuzz_take(void *ctx, const void *payload, size_t len, bool copied)
{
    struct run *run = ctx;
    const uint8_t *bytes = payload;
    HOLD(len <= run->framing->bytes_max);
    HOLD(copied || (bytes >= run->piece && bytes + len <= run->piece + run->piece_len));
    run->told.hash = (run->told.hash ^ len) * 0x100000001b3u;
    for (size_t i = 0; i < len; i++) run->told.hash = (run->told.hash ^ bytes[i]) * 0x100000001b3u;
    run->told.messages++;
    run->wanted = 1 + (uint32_t)(run->told.hash % run->framing->bytes_max);
    return run->told.hash & 8;
}

static void feed(struct run *run, struct mem *mem, const uint8_t *data, size_t len)
{
    const struct framer framer = {.framing = run->framing,
                                  .mem = mem,
                                  .carry = &run->carry,
                                  .take = fuzz_take,
                                  .ctx = run,
                                  .wanted = run->on_demand ? &run->wanted : NULL};
    uint8_t *piece = fuzz_copy(data, len);
    for (size_t at = 0; at < len && !run->told.error;) {
        size_t used = 0;
        run->piece = piece + at;
        run->piece_len = len - at;
        run->told.error = framer_feed(&framer, piece + at, len - at, &used);
        HOLD(run->told.error || (used > 0 && used <= len - at));
        at += used;
    }
    free(piece);
    HOLD(!run->told.error || !run->carry);
    HOLD(!run->carry || run->carry->bytes_max <= 64 ||
         run->carry->bytes_max <= 2 * run->carry->len);
}

/* Pieces of `step` bytes and fewer; 0: all at once. */
static struct told run_in(const struct framing *framing, const uint8_t *data, size_t len,
                          size_t step)
{
    struct mem mem;
    struct run run = {
        .framing = framing, .on_demand = framing->kind == &frame_demand_kind, .wanted = 1};
    mem_init(&mem);
    mem.alloc = fuzz_alloc;
    mem.free = fuzz_free;
    for (size_t at = 0; at < len && !run.told.error;) {
        size_t piece = step ? 1 + (at * 7 + step) % step : len;
        if (piece > len - at) piece = len - at;
        feed(&run, &mem, data + at, piece);
        at += piece;
    }
    run.told.left = run.carry ? run.carry->len : 0;
    carry_free(run.carry, &mem);
    HOLD(mem_in_use(&mem) == 0);
    return run.told;
}

/* A message is a varint and so many bytes, through the public reader. */
static sally_decoded decode(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    sally_reader reader = sally_reader_over(data, len);
    uint64_t bytes = sally_read_varint(&reader);
    (void)user;
    if (reader.error) return len < 10 ? SALLY_DECODED_MORE : SALLY_DECODED_ERROR;
    if (bytes > 1000) return SALLY_DECODED_ERROR;
    frame->payload_at = (uint32_t)reader.at;
    frame->payload_bytes = (uint32_t)bytes;
    frame->frame_bytes = (uint32_t)(reader.at + bytes);
    frame->bytes_wanted = bytes & 1 ? frame->frame_bytes : 0;
    return sally_read_bytes(&reader, (size_t)bytes) ? SALLY_DECODED_MESSAGE : SALLY_DECODED_MORE;
}

/* Most of what is drawn makes sense, so that streams get far. */
static bool draw_framing(sally_reader *reader, sally_framing *plain)
{
    uint8_t kind = sally_read_u8(reader), flags = sally_read_u8(reader);
    *plain = (sally_framing){.kind = (sally_framing_kind)(1 + kind % 7),
                             .message_bytes_max = sally_read_u16_be(reader) % 2000,
                             .keep_frame = flags & 1,
                             .refuse_empty = flags & 2};
    switch (plain->kind) {
    case SALLY_FRAMING_LENGTH:
        plain->length_varint = flags & 4;
        plain->little_endian = flags & 8;
        plain->length_bytes = flags & 4 ? 0 : flags >> 5;
        plain->length_offset = sally_read_u8(reader) % 70;
        plain->strip_bytes = flags & 16 ? sally_read_u8(reader) % 70 : 0;
        plain->length_bits = sally_read_u8(reader) % 70 & (flags & 64 ? 0xff : 0);
        plain->length_tag = plain->length_bits ? sally_read_u8(reader) : 0;
        plain->length_adjust = (int32_t)sally_read_u32_be(reader) >> (kind >> 3);
        break;
    case SALLY_FRAMING_FIXED: plain->fixed_bytes = sally_read_u8(reader); break;
    case SALLY_FRAMING_MARKS:
        plain->begin_bytes = flags >> 6;
        plain->begin = sally_read_bytes(reader, plain->begin_bytes);
        /* fall through */
    case SALLY_FRAMING_DELIMITER:
        plain->end_bytes = flags >> 2 & 15;
        plain->end = sally_read_bytes(reader, plain->end_bytes);
        break;
    case SALLY_FRAMING_LINE: plain->send_crlf = flags & 4; break;
    case SALLY_FRAMING_CUSTOM: plain->decode = decode; break;
    case SALLY_FRAMING_ON_DEMAND:
    case SALLY_FRAMING_NONE: break;
    }
    return !reader->error;
}

/* What is wrapped is read back as one message. */
static void wrap_and_back(const struct framing *framing, const uint8_t *data, size_t len)
{
    sally_frame_edges edges;
    if (framing_wrap(framing, data, len, &edges)) return;
    size_t whole = edges.head_bytes + len + edges.tail_bytes;
    HOLD(whole <= framing->bytes_max);
    uint8_t *frame = malloc(whole + 1);
    if (!frame) abort();
    memcpy(frame, edges.head, edges.head_bytes);
    if (len) memcpy(frame + edges.head_bytes, data, len);
    memcpy(frame + edges.head_bytes + len, edges.tail, edges.tail_bytes);
    struct told told = run_in(framing, frame, whole, 0);
    HOLD(told.messages == 1 && told.error == 0 && told.left == 0);
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sally_reader reader = sally_reader_over(data, size);
    sally_framing plain;
    struct framing framing;
    if (!draw_framing(&reader, &plain) || framing_init(&framing, &plain) || !framing.kind) return 0;
    size_t len = sally_reader_left(&reader);
    if (len == 0) return 0;
    const uint8_t *stream = sally_read_bytes(&reader, len);
    struct told whole = run_in(&framing, stream, len, 0);
    static const size_t steps[] = {1, 5, 64};
    for (unsigned i = 0; i < 3; i++) {
        struct told split = run_in(&framing, stream, len, steps[i]);
        HOLD(split.hash == whole.hash && split.messages == whole.messages);
        HOLD(split.left == whole.left && split.error == whole.error);
    }
    wrap_and_back(&framing, stream, len < 300 ? len : 300);
    return 0;
}
