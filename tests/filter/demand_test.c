/* Messages on demand (P-52): each as long as the taker said before it, however the stream was cut
 * and wherever the taker stopped for a while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/framer.h"
#include "support/lot.h"

enum { STREAM = 48, LONG_STREAM = 3000, SIZES = 64 };

/* A connection that asks for `sizes` in turn, and for nothing after every `stops`-th message. */
struct asker {
    struct mem mem;
    struct framing framing;
    struct carry *carry;
    uint32_t wanted;
    uint32_t sizes[SIZES];
    unsigned count, at; /* messages */
    unsigned stops;
    size_t offset; /* of the stream */
    unsigned wrong;
};

static unsigned char stream_byte(size_t at) { return (unsigned char)(at * 37 + at / 256); }

static void ask(struct asker *asker) { asker->wanted = asker->sizes[asker->at % asker->count]; }

static bool take(void *ctx, const void *payload, size_t len, bool copied)
{
    struct asker *asker = ctx;
    const unsigned char *bytes = payload;
    (void)copied;
    asker->wrong += len != asker->sizes[asker->at % asker->count] || len != asker->wanted;
    for (size_t i = 0; i < len; i++) asker->wrong += bytes[i] != stream_byte(asker->offset + i);
    asker->offset += len;
    asker->at++;
    asker->wanted = 0;
    if (asker->stops && asker->at % asker->stops == 0) return false;
    ask(asker);
    return true;
}

static void asker_init(struct asker *asker, const uint32_t *sizes, unsigned count, unsigned stops)
{
    *asker = (struct asker){.count = count, .stops = stops};
    sally_framing plain = {.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = LONG_STREAM};
    mem_init(&asker->mem);
    assert_int_equal(framing_init(&asker->framing, &plain), 0);
    memcpy(asker->sizes, sizes, count * sizeof *sizes);
    ask(asker);
}

/* One piece of the stream, in as many calls as the stops make of it. */
static void feed(struct asker *asker, size_t from, size_t len)
{
    unsigned char bytes[LONG_STREAM];
    for (size_t i = 0; i < len; i++) bytes[i] = stream_byte(from + i);
    const struct framer framer = {.framing = &asker->framing,
                                  .mem = &asker->mem,
                                  .carry = &asker->carry,
                                  .take = take,
                                  .ctx = asker,
                                  .wanted = &asker->wanted};
    for (size_t at = 0, used; at < len; at += used) {
        if (!asker->wanted) ask(asker);
        assert_int_equal(framer_feed(&framer, bytes + at, len - at, &used), 0);
        assert_true(used > 0);
        assert_true(used == len - at || !asker->wanted);
    }
}

/* What it has, and what it has of the next, follow from the length alone. */
static void finish(struct asker *asker, size_t len)
{
    size_t offset = 0;
    unsigned at = 0;
    while (offset + asker->sizes[at % asker->count] <= len)
        offset += asker->sizes[at++ % asker->count];
    assert_int_equal(asker->wrong, 0);
    assert_int_equal(asker->at, at);
    assert_int_equal(asker->offset, offset);
    assert_int_equal(asker->carry ? asker->carry->len : 0, len - offset);
    if (asker->carry) carry_free(asker->carry, &asker->mem);
    assert_int_equal(mem_in_use(&asker->mem), 0);
}

static const uint32_t short_sizes[] = {4, 1, 7, 2, 13, 1, 1, 6};
enum { SHORT_SIZES = sizeof short_sizes / sizeof *short_sizes };

static void every_cut_in_three_gives_the_same(void **state)
{
    (void)state;
    for (unsigned stops = 0; stops < 3; stops++)
        for (size_t first = 0; first <= STREAM; first++)
            for (size_t second = first; second <= STREAM; second++) {
                struct asker asker;
                asker_init(&asker, short_sizes, SHORT_SIZES, stops);
                if (first) feed(&asker, 0, first);
                if (second > first) feed(&asker, first, second - first);
                if (STREAM > second) feed(&asker, second, STREAM - second);
                finish(&asker, STREAM);
            }
}

