/* Receive buffers of the uring port that are lent as one, the order in which they go back, and who
 * waits for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/support/uring_rig.h"

enum { BYTES = 256, BUFS = 8 };

static struct rig rig;
static uint32_t longest; /* of the events since the last look */
static unsigned brought; /* events with bytes */

static void measure(struct rig *r, const struct port_event *event)
{
    (void)r;
    if (event->op != PORT_RECV || !event->bytes) return;
    brought++;
    if (event->bytes > longest) longest = event->bytes;
}

static void open_rig(uint32_t features_off)
{
    longest = 0;
    brought = 0;
    rig_open(&rig, 0, 0, BYTES, BUFS, features_off);
    rig.on_event = measure;
    rig_listen(&rig);
}

static bool bundles(void) { return uring_has(uring_of(rig.port), PORT_NO_BUNDLES); }

static bool all_here(struct rig *r, void *arg) { return r->received >= *(uint64_t *)arg; }

/* The kernel fills several at once only when the bytes are there before it looks. */
static void send_and_receive(uint64_t bytes)
{
    struct rig_client client;
    rig_client_open(&rig, &client, 7, bytes);
    rig_client_step(&client, bytes);
    uint64_t goal = rig.received + bytes;
    rig_until(&rig, all_here, &goal);
    rig_client_close(&client);
}

static void test_buffers_side_by_side_are_one_event(void **state)
{
    (void)state;
    open_rig(0);
    send_and_receive(5 * BYTES + 10);
    /* how many it takes at its first look is the kernel's business */
    if (bundles()) assert_true(longest > 2 * BYTES && brought < 5);
    for (unsigned turn = 0; turn < 3; turn++) rig_turn(&rig, 0);
    assert_int_equal(rig.port->bufs_lent, 0);
    assert_int_equal(uring_bufs_ready(uring_of(rig.port)), BUFS);
    rig_close(&rig);
}

static void test_without_bundles_an_event_is_one_buffer(void **state)
{
    (void)state;
    const uint32_t off[] = {PORT_NO_BUNDLES, PORT_NO_MULTISHOT_RECV, PORT_NO_BUF_RING};
    for (unsigned i = 0; i < sizeof off / sizeof *off; i++) {
        open_rig(off[i]);
        send_and_receive(5 * BYTES + 10);
        assert_int_equal(longest, BYTES);
        assert_int_equal(brought, 6);
        rig_close(&rig);
    }
}

/* What lies behind the ring's last place is at its first. */
static void test_a_run_goes_over_the_end_of_the_ring(void **state)
{
    (void)state;
    open_rig(0);
    for (unsigned round = 0; round < 40; round++) send_and_receive(3 * BYTES);
    for (unsigned turn = 0; turn < 3; turn++) rig_turn(&rig, 0);
    assert_int_equal(uring_bufs_ready(uring_of(rig.port)), BUFS);
    assert_int_equal(rig.port->counters.stray_events, 0);
    rig_close(&rig);
}

/* Lent one by one and given back from the last to the first, they lie in the order of memory. */
static void test_buffers_go_back_in_the_order_of_memory(void **state)
{
    (void)state;
    open_rig(0);
    struct uring *uring = uring_of(rig.port);
    struct uring_bufs *bufs = &uring->bufs;
    uint16_t tail = bufs->ring->tail;
    for (uint16_t n = 0; n < BUFS; n++) {
        uint32_t buf, bytes = 1;
        assert_int_equal(uring_bufs_lend(uring, (uint16_t)(tail - BUFS + n), &buf, &bytes), 1);
        assert_int_equal(buf, n);
    }
    for (uint32_t n = BUFS; n-- > 0;) uring_bufs_release(rig.port, n, uring_bufs_at(bufs, n));
    assert_int_equal(rig.port->bufs_lent, 0);
    uring_bufs_publish(uring);
    assert_int_equal(bufs->ring->tail, (uint16_t)(tail + BUFS));
    /* the first to come back needs no order and is put at once */
    assert_int_equal(bufs->order[tail & bufs->mask], BUFS - 1);
    for (uint16_t n = 0; n + 1 < BUFS; n++)
        assert_int_equal(bufs->order[(uint16_t)(tail + 1 + n) & bufs->mask], n);
    /* the kernel was not told of what was lent here, so it still has all of them in its ring */
    rig_close(&rig);
}

