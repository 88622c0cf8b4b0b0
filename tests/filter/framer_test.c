/* What a framer keeps, and for how long: no byte between two messages, never more than came, no
 * copy where none is needed, no byte looked at twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/support/trace.h"

enum { MB = 1 << 20 };

static const sally_framing length = {.kind = SALLY_FRAMING_LENGTH};
static const sally_framing line = {.kind = SALLY_FRAMING_LINE, .message_bytes_max = 8 * MB};

static struct framing made(const sally_framing *plain)
{
    struct framing framing;
    assert_int_equal(framing_init(&framing, plain), 0);
    return framing;
}

/* T13: a thousand peers announce the largest message there may be, and send nothing of it. */
static void memory_follows_what_came_not_what_was_announced(void **state)
{
    (void)state;
    enum { PEERS = 1000 };
    sally_framing largest = length;
    largest.message_bytes_max = (1 << 30) - 1;
    struct framing framing = made(&largest);
    struct trace trace;
    struct carry *carries[PEERS];
    trace_begin(&trace);
    for (int i = 0; i < PEERS; i++) {
        trace_feed(&trace, &framing, "\x3f\xff\xff\xfb", 4);
        assert_int_equal(trace.error, 0);
        carries[i] = trace.carry;
        trace.carry = NULL;
        trace.elsewhere = mem_in_use(&trace.counted.mem);
    }
    assert_true(mem_in_use(&trace.counted.mem) <= PEERS * (sizeof(struct carry) + 64));
    for (int i = 0; i < PEERS; i++) carry_free(carries[i], &trace.counted.mem);
    trace_end(&trace);
}

/* trace_feed checks after each piece that the room is at most twice what is in it. */
static void a_long_message_grows_in_proportion(void **state)
{
    (void)state;
    enum { PIECE = 1000 };
    static unsigned char zeros[MB];
    struct framing framing = made(&length);
    struct trace trace;
    trace_begin(&trace);
    trace_feed(&trace, &framing, "\0\x0f\xff\xfc", 4);
    for (size_t left = MB - 4; left;) {
        size_t piece = left < PIECE ? left : PIECE;
        trace_feed(&trace, &framing, zeros, piece);
        left -= piece;
    }
    assert_int_equal(trace.messages, 1);
    assert_int_equal(trace.error, 0);
    assert_null(trace.carry);
    assert_int_equal(mem_in_use(&trace.counted.mem), 0);
    assert_int_equal(trace.counted.block_high, MB); /* no more than the message has */
    assert_true(trace.counted.asked < 20);
    trace_end(&trace);
}

static void only_a_message_in_pieces_is_copied(void **state)
{
    (void)state;
    struct framing framing = made(&length);
    struct trace trace;
    trace_begin(&trace);
    trace_feed(&trace, &framing, "\0\0\0\3abc\0\0\0\2de\0\0\0\4fg", 19);
    trace_feed(&trace, &framing, "hi\0\0\0\1j", 7);
    assert_int_equal(trace.messages, 4);
    assert_int_equal(trace.copied, 1);
    assert_int_equal(trace.counted.asked, 2);
    assert_null(trace.carry);
    trace_end(&trace);
}

/* A search that began anew with each piece would look at 2^43 bytes here, and never end. */
static void no_byte_is_looked_at_twice(void **state)
{
    (void)state;
    enum { BYTES = 4 * MB };
    sally_framing mark = {.kind = SALLY_FRAMING_DELIMITER,
                          .end = "aaaaaaaaaaaaaaab",
                          .end_bytes = 16,
                          .message_bytes_max = 8 * MB};
    const sally_framing *plains[] = {&mark, &line};
    for (int i = 0; i < 2; i++) {
        struct framing framing = made(plains[i]);
        struct trace trace;
        trace_begin(&trace);
        for (size_t at = 0; at < BYTES; at++) trace_feed(&trace, &framing, "a", 1);
        assert_int_equal(trace.left, BYTES);
        trace_feed(&trace, &framing, i ? "\n" : "b", 1);
        uint32_t len;
        (void)trace_message(&trace, 0, &len);
        assert_int_equal(len, i ? BYTES : BYTES - 15);
        trace_end(&trace);
    }
}

static void a_closed_carry_knows_how_much_came(void **state)
{
    (void)state;
    struct framing framing = made(&length);
    struct trace trace;
    trace_whole(&trace, &framing, "\0\0\0\6abc", 7);
    carry_close(trace.carry, &trace.counted.mem);
    assert_int_equal(trace.carry->len, 7);
    assert_int_equal(mem_in_use(&trace.counted.mem), sizeof *trace.carry);
    carry_close(trace.carry, &trace.counted.mem);
    carry_close(NULL, &trace.counted.mem);
    carry_free(NULL, &trace.counted.mem);
    trace_end(&trace);
}

/* What was delivered before stays delivered; nothing is left behind. */
static void without_memory_it_says_so_and_keeps_nothing(void **state)
{
    (void)state;
    struct framing framing = made(&length);
    static const char stream[3993] = "\0\0\0\1x\0\0\x0f\x90"; /* of 1 and of 3984 bytes */
    for (uint64_t n = 1;; n++) {
        struct trace trace;
        trace_begin(&trace);
        trace.counted.fail_at = n;
        for (size_t at = 0; at < sizeof stream; at += 121)
            trace_feed(&trace, &framing, stream + at, 121);
        bool failed = trace.counted.asked >= n;
        assert_int_equal(trace.error, failed ? SALLY_ENOMEM : 0);
        assert_int_equal(trace.messages, failed ? 1 : 2);
        if (failed) assert_int_equal(mem_in_use(&trace.counted.mem), 0);
        trace_end(&trace);
        if (failed) continue;
        assert_true(n > 5);
        return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_follows_what_came_not_what_was_announced),
        cmocka_unit_test(a_long_message_grows_in_proportion),
        cmocka_unit_test(only_a_message_in_pieces_is_copied),
        cmocka_unit_test(no_byte_is_looked_at_twice),
        cmocka_unit_test(a_closed_carry_knows_how_much_came),
        cmocka_unit_test(without_memory_it_says_so_and_keeps_nothing),
    };
    return cmocka_run_group_tests_name("framer", tests, NULL, NULL);
}
