/* The byte queue against a flat array of bytes. */
#include "base/sendq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"
#include "sallyport/error.h"

enum { CHUNK = 256, CHUNKS_MAX = 40 };

/* ---- What releases tell ---- */

struct releases {
    unsigned count;
    uint64_t tokens[64];
    const void *data[64];
};

static void note_release(void *owner, const void *data, uint64_t token)
{
    struct releases *releases = owner;
    releases->tokens[releases->count % 64] = token;
    releases->data[releases->count % 64] = data;
    releases->count++;
}

struct bench {
    struct ledger ledger;
    struct sendq_pools pools;
    struct sendq queue;
    struct releases releases;
};

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){{{0}}};
    ledger_init(&bench->ledger);
    assert_int_equal(sendq_pools_init(&bench->pools, &bench->ledger.mem, CHUNK, CHUNKS_MAX), 0);
}

static void bench_free(struct bench *bench)
{
    sendq_clear(&bench->queue, &bench->pools);
    assert_null(bench->queue.head);
    assert_null(bench->queue.tail);
    assert_int_equal(bench->queue.bytes, 0);
    assert_int_equal(bench->queue.front, 0);
    sendq_pools_free(&bench->pools);
    ledger_check_empty(&bench->ledger);
}

static unsigned bench_spans(const struct bench *bench)
{
    struct span spans[64];
    return sendq_gather(&bench->queue, spans, 64);
}

/* The room of a chunk, found as a user would. */
static size_t chunk_room(struct bench *bench)
{
    unsigned char bytes[CHUNK] = {0};
    struct sendq queue = {0};
    struct span spans[2];
    assert_int_equal(sendq_copy(&queue, &bench->pools, bytes, sizeof bytes), 0);
    assert_int_equal(sendq_gather(&queue, spans, 2), 2);
    sendq_clear(&queue, &bench->pools);
    return spans[0].len;
}

/* ---- Single behaviours ---- */

static void empty_queue_gathers_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    assert_int_equal(bench_spans(&bench), 0);
    sendq_consume(&bench.queue, &bench.pools, 0);
    sendq_clear(&bench.queue, &bench.pools);
    bench_free(&bench);
}

static void small_copies_share_a_chunk(void **state)
{
    (void)state;
    struct bench bench;
    struct span span;
    bench_init(&bench);
    assert_true(chunk_room(&bench) >= CHUNK - 32);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(sendq_copy(&bench.queue, &bench.pools, "0123456789", 10), 0);
    assert_int_equal(sendq_gather(&bench.queue, &span, 1), 1);
    assert_int_equal(span.len, 100);
    assert_memory_equal(span.data, "01234567890123456789", 20);
    assert_int_equal(bench.pools.chunks.out, 1);
    bench_free(&bench);
}

static void consuming_moves_the_front_and_gives_chunks_back(void **state)
{
    (void)state;
    struct bench bench;
    struct span span;
    bench_init(&bench);
    size_t room = chunk_room(&bench);
    unsigned char bytes[3 * CHUNK];
    for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)i;
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, bytes, 2 * room + 5), 0);
    assert_int_equal(bench.pools.chunks.out, 3);
    sendq_consume(&bench.queue, &bench.pools, room - 1);
    assert_int_equal(bench.queue.front, room - 1);
    assert_int_equal(bench.pools.chunks.out, 3);
    sendq_consume(&bench.queue, &bench.pools, 1);
    assert_int_equal(bench.queue.front, 0);
    assert_int_equal(bench.pools.chunks.out, 2);
    sendq_consume(&bench.queue, &bench.pools, room + 2); /* over a border */
    assert_int_equal(bench.queue.front, 2);
    assert_int_equal(bench.queue.bytes, 3);
    assert_int_equal(sendq_gather(&bench.queue, &span, 1), 1);
    assert_int_equal(span.len, 3);
    assert_memory_equal(span.data, bytes + 2 * room + 2, 3);
    sendq_consume(&bench.queue, &bench.pools, 3);
    assert_int_equal(bench.pools.chunks.out, 0);
    bench_free(&bench);
}

