/* Filters at work without a connection (P-54): however the bytes, the rooms and the chunks are cut,
 * what comes out of one stack's wire and goes into another's is what was sent, and nothing is made
 * that nobody takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/stack.h"
#include "support/filter_shake.h"
#include "support/long.h"
#include "support/lot.h"

enum { STREAM_MAX = 40000, CHUNK_HEAD = 32 };

static struct mem mem;

struct end {
    struct sendq_pools pools;
    struct filters *filters;
    unsigned char *states;
    unsigned char rooms[STACK_ROOMS_BYTES];
    struct stack stack;
    struct sendq out; /* the wire */
};

static void end_init(struct end *end, const sally_filter *list, unsigned count, size_t chunk_bytes)
{
    *end = (struct end){.filters = NULL};
    assert_int_equal(sendq_pools_init(&end->pools, &mem, chunk_bytes, 100000), 0);
    assert_int_equal(filters_create(&end->filters, &mem, list, count), 0);
    end->states = mem_zalloc(&mem, filters_states_bytes(end->filters));
    stack_init(&end->stack, end->filters, &end->pools, end->rooms, end->states);
    assert_int_equal(stack_open(&end->stack, NULL), 0);
}

static void end_free(struct end *end)
{
    stack_close(&end->stack);
    sendq_clear(&end->out, &end->pools);
    mem_free(&mem, end->states, filters_states_bytes(end->filters));
    filters_free(end->filters, &mem);
    sendq_pools_free(&end->pools);
}

static void end_send(struct end *end, const void *data, size_t len, bool flush)
{
    struct sendq_room room;
    uint32_t before = end->out.bytes;
    size_t most = stack_out_max(&end->stack, end->stack.count - 1, len);
    assert_int_equal(sendq_room_take(&end->out, &end->pools, most + 1, &room), 0);
    assert_int_equal(stack_out(&end->stack, end->stack.count - 1, (struct span){data, len}, flush,
                               &end->out, &room),
                     0);
    sendq_room_drop(&end->pools, &room);
    assert_true(end->out.bytes - before <= most);
}

static void end_finish(struct end *end)
{
    struct sendq_room room;
    uint32_t before = end->out.bytes;
    size_t most = stack_finish_max(&end->stack);
    assert_int_equal(sendq_room_take(&end->out, &end->pools, most + 1, &room), 0);
    assert_int_equal(stack_finish(&end->stack, &end->out, &room), 0);
    sendq_room_drop(&end->pools, &room);
    assert_true(end->out.bytes - before <= most);
}

/* Some of what the highest has made is taken and compared; how many bytes. */
static size_t end_take(struct end *end, struct lot *lot, const unsigned char *expected, size_t left)
{
    struct sendq *made = stack_made(&end->stack);
    if (!made->bytes || !lot_below(lot, 3)) return 0;
    assert_true(sendq_is_single(made));
    struct span span = sendq_front(made);
    size_t take = lot_below(lot, 2) ? span.len : 1 + lot_below(lot, (uint32_t)span.len);
    assert_true(take <= left);
    assert_memory_equal(span.data, expected, take);
    sendq_consume(made, &end->pools, take);
    return take;
}

/* The whole wire goes into the other end in pieces, and what comes out is the stream. */
static void carry_over(struct end *from, struct end *to, struct lot *lot,
                       const unsigned char *expected, size_t len)
{
    size_t wire_bytes = from->out.bytes, at = 0, got = 0;
    unsigned char *wire = malloc(wire_bytes + 1);
    assert_non_null(wire);
    for (struct span span; sendq_gather(&from->out, &span, 1);
         sendq_consume(&from->out, &from->pools, span.len)) {
        memcpy(wire + at, span.data, span.len);
        at += span.len;
    }
    at = 0;
    while (!stack_is_over(&to->stack)) {
        size_t piece = wire_bytes - at < 1 ? 0 : 1 + lot_below(lot, (uint32_t)(wire_bytes - at));
        if (lot_below(lot, 2) && piece > 50) piece = 1 + lot_below(lot, 50);
        struct stack_wire in = {wire + at, piece, 0, at + piece == wire_bytes};
        for (;;) {
            got += end_take(to, lot, expected + got, len - got);
            int did = stack_step(&to->stack, &in);
            assert_true(did >= 0);
            assert_true(stack_holds(&to->stack) <=
                        to->stack.count * (to->pools.chunks.buf_bytes - CHUNK_HEAD));
            if (!did && !stack_made(&to->stack)->bytes) break;
        }
        assert_false(stack_is_pending(&to->stack, in.over));
        assert_int_equal(in.used, piece);
        at += in.used;
    }
    assert_int_equal(got, len);
    free(wire);
}

