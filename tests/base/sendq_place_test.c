/* The byte queue's room for bytes that are written in place. */
#include "base/sendq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"

enum { CHUNK = 256, CHUNKS_MAX = 40 };

struct place {
    struct ledger ledger;
    struct sendq_pools pools;
    struct sendq queue;
};

static void place_init(struct place *place)
{
    *place = (struct place){{{0}}};
    ledger_init(&place->ledger);
    assert_int_equal(sendq_pools_init(&place->pools, &place->ledger.mem, CHUNK, CHUNKS_MAX), 0);
}

static void place_free(struct place *place)
{
    sendq_clear(&place->queue, &place->pools);
    assert_int_equal(place->queue.bytes, 0);
    sendq_pools_free(&place->pools);
    ledger_check_empty(&place->ledger);
}

/* Bytes that are written in place: into what the last chunk has left, then into a new one; what is
 * not written leaves nothing behind. */
static void what_is_written_in_place_goes_behind_all_that_is_queued(void **state)
{
    struct place place;
    struct sendq *queue = &place.queue;
    uint32_t room, whole = CHUNK - sizeof(struct segment);
    (void)state;
    place_init(&place);
    struct segment *segment = sendq_reserve(queue, &place.pools);
    (void)segment_room(segment, &room);
    assert_int_equal(room, whole);
    sendq_commit(queue, &place.pools, segment, 0);
    assert_null(queue->head);
    assert_int_equal(place.pools.chunks.out, 0);
    assert_int_equal(sendq_copy(queue, &place.pools, "a", 1), 0);
    for (char c = 'b'; c <= 'f'; c++) {
        segment = sendq_reserve(queue, &place.pools);
        unsigned char *into = segment_room(segment, &room);
        if (c == 'b') assert_int_equal(room, whole - 1);
        if (c == 'd') assert_int_equal(room, whole); /* a splinter is left */
        uint32_t n = c == 'c' ? room - 1 : c == 'd' ? room : 1;
        memset(into, c, n);
        sendq_commit(queue, &place.pools, segment, n);
        if (c == 'b') sendq_commit(queue, &place.pools, sendq_reserve(queue, &place.pools), 0);
    }
    assert_int_equal(queue->bytes, 2 + (whole - 3) + whole + 2);
    assert_int_equal(sendq_copy(queue, &place.pools, "g", 1), 0); /* the tail is right */
    char got[4 * CHUNK], *at = got;
    while (queue->bytes) {
        struct span span;
        assert_int_equal(sendq_gather(queue, &span, 1), 1);
        memcpy(at, span.data, span.len);
        at += span.len;
        sendq_consume(queue, &place.pools, span.len);
    }
    char expected[4 * CHUNK];
    memcpy(expected, "ab", 2);
    memset(expected + 2, 'c', whole - 3);
    memset(expected + whole - 1, 'd', whole);
    memcpy(expected + 2 * whole - 1, "efg", 3);
    assert_int_equal(at - got, 2 * whole + 2);
    assert_memory_equal(got, expected, 2 * whole + 2);
    place_free(&place);
}

static void room_in_place_has_the_cap_of_the_chunks(void **state)
{
    struct place place;
    (void)state;
    place_init(&place);
    for (int i = 0; i < CHUNKS_MAX; i++) {
        uint32_t room;
        struct segment *segment = sendq_reserve(&place.queue, &place.pools);
        assert_non_null(segment);
        unsigned char *into = segment_room(segment, &room);
        memset(into, 'x', room);
        sendq_commit(&place.queue, &place.pools, segment, room);
    }
    assert_null(sendq_reserve(&place.queue, &place.pools));
    place_free(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_in_place_goes_behind_all_that_is_queued),
        cmocka_unit_test(room_in_place_has_the_cap_of_the_chunks),
    };
    return cmocka_run_group_tests_name("sendq_place", tests, NULL, NULL);
}