/* The kernel reads what was gathered while more is appended to the same chunk. */
static void appending_leaves_what_is_in_flight_alone(void **state)
{
    (void)state;
    struct bench bench;
    struct span spans[2];
    bench_init(&bench);
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, "flying", 6), 0);
    assert_int_equal(sendq_gather(&bench.queue, spans, 2), 1);
    unsigned char rest[2 * CHUNK] = {1};
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, rest, sizeof rest), 0);
    assert_int_equal(spans[0].len, 6);
    assert_memory_equal(spans[0].data, "flying", 6);
    struct span again;
    assert_int_equal(sendq_gather(&bench.queue, &again, 1), 1);
    assert_ptr_equal(again.data, spans[0].data);
    bench_free(&bench);
}

static void references_are_released_once_in_order(void **state)
{
    (void)state;
    static const char data[] = "abcdefghij";
    struct bench bench;
    bench_init(&bench);
    struct releases *releases = &bench.releases;
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(
            sendq_refer(&bench.queue, &bench.pools, data + i, 3, note_release, releases, 100 + i),
            0);
        assert_int_equal(sendq_copy(&bench.queue, &bench.pools, "x", 1), 0);
    }
    assert_int_equal(bench_spans(&bench), 6);
    sendq_consume(&bench.queue, &bench.pools, 2);
    assert_int_equal(releases->count, 0);
    sendq_consume(&bench.queue, &bench.pools, 1);
    assert_int_equal(releases->count, 1);
    sendq_consume(&bench.queue, &bench.pools, 5); /* the second whole, of the third nothing */
    assert_int_equal(releases->count, 2);
    sendq_consume(&bench.queue, &bench.pools, 1);
    sendq_clear(&bench.queue, &bench.pools);
    assert_int_equal(releases->count, 3);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(releases->tokens[i], 100 + i);
        assert_ptr_equal(releases->data[i], data + i);
    }
    bench_free(&bench);
    assert_int_equal(releases->count, 3);
}

static void append_again(void *owner, const void *data, uint64_t token)
{
    struct bench *bench = owner;
    (void)data;
    if (token)
        assert_int_equal(sendq_copy(&bench->queue, &bench->pools, "again", (size_t)token), 0);
}

/* Whoever gets its bytes back may have a next message ready. */
static void release_may_append(void **state)
{
    (void)state;
    struct bench bench;
    struct span span;
    bench_init(&bench);
    assert_int_equal(sendq_refer(&bench.queue, &bench.pools, "one", 3, append_again, &bench, 5), 0);
    assert_int_equal(sendq_refer(&bench.queue, &bench.pools, "two", 3, append_again, &bench, 0), 0);
    sendq_consume(&bench.queue, &bench.pools, 6);
    assert_int_equal(bench.queue.bytes, 5);
    assert_int_equal(sendq_gather(&bench.queue, &span, 1), 1);
    assert_memory_equal(span.data, "again", 5);
    bench_free(&bench);
}

static void gather_stops_at_max(void **state)
{
    (void)state;
    struct bench bench;
    struct span spans[3] = {{0}};
    bench_init(&bench);
    for (unsigned i = 0; i < 3; i++)
        sendq_refer(&bench.queue, &bench.pools, "abc", 3, note_release, &bench.releases, i);
    assert_int_equal(sendq_gather(&bench.queue, spans, 0), 0);
    assert_int_equal(sendq_gather(&bench.queue, spans, 2), 2);
    assert_null(spans[2].data);
    assert_int_equal(sendq_gather(&bench.queue, spans, 3), 3);
    assert_int_equal(bench.queue.bytes, 9);
    bench_free(&bench);
}

/* ---- Limits ---- */

