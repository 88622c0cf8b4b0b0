/* Any bytes at the beginning of a connection of a proxy, in four splits: the same answer, the same
 * addresses, no byte looked at outside of what came, and no header longer than it may be. The first
 * byte of an input says how much of a header is put before the rest, so that inputs get far.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_proxy_header -max_total_time=60. In every
 * build with tests, fuzz/replay.c runs the same entry over seeded inputs, as the test
 * fuzz/proxy_header. */
#include "filter/proxy_header.h"
#include "fuzz.h"
#include "os/address.h"

enum { STREAM_MAX = 8192, BYTES_MAX = 600 };

struct told {
    enum proxy_answer answer;
    size_t used;
    struct addr source;
    struct addr dest;
};

static struct told run_in(const uint8_t *data, size_t len, size_t step)
{
    struct proxy_header header;
    struct told told = {.answer = PROXY_MORE};
    proxy_header_init(&header, BYTES_MAX);
    for (size_t at = 0; at < len && told.answer == PROXY_MORE;) {
        size_t size = step && step < len - at ? step : len - at, used;
        uint8_t *piece = fuzz_copy(data + at, size);
        told.answer = proxy_header_feed(&header, piece, size, &used);
        HOLD(used > 0 && used <= size && (told.answer != PROXY_MORE || used == size));
        free(piece);
        at += used;
        told.used = at;
    }
    HOLD(told.answer == PROXY_MALFORMED || told.used <= BYTES_MAX);
    HOLD(told.answer != PROXY_MORE || len < BYTES_MAX);
    told.source = header.source;
    told.dest = header.dest;
    return told;
}

static void check_addresses(const struct told *told)
{
    HOLD(told->source.family == told->dest.family ||
         (told->source.family != ADDR_NONE && told->dest.family != ADDR_NONE));
    HOLD(told->source.family <= ADDR_V6 && told->dest.family <= ADDR_V6);
    HOLD(told->source.scope == 0 && told->dest.scope == 0);
    HOLD(told->source.family != ADDR_NONE || told->source.port == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char begin[] = "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n";
    static const uint8_t head[] = {0x0d, 0x0a, 0x0d, 0x0a, 0,    0x0d, 0x0a, 0x51,
                                   0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0,    12};
    uint8_t stream[STREAM_MAX];
    if (!size || size > STREAM_MAX / 2) return 0;
    size_t part = data[0] >> 1, len = 0;
    const void *from = data[0] & 1 ? (const void *)begin : head;
    size_t most = data[0] & 1 ? sizeof begin - 1 : sizeof head;
    if (part < 100) len = part < most ? part : most; /* else nothing is put before it */
    memcpy(stream, from, len);
    memcpy(stream + len, data + 1, size - 1);
    len += size - 1;
    if (!len) return 0;
    struct told whole = run_in(stream, len, 0);
    static const size_t steps[] = {1, 7, 64};
    for (unsigned i = 0; i < 3; i++) {
        struct told split = run_in(stream, len, steps[i]);
        HOLD(split.answer == whole.answer);
        if (whole.answer != PROXY_DONE) continue;
        HOLD(split.used == whole.used && addr_equal(&split.source, &whole.source) &&
             addr_equal(&split.dest, &whole.dest));
        check_addresses(&whole);
    }
    return 0;
}
