/* Sending on io_uring: many spans to a slow reader, at once, and what the kernel puts off. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "port/support/uring_rig.h"
#include "sallyport/error.h"

static struct rig rig;

enum { BIG = 6 << 20, PIECES = 300 };

struct big_send {
    struct rig_conn *conn;
    unsigned char *bytes;
    uint64_t done;
};

static struct big_send big;

/* More spans than the port hands over at once. */
static void big_go_on(void)
{
    struct span spans[PIECES];
    uint64_t left = BIG - big.done, piece = left / PIECES + 1;
    unsigned count = 0;
    for (uint64_t at = 0; at < left; at += piece, count++)
        spans[count] = (struct span){big.bytes + big.done + at,
                                     (size_t)(left - at < piece ? left - at : piece)};
    if (count) port_send(rig.port, &big.conn->sock, spans, count);
}

static void on_big_sent(struct rig *r, const struct port_event *event)
{
    (void)r;
    if (event->op != PORT_SEND) return;
    assert_int_equal(event->error, 0);
    assert_true(event->bytes > 0);
    big.done += event->bytes;
    big_go_on();
}

static bool big_arrived(struct rig *r, void *arg)
{
    struct rig_client *client = arg;
    (void)r;
    rig_client_step(client, 0);
    return client->echoed == BIG;
}

static void test_a_big_send_to_a_slow_reader_keeps_its_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct rig_client client;
        rig_open(&rig, i ? 4 : 0, i ? 8 : 0, 0, 0, 0);
        rig_listen(&rig);
        big = (struct big_send){.conn = rig_armed(&rig, &client), .bytes = malloc(BIG)};
        assert_non_null(big.bytes);
        for (uint64_t k = 0; k < BIG; k++) big.bytes[k] = rig_byte(1, k);
        rig.no_send = true;
        rig.on_event = on_big_sent;
        big_go_on();
        for (unsigned k = 0; k < 20; k++) rig_turn(&rig, 1); /* nobody reads yet */
        assert_true(big.done < BIG);
        rig_until(&rig, big_arrived, &client);
        assert_int_equal(big.done, BIG);
        rig_client_close(&client);
        rig_close(&rig);
        free(big.bytes);
    }
}

static void test_sending_at_once_works_where_its_bit_is_set(void **state)
{
    (void)state;
    struct rig_client client;
    unsigned char bytes[100];
    int sys_error = 0;
    rig_open(&rig, 0, 0, 0, 0, 0);
    rig_listen(&rig);
    struct rig_conn *conn = rig_armed(&rig, &client);
    for (unsigned i = 0; i < 100; i++) bytes[i] = rig_byte(1, i);
    struct span spans[2] = {{bytes, 30}, {bytes + 30, 70}};
    rig_turn(&rig, 1); /* nothing came, so a send of its own is the cheaper way */
    assert_true(rig.port->abilities & PORT_CAN_SEND_NOW);
    rig.port->abilities &= ~(uint32_t)PORT_CAN_SEND_NOW;
    assert_int_equal(port_send_now(rig.port, &conn->sock, spans, 2, &sys_error), 0);
    rig.port->abilities |= PORT_CAN_SEND_NOW;
    assert_int_equal(port_send_now(rig.port, &conn->sock, spans, 2, &sys_error), 100);
    assert_false(rig.port->abilities & PORT_CAN_SEND_NOW); /* one: the next are a batch */
    for (unsigned i = 0; i < 1000 && client.echoed < 100; i++) {
        rig_client_step(&client, 0);
        rig_turn(&rig, 1);
    }
    assert_int_equal(client.echoed, 100);
    rig_client_close(&client);
    rig_close(&rig);
}

/* It is no failure, and what was not taken goes by operation. */
static void test_sending_at_once_to_a_full_system_takes_nothing(void **state)
{
    (void)state;
    static unsigned char bytes[1 << 16];
    for (unsigned count = 1; count <= 2; count++) {
        struct rig_client client;
        struct span spans[2] = {{bytes, sizeof bytes / 2}, {bytes, sizeof bytes / 2}};
        int64_t took;
        int sys_error = 0;
        rig_open(&rig, 0, 0, 0, 0, 0);
        rig_listen(&rig);
        struct rig_conn *conn = rig_armed(&rig, &client);
        rig.no_send = true;
        unsigned tries = 0;
        do {
            assert_true(++tries < 10000);
            rig.port->abilities |= PORT_CAN_SEND_NOW;
            took = port_send_now(rig.port, &conn->sock, spans, count, &sys_error);
        } while (took > 0);
        assert_true(tries > 1);
        assert_int_equal(took, 0);
        assert_int_equal(sys_error, 0);
        port_send(rig.port, &conn->sock, spans, count);
        for (unsigned i = 0; i < 5; i++) rig_turn(&rig, 1);
        assert_int_equal(conn->finals[PORT_SEND], 0);
        rig_client_close(&client);
        rig_close(&rig);
    }
}

/* The send that was just started never gets to the kernel. */
static void drop_last_entry(void)
{
    struct io_uring_sq *sq = &uring_of(rig.port)->ring.sq;
    assert_int_equal(uring_sq_ready(uring_of(rig.port)), 1);
    sq->sqe_tail--;
}

/* Says that the kernel has put off the send in flight, which it has not seen. */
static void put_off(struct rig_conn *conn, int res, struct port_event *event, bool told)
{
    assert_int_equal(uring_send_done(uring_of(rig.port), &conn->sock, res, event), told);
}

static bool is_sent(struct rig *r, void *arg)
{
    (void)r;
    return ((struct rig_conn *)arg)->finals[PORT_SEND] > 0;
}

static void test_a_send_that_was_put_off_is_made_again_unless_it_closes(void **state)
{
    (void)state;
    static const int results[] = {-EAGAIN, -EINTR};
    for (unsigned i = 0; i < 2; i++) {
        struct rig_client client;
        struct port_event event = {0};
        struct span span = {"x", 1};
        rig_open(&rig, 0, 0, 0, 0, 0);
        rig_listen(&rig);
        struct rig_conn *conn = rig_armed(&rig, &client);
        rig.no_send = true;
        port_send(rig.port, &conn->sock, &span, 1);
        drop_last_entry();
        put_off(conn, results[i], &event, false);
        assert_true(conn->sock.in_flight & PORT_BIT(PORT_SEND));
        rig_until(&rig, is_sent, conn);
        assert_int_equal(rig.last.error, 0);
        assert_int_equal(rig.last.bytes, 1);
        conn->finals[PORT_SEND] = 0;
        port_send(rig.port, &conn->sock, &span, 1);
        drop_last_entry();
        rig_shut(&rig, conn, PORT_CLOSE_RST);
        put_off(conn, results[i], &event, true);
        assert_int_equal(event.op, PORT_SEND);
        assert_int_equal(event.error, SALLY_ECANCELED);
        assert_int_equal(event.sys_error, 0);
        port_count(rig.port, &event);
        rig_client_close(&client);
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_big_send_to_a_slow_reader_keeps_its_order),
        cmocka_unit_test(test_sending_at_once_works_where_its_bit_is_set),
        cmocka_unit_test(test_sending_at_once_to_a_full_system_takes_nothing),
        cmocka_unit_test(test_a_send_that_was_put_off_is_made_again_unless_it_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