static void pools_refuse_useless_sizes(void **state)
{
    (void)state;
    struct mem mem;
    struct sendq_pools pools;
    mem_init(&mem);
    assert_int_equal(sendq_pools_init(&pools, &mem, 0, 10), SALLY_EINVAL);
    assert_int_equal(sendq_pools_init(&pools, &mem, 24, 10), SALLY_EINVAL);
    assert_int_equal(sendq_pools_init(&pools, &mem, SIZE_MAX, 10), SALLY_EINVAL);
    assert_int_equal(sendq_pools_init(&pools, &mem, 4096, 0), SALLY_EINVAL);
}

static void copy_is_all_or_nothing_at_the_chunk_cap(void **state)
{
    (void)state;
    struct bench bench;
    struct sendq other = {0};
    struct span span;
    bench_init(&bench);
    size_t room = chunk_room(&bench);
    unsigned char *bytes = calloc(CHUNKS_MAX, CHUNK);
    assert_int_equal(sendq_copy(&other, &bench.pools, bytes, (CHUNKS_MAX - 3) * room), 0);
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, "begun", 5), 0);
    /* the rest of this chunk and two more are left */
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, bytes, 3 * room - 4), SALLY_ENOMEM);
    assert_int_equal(bench.queue.bytes, 5);
    assert_int_equal(bench.pools.chunks.out, CHUNKS_MAX - 2);
    assert_int_equal(sendq_gather(&bench.queue, &span, 1), 1);
    assert_int_equal(span.len, 5);
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, bytes, 3 * room - 5), 0);
    assert_int_equal(bench.pools.chunks.out, CHUNKS_MAX);
    assert_int_equal(sendq_copy(&bench.queue, &bench.pools, bytes, 1), SALLY_ENOMEM);
    sendq_clear(&other, &bench.pools);
    free(bytes);
    bench_free(&bench);
}

static void references_have_a_cap(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    const uint32_t cap = bench.pools.refs.out_max;
    assert_true(cap >= CHUNKS_MAX);
    for (uint32_t i = 0; i < cap; i++) {
        assert_int_equal(
            sendq_refer(&bench.queue, &bench.pools, "a", 1, note_release, &bench.releases, i), 0);
    }
    assert_int_equal(
        sendq_refer(&bench.queue, &bench.pools, "a", 1, note_release, &bench.releases, cap),
        SALLY_ENOMEM);
    assert_int_equal(bench.releases.count, 0);
    bench_free(&bench);
    assert_int_equal(bench.releases.count, cap);
}

/* T12: the count is of 32 bits; what would make it wrap is refused, whatever the length. */
static void T12_byte_count_never_wraps(void **state)
{
    (void)state;
    static const char byte = 'b';
    static const size_t after[] = {1, 2, UINT32_MAX - 1, UINT32_MAX, (size_t)1 << 31, SIZE_MAX};
    struct bench bench;
    bench_init(&bench);
    /* referred to only: nothing is read */
    assert_int_equal(sendq_refer(&bench.queue, &bench.pools, &byte, UINT32_MAX, note_release,
                                 &bench.releases, 0),
                     0);
    for (unsigned i = 0; i < sizeof after / sizeof *after; i++) {
        assert_int_equal(sendq_copy(&bench.queue, &bench.pools, &byte, after[i]), SALLY_ENOMEM);
        assert_int_equal(sendq_refer(&bench.queue, &bench.pools, &byte, after[i], note_release,
                                     &bench.releases, 1),
                         SALLY_ENOMEM);
    }
    assert_int_equal(bench.queue.bytes, UINT32_MAX);
    assert_int_equal(bench.pools.chunks.out, 0);
    sendq_consume(&bench.queue, &bench.pools, UINT32_MAX - 1);
    assert_int_equal(bench.queue.front, UINT32_MAX - 1);
    assert_int_equal(bench.releases.count, 0);
    bench_free(&bench);
    assert_int_equal(bench.releases.count, 1);
}