/* A bundle may be longer than its buffers, or name one that isn't there: then it ends before. */
static void test_a_run_ends_where_the_order_does(void **state)
{
    (void)state;
    open_rig(0);
    struct uring *uring = uring_of(rig.port);
    struct uring_bufs *bufs = &uring->bufs;
    uint16_t first = (uint16_t)(bufs->ring->tail - BUFS);
    uint32_t buf, bytes = 100 * BYTES;
    bufs->state[3] = URING_BUF_LENT; /* somebody has it */
    assert_int_equal(uring_bufs_lend(uring, first, &buf, &bytes), 3);
    assert_int_equal(bytes, 3 * BYTES);
    bytes = 100 * BYTES;
    assert_int_equal(uring_bufs_lend(uring, (uint16_t)(first + 3), &buf, &bytes), 0);
    bufs->state[3] = URING_BUF_FREE;
    bufs->ring->bufs[(uint16_t)(first + 5) & bufs->mask].len = 10; /* meant to be filled in part */
    assert_int_equal(uring_bufs_lend(uring, (uint16_t)(first + 3), &buf, &bytes), 3);
    assert_int_equal(buf, 3);
    assert_int_equal(bytes, 2 * BYTES + 10);
    bytes = 1; /* less than a buffer: no second is looked at */
    assert_int_equal(uring_bufs_lend(uring, (uint16_t)(first + 6), &buf, &bytes), 1);
    assert_int_equal(bytes, 1);
    uring_bufs_release(rig.port, 0, uring_bufs_at(bufs, 0));
    uring_bufs_release(rig.port, 3, uring_bufs_at(bufs, 3));
    uring_bufs_release(rig.port, 6, uring_bufs_at(bufs, 6));
    assert_int_equal(rig.port->bufs_lent, 0);
    rig_close(&rig);
}

/* ---- Who waits ---- */

static struct rig_conn *waiting[4];

/* Connections that were never started stand in the list; they leave it before the end. */
static void open_waiting(void)
{
    open_rig(0);
    for (unsigned n = 0; n < 4; n++) {
        waiting[n] = rig_add(&rig, PORT_NO_HANDLE);
        uring_starve(uring_of(rig.port), &waiting[n]->sock);
    }
}

static void check_order(const unsigned order[4])
{
    struct uring *uring = uring_of(rig.port);
    uint32_t link = uring->starved.head;
    assert_int_equal(uring->starved.count, 4);
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(link, waiting[order[n]]->sock.slot.index + 1);
        link = uring_own(&waiting[order[n]]->sock)->starved_next;
    }
    assert_int_equal(link, 0);
    assert_int_equal(uring->starved.tail, waiting[order[3]]->sock.slot.index + 1);
}

static void leave(unsigned n, bool fed)
{
    uring_unstarve(uring_of(rig.port), &waiting[n]->sock);
    if (fed) uring_own(&waiting[n]->sock)->starved_next = URING_FED;
}

static void come(unsigned n) { uring_starve(uring_of(rig.port), &waiting[n]->sock); }

static void close_waiting(void)
{
    for (unsigned n = 0; n < 4; n++) {
        uring_unstarve(uring_of(rig.port), &waiting[n]->sock);
        rig_shut(&rig, waiting[n], PORT_CLOSE_FIN);
    }
    rig_close(&rig);
}

static void test_who_was_fed_for_nothing_keeps_his_place(void **state)
{
    (void)state;
    open_waiting();
    check_order((unsigned[]){0, 1, 2, 3});
    leave(0, false);
    leave(1, true);
    leave(2, true);
    come(0); /* it got bytes, and wants more */
    come(1);
    come(2);
    check_order((unsigned[]){1, 2, 3, 0});
    close_waiting();
}

static void test_the_place_is_kept_when_the_one_before_leaves(void **state)
{
    (void)state;
    open_waiting();
    leave(0, true);
    leave(1, true);
    come(0);
    leave(0, false); /* stopped meanwhile */
    come(1);
    come(0);
    check_order((unsigned[]){1, 2, 3, 0});
    close_waiting();
}