/* Runs of bytes and single ones, so that runs has both to do. */
static size_t stream_fill(unsigned char *stream, struct lot *lot)
{
    size_t len = lot_below(lot, lot_below(lot, 4) ? 3000 : STREAM_MAX);
    for (size_t at = 0; at < len;) {
        size_t run = lot_below(lot, 3) ? 1 : 1 + lot_below(lot, 5000);
        if (run > len - at) run = len - at;
        memset(stream + at, (int)lot_below(lot, 256), run);
        at += run;
    }
    return len;
}

static unsigned draw_filters(struct lot *lot, sally_filter *list, unsigned char *key)
{
    unsigned count = 1 + lot_below(lot, SALLY_FILTERS_MAX);
    for (unsigned i = 0; i < count; i++)
        list[i] = lot_below(lot, 2) ? filter_runs() : filter_xor(key);
    return count;
}

static void one_seed(uint64_t seed)
{
    struct lot lot = {seed};
    static unsigned char stream[STREAM_MAX];
    static struct end from, to;
    sally_filter list[SALLY_FILTERS_MAX];
    unsigned char key = (unsigned char)seed;
    unsigned count = draw_filters(&lot, list, &key);
    end_init(&from, list, count, 64 + lot_below(&lot, 5000));
    end_init(&to, list, count, 64 + lot_below(&lot, lot_below(&lot, 2) ? 5000 : 20));
    size_t len = stream_fill(stream, &lot);
    for (size_t at = 0, piece; at < len; at += piece) {
        piece = 1 + lot_below(&lot, (uint32_t)(len - at));
        end_send(&from, stream + at, piece, lot_below(&lot, 4));
    }
    end_finish(&from);
    carry_over(&from, &to, &lot, stream, len);
    end_free(&from);
    end_free(&to);
}

static void every_cut_gives_the_same_stream(void **state)
{
    (void)state;
    seeds_run(2000, 20, one_seed);
}

/* ---- Little becomes much ---- */

static void what_nobody_takes_is_not_made(void **state)
{
    (void)state;
    static struct end end;
    unsigned char bomb[RUN_BYTES];
    const sally_filter list[] = {filter_runs()};
    const uint32_t much = 300u << 20;
    end_init(&end, list, 1, 4096);
    size_t before = mem_in_use(&mem);
    run_write(bomb, much, 'x');
    struct stack_wire wire = {bomb, sizeof bomb, 0, false};
    uint32_t got = 0;
    while (stack_step(&end.stack, &wire)) {
        assert_int_equal(stack_step(&end.stack, &wire), 0); /* not before it is taken */
        assert_true(mem_in_use(&mem) - before <= 4096);
        got += stack_made(&end.stack)->bytes;
        sendq_clear(stack_made(&end.stack), &end.pools);
        if (got > 4 << 20) break;
    }
    assert_true(got > 4 << 20);
    assert_true(stack_is_pending(&end.stack, false));
    end_free(&end);
}

/* ---- Handshakes and replies ---- */

/* Everything that one end has to say by itself goes to the other. */
static void talk(struct end *from, struct end *to)
{
    for (int layer; (layer = stack_take_reply(&from->stack)) >= 0;) {
        struct sendq_room room;
        size_t most = stack_out_max(&from->stack, (unsigned)layer, 0);
        assert_int_equal(sendq_room_take(&from->out, &from->pools, most + 1, &room), 0);
        assert_int_equal(stack_out(&from->stack, (unsigned)layer, (struct span){NULL, 0}, true,
                                   &from->out, &room),
                         0);
        sendq_room_drop(&from->pools, &room);
    }
    while (from->out.bytes) {
        struct span span;
        (void)sendq_gather(&from->out, &span, 1);
        struct stack_wire wire = {span.data, 1, 0, false};
        while (stack_step(&to->stack, &wire) > 0) {
        }
        assert_int_equal(wire.used, 1);
        sendq_consume(&from->out, &from->pools, 1);
    }
}