static void T12_length_past_32_bits_is_refused_also_when_empty(void **state)
{
    (void)state;
    static const char byte = 'b';
    struct bench bench;
    struct span span;
    bench_init(&bench);
    struct sendq *queue = &bench.queue;
    assert_int_equal(sendq_refer(queue, &bench.pools, &byte, SIZE_MAX, note_release, NULL, 0),
                     SALLY_ENOMEM);
#if SIZE_MAX > UINT32_MAX
    for (size_t more = 1; more < 4; more++) {
        const size_t len = (size_t)UINT32_MAX + more;
        assert_int_equal(sendq_refer(queue, &bench.pools, &byte, len, note_release, NULL, 0),
                         SALLY_ENOMEM);
        assert_int_equal(sendq_copy(queue, &bench.pools, &byte, len), SALLY_ENOMEM);
    }
#endif
    assert_int_equal(sendq_gather(queue, &span, 1), 0);
    assert_int_equal(sendq_copy(queue, &bench.pools, "0123456789", 10), 0);
    assert_int_equal(
        sendq_refer(queue, &bench.pools, &byte, UINT32_MAX - 9, note_release, &bench.releases, 0),
        SALLY_ENOMEM);
    assert_int_equal(
        sendq_refer(queue, &bench.pools, &byte, UINT32_MAX - 10, note_release, &bench.releases, 0),
        0);
    assert_int_equal(queue->bytes, UINT32_MAX);
    bench_free(&bench);
    assert_int_equal(bench.releases.count, 1);
}

static void failed_nth_allocation_takes_nothing(void **state)
{
    (void)state;
    unsigned char bytes[5 * CHUNK] = {7};
    for (size_t fail_at = 1; fail_at <= 7; fail_at++) {
        struct bench bench;
        bench_init(&bench);
        bench.ledger.fail_at = fail_at;
        unsigned failures = 0;
        for (unsigned tries = 0; tries < 2; tries++) { /* the second time there is memory */
            uint32_t before = bench.queue.bytes;
            int err = sendq_copy(&bench.queue, &bench.pools, bytes, sizeof bytes);
            assert_true(err == 0 || err == SALLY_ENOMEM);
            assert_int_equal(bench.queue.bytes, before + (err ? 0 : sizeof bytes));
            failures += err != 0;
            if (err) assert_int_equal(bench.pools.chunks.out, 0);
            if (!err) break;
        }
        for (unsigned tries = 0; tries < 2; tries++) {
            int err =
                sendq_refer(&bench.queue, &bench.pools, bytes, 9, note_release, &bench.releases, 1);
            failures += err != 0;
            if (!err) break;
        }
        assert_int_equal(failures, 1);
        assert_int_equal(bench.queue.bytes, sizeof bytes + 9);
        bench_free(&bench);
        assert_int_equal(bench.releases.count, 1);
    }
}

static void steady_state_allocates_nothing(void **state)
{
    (void)state;
#if defined(SALLY_POOLS_OFF)
    skip();
#endif
    struct bench bench;
    unsigned char bytes[64] = {0};
    bench_init(&bench);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(sendq_copy(&bench.queue, &bench.pools, bytes, sizeof bytes), 0);
        sendq_refer(&bench.queue, &bench.pools, bytes, 8, note_release, &bench.releases, i);
        sendq_consume(&bench.queue, &bench.pools, sizeof bytes + 8);
    }
    assert_int_equal(bench.ledger.allocs, 2);
    bench_free(&bench);
}

/* ---- The model ---- */

enum { FLAT_MAX = 16000, MODEL_STEPS = 60000 };

struct model {
    struct bench bench;
    struct dice dice;
    unsigned char flat[FLAT_MAX]; /* what is queued */
    size_t flat_len;
    struct lent {
        unsigned char *data;
        size_t end;             /* in bytes queued since the beginning */
    } lent[CHUNKS_MAX * CHUNK]; /* a ring, by token */
    uint64_t lent_first, lent_next;
    uint64_t in, out; /* bytes since the beginning */
};

static void model_release(void *owner, const void *data, uint64_t token)
{
    struct model *model = owner;
    struct lent *lent = &model->lent[token % (CHUNKS_MAX * CHUNK)];
    assert_int_equal(token, model->lent_first);
    assert_ptr_equal(data, lent->data);
    assert_true(lent->end <= model->out); /* all of it was consumed */
    free(lent->data);
    model->lent_first++;
}