static void random_cuts_and_sizes_give_the_same(void **state)
{
    (void)state;
    enum { SEEDS = 2000 };
    for (uint64_t number = 1; number <= SEEDS; number++) {
        uint64_t seed = number;
        uint32_t sizes[SIZES];
        unsigned count = 1 + (unsigned)(lot_draw(&seed) % SIZES);
        for (unsigned i = 0; i < count; i++)
            sizes[i] = 1 + (uint32_t)(lot_draw(&seed) % (lot_draw(&seed) % 4 ? 20 : 1200));
        struct asker asker;
        asker_init(&asker, sizes, count, (unsigned)(lot_draw(&seed) % 5));
        uint64_t most = 1 + lot_draw(&seed) % 1000;
        for (size_t at = 0, len; at < LONG_STREAM; at += len) {
            len = 1 + (size_t)(lot_draw(&seed) % most);
            if (len > LONG_STREAM - at) len = LONG_STREAM - at;
            feed(&asker, at, len);
        }
        finish(&asker, LONG_STREAM);
    }
    printf("seeds 1 to %d\n", SEEDS);
}

static bool is_copied;

static bool take_note(void *ctx, const void *payload, size_t len, bool copied)
{
    is_copied = copied;
    return take(ctx, payload, len, copied);
}

/* Only what spans receives. */
static void what_lies_whole_is_not_copied(void **state)
{
    (void)state;
    struct asker asker;
    unsigned char bytes[32];
    const uint32_t size = 8;
    size_t used;
    asker_init(&asker, &size, 1, 1);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = stream_byte(i);
    const struct framer framer = {.framing = &asker.framing,
                                  .mem = &asker.mem,
                                  .carry = &asker.carry,
                                  .take = take_note,
                                  .ctx = &asker,
                                  .wanted = &asker.wanted};
    assert_int_equal(framer_feed(&framer, bytes, 20, &used), 0);
    assert_int_equal(used, 8);
    assert_false(is_copied);
    ask(&asker);
    assert_int_equal(framer_feed(&framer, bytes + 8, 3, &used), 0);
    assert_int_equal(asker.at, 1);
    assert_int_equal(framer_feed(&framer, bytes + 11, 21, &used), 0);
    assert_int_equal(used, 5);
    assert_true(is_copied);
    finish(&asker, 16);
}

/* A size that was announced costs nothing before its bytes come. */
static void memory_grows_with_what_has_come(void **state)
{
    (void)state;
    struct asker asker;
    const uint32_t size = LONG_STREAM;
    asker_init(&asker, &size, 1, 0);
    for (size_t at = 0; at < 1000; at++) {
        feed(&asker, at, 1);
        assert_true(mem_in_use(&asker.mem) <= sizeof(struct carry) + 64 + 2 * (at + 1));
    }
    finish(&asker, 1000);
}

static void there_is_no_frame_to_keep_or_to_send(void **state)
{
    (void)state;
    struct framing framing;
    sally_frame_edges edges;
    sally_framing plain = {.kind = SALLY_FRAMING_ON_DEMAND};
    assert_int_equal(framing_init(&framing, &plain), 0);
    assert_int_equal(framing.bytes_max, FRAMING_BYTES_MAX);
    assert_int_equal(framing_wrap(&framing, "x", 1, &edges), SALLY_ENOTSUP);
    plain.keep_frame = true;
    assert_int_equal(framing_init(&framing, &plain), SALLY_EINVAL);
    plain = (sally_framing){.kind = SALLY_FRAMING_ON_DEMAND, .refuse_empty = true};
    assert_int_equal(framing_init(&framing, &plain), SALLY_EINVAL);
    plain = (sally_framing){.kind = SALLY_FRAMING_ON_DEMAND, .fixed_bytes = 4};
    assert_int_equal(framing_init(&framing, &plain), SALLY_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_in_three_gives_the_same),
        cmocka_unit_test(random_cuts_and_sizes_give_the_same),
        cmocka_unit_test(what_lies_whole_is_not_copied),
        cmocka_unit_test(memory_grows_with_what_has_come),
        cmocka_unit_test(there_is_no_frame_to_keep_or_to_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