/* Two handshakes, one through the other: the upper one begins when the lower one is over. */
static void a_handshake_waits_for_the_one_below(void **state)
{
    (void)state;
    static struct end client, server;
    const sally_filter list[] = {filter_shake(), filter_xor(NULL), filter_shake()};
    end_init(&client, list, 3, 128);
    end_init(&server, list, 3, 128);
    for (int i = 0; i < 3; i += 2) {
        struct shake_state *shake = server.stack.layers[i].state;
        shake->server = true;
        shake->say = NULL;
    }
    for (int i = 0; i < 8 && !stack_is_ready(&client.stack); i++) {
        talk(&client, &server);
        assert_false(stack_is_ready(&client.stack));
        talk(&server, &client);
    }
    assert_true(stack_is_ready(&client.stack) && stack_is_ready(&server.stack));
    end_send(&client, "a letter", 8, true);
    end_finish(&client);
    struct lot lot = {1};
    carry_over(&client, &server, &lot, (const unsigned char *)"a letter", 8);
    end_free(&client);
    end_free(&server);
}

/* What lies below an end is nobody's any more. */
static void an_end_within_drops_what_is_below_it(void **state)
{
    (void)state;
    static struct end end;
    struct xor_state xor = {.key = 7};
    unsigned char runs[3 * RUN_BYTES], key = 7;
    const sally_filter list[] = {filter_xor(&key), filter_runs()};
    end_init(&end, list, 2, 4096);
    run_write(runs, 7, 'x');
    run_write(runs + RUN_BYTES, RUNS_END, 0);
    run_write(runs + 2 * RUN_BYTES, 9, 'y');
    sally_filter_io io = {
        .input = runs, .len = sizeof runs, .room = runs, .room_bytes = sizeof runs};
    assert_int_equal(xor_out(&xor, &io), SALLY_FILTERED_ALL);
    struct stack_wire wire = {runs, sizeof runs, 0, false};
    while (stack_step(&end.stack, &wire) > 0) {
    }
    assert_int_equal(stack_made(&end.stack)->bytes, 7);
    assert_int_equal(stack_holds(&end.stack), 7);
    sendq_clear(stack_made(&end.stack), &end.pools);
    assert_true(stack_is_over(&end.stack));
    assert_false(stack_is_pending(&end.stack, false));
    wire = (struct stack_wire){runs, sizeof runs, 0, false};
    assert_int_equal(stack_step(&end.stack, &wire), 0);
    assert_int_equal(wire.used, sizeof runs);
    end_free(&end);
}

/* ---- Filters that err ---- */

static struct {
    int result;
    size_t used, made;
    unsigned calls;
} says;

static int as_told(void *state, sally_filter_io *io)
{
    (void)state;
    says.calls++;
    io->used = says.used;
    io->made = says.made;
    return says.result;
}

static void check_told(int result, size_t used, size_t made, int expected)
{
    static struct end end;
    struct sendq_room room;
    const sally_filter list[] = {{.name = "told", .state_bytes = 1, .in = as_told, .out = as_told}};
    end_init(&end, list, 1, 64);
    says.result = result;
    says.used = used;
    says.made = made;
    struct stack_wire wire = {(const unsigned char *)"four", 4, 0, false};
    assert_int_equal(stack_step(&end.stack, &wire), expected);
    if (expected < 0) assert_int_equal(stack_made(&end.stack)->bytes, 0);
    if (expected < 0) assert_string_equal(end.stack.blamed, "told");
    if (result == SALLY_FILTERED_END) expected = SALLY_EINVAL; /* what goes has no end within */
    assert_int_equal(sendq_room_take(&end.out, &end.pools, 5, &room), 0);
    int err = stack_out(&end.stack, 0, (struct span){"four", 4}, true, &end.out, &room);
    assert_int_equal(err, expected < 0 ? expected : 0);
    sendq_room_drop(&end.pools, &room);
    end_free(&end);
}