static void model_append(struct model *model, const unsigned char *bytes, size_t len)
{
    memcpy(model->flat + model->flat_len, bytes, len);
    model->flat_len += len;
    model->in += len;
}

static size_t model_len(struct model *model, size_t max)
{
    size_t bits = dice_below(&model->dice, 12);
    size_t len = 1 + dice_below(&model->dice, (uint64_t)1 << bits);
    return len < max ? len : max;
}

/* The same bytes as three ranges, some of them empty. */
static int model_copy_three(struct model *model, const unsigned char *bytes, size_t len)
{
    size_t first = dice_below(&model->dice, len + 1);
    size_t second = dice_below(&model->dice, len - first + 1);
    const struct span spans[] = {
        {bytes, first}, {bytes + first, second}, {bytes + first + second, len - first - second}};
    return sendq_copy_spans(&model->bench.queue, &model->bench.pools, spans, 3, false);
}

static void model_add(struct model *model)
{
    struct bench *bench = &model->bench;
    size_t len = model_len(model, FLAT_MAX - model->flat_len);
    if (!len) return;
    unsigned char *bytes = malloc(len); /* its exact size, for the sanitizer */
    for (size_t i = 0; i < len; i++) bytes[i] = (unsigned char)dice_roll(&model->dice);
    uint64_t token = model->lent_next;
    bool refer = dice_below(&model->dice, 3) == 0;
    int err;
    if (refer) {
        model->lent[token % (CHUNKS_MAX * CHUNK)] = (struct lent){bytes, model->in + len};
        err = sendq_refer(&bench->queue, &bench->pools, bytes, len, model_release, model, token);
        if (!err) model->lent_next++;
    } else if (dice_below(&model->dice, 2)) {
        err = model_copy_three(model, bytes, len);
    } else {
        err = sendq_copy(&bench->queue, &bench->pools, bytes, len);
    }
    assert_true(err == 0 || err == SALLY_ENOMEM);
    if (!err) model_append(model, bytes, len);
    if (err || !refer) free(bytes);
}

static void model_consume(struct model *model, size_t len)
{
    struct bench *bench = &model->bench;
    model->out += len;
    sendq_consume(&bench->queue, &bench->pools, len);
    memmove(model->flat, model->flat + len, model->flat_len - len);
    model->flat_len -= len;
}

static void model_check(struct model *model)
{
    struct span spans[200];
    unsigned max = 1 + (unsigned)dice_below(&model->dice, 200);
    unsigned count = sendq_gather(&model->bench.queue, spans, max);
    size_t at = 0;
    assert_int_equal(model->bench.queue.bytes, model->flat_len);
    for (unsigned i = 0; i < count; i++) {
        assert_true(spans[i].len > 0 && spans[i].len <= model->flat_len - at);
        assert_memory_equal(spans[i].data, model->flat + at, spans[i].len);
        at += spans[i].len;
    }
    if (count < max) assert_int_equal(at, model->flat_len);
}

static void random_use_agrees_with_a_flat_array(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    bench_init(&model->bench);
    dice_init(&model->dice, "sendq");
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        bool fill = step / 500 % 2; /* tides: to full and to empty */
        if (dice_below(&model->dice, 10) < (fill ? 7 : 4))
            model_add(model);
        else
            model_consume(model, dice_below(&model->dice, 1 + model_len(model, model->flat_len)));
        if (dice_below(&model->dice, 2000) == 0) model_consume(model, model->flat_len);
        model_check(model);
    }
    assert_true(model->bench.pools.chunks.refused > 0); /* the cap was met */
    model->out = model->in;
    bench_free(&model->bench);
    assert_int_equal(model->lent_first, model->lent_next);
    free(model);
}

/* ---- Units ---- */

