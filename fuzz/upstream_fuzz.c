/* Any bytes as the answer of a proxy that was asked for a connection, in four splits: the same
 * outcome, the same code, the same said, no byte looked at outside of what came, and no more taken
 * than the protocol allows. The first byte of an input says which protocol, the second how much of
 * a good answer is put before the rest, so that inputs get far; a third of them are a URL instead.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_upstream -max_total_time=60. In every build
 * with tests, fuzz/replay.c runs the same entry over seeded inputs, as the test fuzz/upstream. */
#include "filter/upstream.h"
#include "fuzz.h"

#define LIT(text) (text), sizeof(text) - 1

enum { STREAM_MAX = 16384, ANSWERS_MAX = 2 + 2 + UPSTREAM_ANSWER_MAX };

struct told {
    enum upstream_answer answer;
    unsigned code;
    size_t used;
    size_t says_len;
};

static struct told run_in(const struct upstream_goal *goal, const uint8_t *data, size_t len,
                          size_t step)
{
    static struct upstream_talk talk;
    struct told told = {.answer = UPSTREAM_MORE};
    upstream_begin(&talk, goal);
    for (size_t at = 0; at < len && told.answer == UPSTREAM_MORE;) {
        size_t size = step && step < len - at ? step : len - at, used;
        uint8_t *piece = fuzz_copy(data + at, size);
        told.answer = upstream_feed(&talk, piece, size, &used);
        HOLD(used > 0 && used <= size && (told.answer != UPSTREAM_MORE || used == size));
        free(piece);
        at += used;
        told.used = at;
    }
    size_t most = goal->kind == SALLY_UPSTREAM_HTTP ? SALLY_UPSTREAM_HEAD_MAX : ANSWERS_MAX;
    HOLD(told.answer == UPSTREAM_MALFORMED ? told.used <= most + 1 : told.used <= most);
    HOLD(talk.says_len <= UPSTREAM_SAYS_MAX);
    told.says_len = talk.says_len;
    told.code = talk.code;
    return told;
}

static void check_outcome(const struct upstream_goal *goal, const struct told *told)
{
    bool http = goal->kind == SALLY_UPSTREAM_HTTP;
    if (told->answer == UPSTREAM_REFUSED) HOLD(http ? told->code >= 300 : told->code > 0);
    if (told->answer == UPSTREAM_WANTS_AUTH) HOLD(http ? told->code == 407 : told->code > 0);
    if (told->answer == UPSTREAM_DONE) HOLD(http ? told->used >= 14 : told->used >= 8);
}

static void run_url(const uint8_t *data, size_t size)
{
    static const char begin[] = "http://";
    sally_upstream_url url;
    char *text = malloc(sizeof begin + size);
    if (!text) abort();
    memcpy(text, begin, sizeof begin - 1);
    memcpy(text + sizeof begin - 1, data, size);
    text[sizeof begin - 1 + size] = 0;
    if (sally_upstream_parse(&url, text) == 0) {
        HOLD(url.upstream.address == url.address && strlen(url.address) < sizeof url.address);
        HOLD(!url.upstream.user || strlen(url.user) <= SALLY_UPSTREAM_USER_MAX);
        HOLD(!url.upstream.password || (url.upstream.user && strlen(url.password) < 256));
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        struct upstream_goal goal;
        const char *answer;
        size_t len;
    } kinds[] = {
        {{SALLY_UPSTREAM_SOCKS4A, "a.example", {.port = 1}, NULL, NULL}, LIT("\0\x5a\0\0\0\0\0\0")},
        {{SALLY_UPSTREAM_SOCKS5, "a.example", {.port = 1}, NULL, NULL},
         LIT("\5\0\5\0\0\3\4abcd\0")},
        {{SALLY_UPSTREAM_SOCKS5, "a.example", {.port = 1}, "u", "p"}, LIT("\5\2\1\0\5\0\0\1abcd")},
        {{SALLY_UPSTREAM_HTTP, "a.example", {.port = 1}, "u", "p"},
         LIT("HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x\r\nA: b\r\n")},
    };
    static uint8_t stream[STREAM_MAX];
    if (size < 3 || size > STREAM_MAX / 2) return 0;
    unsigned which = data[0] % 6;
    if (which >= 4) {
        run_url(data + 1, size - 1);
        return 0;
    }
    const struct upstream_goal *goal = &kinds[which].goal;
    size_t len = data[1] % (kinds[which].len + 1);
    memcpy(stream, kinds[which].answer, len);
    memcpy(stream + len, data + 2, size - 2);
    len += size - 2;
    struct told whole = run_in(goal, stream, len, 0);
    check_outcome(goal, &whole);
    static const size_t steps[] = {1, 7, 64};
    for (unsigned i = 0; i < 3; i++) {
        struct told split = run_in(goal, stream, len, steps[i]);
        HOLD(split.answer == whole.answer && split.code == whole.code && split.used == whole.used &&
             split.says_len == whole.says_len);
    }
    return 0;
}