static void a_filters_mistakes_are_errors(void **state)
{
    (void)state;
    check_told(SALLY_FILTERED_ALL, 4, 4, 1);
    check_told(SALLY_FILTERED_ALL, 4, 0, 1);
    check_told(SALLY_EMALFORMED, 4, 4, SALLY_EMALFORMED);
    check_told(-7, 4, 4, SALLY_EINVAL);
    check_told(17, 4, 4, SALLY_EINVAL);
    check_told(SALLY_FILTERED_ALL, 5, 4, SALLY_EINVAL);
    check_told(SALLY_FILTERED_ALL, 4, 33, SALLY_EINVAL);
    check_told(SALLY_FILTERED_ALL, 0, 0, SALLY_EINVAL);
    check_told(SALLY_FILTERED_MORE, 0, 0, SALLY_EINVAL);
    check_told(SALLY_FILTERED_END, 0, 0, 1);
}

/* One that makes more than it has declared is stopped where its room ends. */
static void who_makes_more_than_it_declared_is_an_error(void **state)
{
    (void)state;
    static struct end end;
    struct sendq_room room;
    const sally_filter list[] = {{.name = "told", .state_bytes = 1, .in = as_told, .out = as_told}};
    end_init(&end, list, 1, 64);
    says.result = SALLY_FILTERED_MORE;
    says.used = 0;
    says.made = 1;
    says.calls = 0;
    size_t most = stack_out_max(&end.stack, 0, 1);
    assert_int_equal(most, 1);
    assert_int_equal(sendq_room_take(&end.out, &end.pools, most + 1, &room), 0);
    int err = stack_out(&end.stack, 0, (struct span){"a", 1}, true, &end.out, &room);
    assert_int_equal(err, SALLY_EINVAL);
    assert_int_equal(end.out.bytes, 32); /* the chunk */
    sendq_room_drop(&end.pools, &room);
    end_free(&end);
}

static void descriptions_are_judged(void **state)
{
    (void)state;
    struct filters *filters;
    sally_filter list[5] = {filter_xor(NULL), filter_xor(NULL), filter_xor(NULL), filter_xor(NULL),
                            filter_xor(NULL)};
    assert_int_equal(filters_create(&filters, &mem, NULL, 0), 0);
    assert_null(filters);
    assert_int_equal(filters_create(&filters, &mem, NULL, 1), SALLY_EINVAL);
    assert_int_equal(filters_create(&filters, &mem, list, 5), SALLY_EINVAL);
    assert_int_equal(filters_create(&filters, &mem, list, 4), 0);
    assert_string_equal(filters->list[3].name, "xor");
    assert_true(filters->list[3].name != list[3].name);
    filters_free(filters, &mem);
    list[1].name = "a name that has one byte more th";
    assert_int_equal(filters_create(&filters, &mem, list, 2), SALLY_EINVAL);
    list[1] = filter_xor(NULL);
    list[1].in = NULL;
    assert_int_equal(filters_create(&filters, &mem, list, 2), SALLY_EINVAL);
    list[1] = filter_xor(NULL);
    list[1].state_bytes = SALLY_FILTER_STATE_MAX + 1;
    assert_int_equal(filters_create(&filters, &mem, list, 2), SALLY_EINVAL);
}

static int begin(void **state)
{
    (void)state;
    mem_init(&mem);
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    return mem_in_use(&mem) != 0;
}

#define TEST(body) cmocka_unit_test_setup_teardown(body, begin, nothing_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_cut_gives_the_same_stream),
        TEST(what_nobody_takes_is_not_made),
        TEST(a_handshake_waits_for_the_one_below),
        TEST(an_end_within_drops_what_is_below_it),
        TEST(a_filters_mistakes_are_errors),
        TEST(who_makes_more_than_it_declared_is_an_error),
        TEST(descriptions_are_judged),
    };
    return cmocka_run_group_tests_name("filter/stack", tests, NULL, NULL);
}