static void a_unit_is_dropped_whole_and_what_is_kept_stays(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct sendq *queue = &bench.queue;
    char text[3 * CHUNK];
    for (char unit = 'a'; unit < 'e'; unit++) {
        memset(text, unit, sizeof text);
        struct span halves[] = {{text, 100}, {text, 0}, {text, sizeof text - 100}};
        assert_int_equal(sendq_copy_spans(queue, &bench.pools, halves, 3, true), 0);
    }
    sendq_consume(queue, &bench.pools, 1);
    uint32_t before = 0;
    assert_int_equal(sendq_drop_unit(queue, &bench.pools, 1, &before), sizeof text); /* b */
    assert_int_equal(before, sizeof text - 1);
    assert_int_equal(queue->bytes, 3 * sizeof text - 1);
    assert_int_equal(sendq_drop_unit(queue, &bench.pools, 7, &before),
                     sizeof text); /* d, the tail */
    assert_int_equal(before, 2 * sizeof text - 1);
    assert_int_equal(sendq_drop_unit(queue, &bench.pools, 7, &before), 0);
    assert_int_equal(sendq_copy(queue, &bench.pools, "z", 1), 0); /* the tail is right */
    char expected[6 * CHUNK];
    memset(expected, 'a', sizeof text - 1);
    memset(expected + sizeof text - 1, 'c', sizeof text);
    expected[2 * sizeof text - 1] = 'z';
    for (size_t at = 0; at < 2 * sizeof text;) {
        struct span span;
        assert_int_equal(sendq_gather(queue, &span, 1), 1);
        assert_memory_equal(span.data, expected + at, span.len);
        at += span.len;
        sendq_consume(queue, &bench.pools, span.len);
    }
    assert_int_equal(queue->bytes, 0);
    bench_free(&bench);
}

/* What is behind a mark is not gathered, also when it is all that there is, and appending to it
 * begins anew. */
static void nothing_is_gathered_past_a_mark(void **state)
{
    (void)state;
    struct bench bench;
    struct span spans[4];
    bench_init(&bench);
    struct sendq *queue = &bench.queue;
    assert_false(sendq_at_mark(queue));
    assert_int_equal(sendq_copy(queue, &bench.pools, "ab", 2), 0);
    assert_int_equal(sendq_refer(queue, &bench.pools, NULL, 50, note_release, &bench.releases, 7),
                     0);
    assert_int_equal(sendq_copy(queue, &bench.pools, "c", 1), 0);
    assert_int_equal(sendq_gather(queue, spans, 4), 1);
    assert_int_equal(spans[0].len, 2);
    sendq_consume(queue, &bench.pools, 2);
    assert_true(sendq_at_mark(queue));
    assert_int_equal(bench.releases.count, 0);
    sendq_consume(queue, &bench.pools, 50);
    assert_int_equal(bench.releases.count, 1);
    assert_int_equal(bench.releases.tokens[0], 7);
    assert_false(sendq_at_mark(queue));
    assert_int_equal(sendq_gather(queue, spans, 4), 1);
    assert_memory_equal(spans[0].data, "c", 1);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_queue_gathers_nothing),
        cmocka_unit_test(small_copies_share_a_chunk),
        cmocka_unit_test(consuming_moves_the_front_and_gives_chunks_back),
        cmocka_unit_test(appending_leaves_what_is_in_flight_alone),
        cmocka_unit_test(references_are_released_once_in_order),
        cmocka_unit_test(release_may_append),
        cmocka_unit_test(nothing_is_gathered_past_a_mark),
        cmocka_unit_test(gather_stops_at_max),
        cmocka_unit_test(pools_refuse_useless_sizes),
        cmocka_unit_test(copy_is_all_or_nothing_at_the_chunk_cap),
        cmocka_unit_test(references_have_a_cap),
        cmocka_unit_test(T12_byte_count_never_wraps),
        cmocka_unit_test(T12_length_past_32_bits_is_refused_also_when_empty),
        cmocka_unit_test(failed_nth_allocation_takes_nothing),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(random_use_agrees_with_a_flat_array),
        cmocka_unit_test(a_unit_is_dropped_whole_and_what_is_kept_stays),
    };
    return cmocka_run_group_tests_name("sendq", tests, NULL, NULL);
}