static void test_no_more_are_fed_than_there_will_be_buffers_for(void **state)
{
    (void)state;
    open_rig(0);
    struct uring *uring = uring_of(rig.port);
    struct rig_client clients[4];
    for (unsigned n = 0; n < 4; n++) rig_client_open(&rig, &clients[n], n + 1, 0);
    rig.no_recv = true;
    rig_until_opened(&rig, 4);
    unsigned count = 0;
    for (unsigned n = 0; n < RIG_CONNS_MAX && count < 4; n++)
        if (rig.conns[n] && rig.conns[n] != rig.listener) waiting[count++] = rig.conns[n];
    /* behind one that waits they wait too */
    struct rig_conn *first = rig_add(&rig, PORT_NO_HANDLE);
    uring_starve(uring, &first->sock);
    for (unsigned n = 0; n < 4; n++) port_recv(rig.port, &waiting[n]->sock);
    uring_unstarve(uring, &first->sock);
    assert_int_equal(uring->starved.count, 4);
    for (unsigned n = 0; n < 100; n++) uring_fed_took(uring, &first->sock, BUFS * BYTES);
    uring_feed(uring);
    assert_in_range(uring->starved.count, 2, 3); /* each is likely to take nearly all */
    for (unsigned n = 0; n < 100; n++) uring_fed_took(uring, &first->sock, 1);
    uring_feed(uring);
    assert_int_equal(uring->starved.count, 0); /* one buffer each */
    for (unsigned n = 0; n < 4; n++) rig_client_close(&clients[n]);
    rig_close(&rig);
}

/* As if somebody waited while the receive was made. */
static void test_a_receive_ends_after_its_ration_while_others_wait(void **state)
{
    (void)state;
    const uint64_t goal = 600000;
    const uint32_t off[] = {0, PORT_NO_RATION, PORT_NO_BUNDLES};
    for (unsigned i = 0; i < sizeof off / sizeof *off; i++) {
        struct rig_client client;
        rig_open(&rig, 0, 0, 4096, 128, off[i]);
        rig_listen(&rig);
        rig.no_recv = true;
        rig_client_open(&rig, &client, 3, goal);
        rig_until_opened(&rig, 1);
        struct uring *uring = uring_of(rig.port);
        struct rig_conn *conn = rig_only(&rig), *other = rig_add(&rig, PORT_NO_HANDLE);
        rig_client_step(&client, goal);
        uring_starve(uring, &other->sock);
        port_recv(rig.port, &conn->sock);
        assert_true(conn->sock.marks & URING_STARVED);
        uring_unstarve(uring, &conn->sock);
        uring_start(uring, &conn->sock, PORT_RECV);
        uring_unstarve(uring, &other->sock);
        uint64_t first = 0; /* what had come when it ended */
        for (unsigned n = 0; n < RIG_ROUNDS_MAX && conn->received < goal; n++) {
            rig_client_step(&client, goal);
            rig_turn(&rig, 1);
            if (!first && rig.port->counters.buf_shortages) first = conn->received;
        }
        assert_int_equal(conn->received, goal);
        bool rations = uring_has(uring, PORT_NO_RATION);
        /* a ration may be exceeded by what the kernel had looked up already */
        if (rations) assert_in_range(first, 1, 3 * uring->bufs.ration);
        rig_client_close(&client);
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_side_by_side_are_one_event),
        cmocka_unit_test(test_without_bundles_an_event_is_one_buffer),
        cmocka_unit_test(test_a_run_goes_over_the_end_of_the_ring),
        cmocka_unit_test(test_buffers_go_back_in_the_order_of_memory),
        cmocka_unit_test(test_a_run_ends_where_the_order_does),
        cmocka_unit_test(test_who_was_fed_for_nothing_keeps_his_place),
        cmocka_unit_test(test_the_place_is_kept_when_the_one_before_leaves),
        cmocka_unit_test(test_no_more_are_fed_than_there_will_be_buffers_for),
        cmocka_unit_test(test_a_receive_ends_after_its_ration_while_others_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
