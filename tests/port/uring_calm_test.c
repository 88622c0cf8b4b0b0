/* What a wait of the uring port has to see to before it may sleep, one thing at a time and nothing
 * else, so that none of them hides behind another: operations that found no room, receives that
 * wait for a buffer, a completion that was half taken, newcomers that are left. And that
 * the last event is told as such. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/address.h"
#include "port/support/uring_rig.h"

static struct rig rig;

static struct uring *uring(void) { return uring_of(rig.port); }

static bool all_opened(struct rig *r, void *arg) { return r->opened >= *(unsigned *)arg; }
static bool all_here(struct rig *r, void *arg) { return r->received >= *(uint64_t *)arg; }
static bool starving(struct rig *r, void *arg)
{
    (void)r;
    return uring()->starved.count >= *(unsigned *)arg;
}

/* --- whether a wait would sleep: it is let through, and does not --- */

static unsigned sleeps;

static int enter_awake(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                       size_t bytes)
{
    sleeps += wait > 0;
    return uring_enter_kernel(fd, submit, 0, flags, arg, bytes);
}

static bool wait_sleeps(void)
{
    sleeps = 0;
    uring()->enter = enter_awake;
    assert_int_equal(port_wait(rig.port, PORT_FOREVER), 0);
    uring()->enter = uring_enter_kernel;
    return sleeps > 0;
}

/* Nothing is left that could keep a wait from sleeping. */
static void settle(void)
{
    for (unsigned i = 0; i < 5; i++) rig_turn(&rig, 1);
    assert_true(wait_sleeps());
    assert_true(uring_is_calm(uring()));
    rig_turn(&rig, 0);
}

/* What clients have sent arrives, and stays where it is: waits don't take. */
static void let_come(void)
{
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(port_wait(rig.port, 0), 0);
        usleep(500);
    }
    assert_int_equal(port_wait(rig.port, 0), 0);
}

/* --- operations without room --- */

enum { SENDERS = 7, ENTRIES = 4 };

static int enter_refusing(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                          size_t bytes)
{
    (void)fd, (void)submit, (void)wait, (void)flags, (void)arg, (void)bytes;
    return -EAGAIN;
}

static bool all_sent(struct rig *r, void *arg)
{
    unsigned sent = 0;
    (void)arg;
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++)
        sent += r->conns[i] && r->conns[i]->finals[PORT_SEND] == 1;
    return sent == SENDERS;
}

static void test_what_found_no_room_is_submitted_by_the_next_wait(void **state)
{
    (void)state;
    struct rig_client clients[SENDERS];
    unsigned opened = SENDERS;
    struct span span = {"hello", 5};
    rig_open(&rig, ENTRIES, 2 * ENTRIES, 512, 8, 0);
    rig_listen(&rig);
    for (unsigned i = 0; i < SENDERS; i++) rig_client_open(&rig, &clients[i], i, 0);
    rig_until(&rig, all_opened, &opened);
    settle();
    rig.no_send = true;
    uring()->enter = enter_refusing;
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++)
        if (rig.conns[i] && rig.conns[i] != rig.listener)
            port_send(rig.port, &rig.conns[i]->sock, &span, 1);
    uring()->enter = uring_enter_kernel;
    assert_int_equal(uring()->lists[URING_WORK].count, SENDERS - ENTRIES);
    assert_int_equal(uring()->lists[URING_DUE].count, 0);
    assert_int_equal(port_wait(rig.port, 0), 0);
    assert_int_equal(uring()->lists[URING_WORK].count, 0);
    rig_until(&rig, all_sent, NULL);
    for (unsigned i = 0; i < SENDERS; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

/* --- receives without a buffer --- */

static void release_held(void)
{
    while (rig.held_count > 0) {
        struct rig_held *held = &rig.held[--rig.held_count];
        port_buf_release(rig.port, held->buf, held->data);
    }
}

static void test_a_wait_feeds_who_starves_once_a_buffer_is_back(void **state)
{
    (void)state;
    struct rig_client clients[2];
    unsigned opened = 2, starved = 1;
    uint64_t first = 100, both = 200;
    rig_open(&rig, 0, 0, 512, 1, 0);
    rig.hold = RIG_HELD_MAX;
    rig.keep = true;
    rig_listen(&rig);
    for (unsigned i = 0; i < 2; i++) rig_client_open(&rig, &clients[i], i, 100);
    rig_until(&rig, all_opened, &opened);
    settle();
    rig_client_step(&clients[0], 100);
    rig_until(&rig, all_here, &first);
    rig_client_step(&clients[1], 100);
    rig_until(&rig, starving, &starved);
    for (unsigned i = 0; i < 5; i++) rig_turn(&rig, 1);
    starved = uring()->starved.count;
    assert_true(starved > 0);
    assert_true(wait_sleeps()); /* as long as there is no buffer nothing can be done */
    rig_turn(&rig, 0);
    release_held();
    assert_int_equal(port_wait(rig.port, 0), 0);
    assert_true(uring()->starved.count < starved);
    rig.keep = false;
    rig.hold = 0;
    rig_until(&rig, all_here, &both);
    for (unsigned i = 0; i < 2; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

/* --- half a completion --- */

static void test_a_wait_does_not_sleep_on_half_a_completion(void **state)
{
    (void)state;
    enum { BYTES = 128, SENT = 6 * BYTES };
    struct rig_client client;
    uint64_t all = SENT;
    rig_open(&rig, 0, 0, BYTES, 64, 0);
    if (!uring_has(uring(), PORT_NO_BUNDLES)) {
        rig_close(&rig);
        skip();
    }
    rig_listen(&rig);
    (void)rig_armed(&rig, &client);
    settle();
    uring()->bufs.run_max = 1; /* each buffer is an event of its own */
    rig.take_max = 1;
    rig.one_take = true;
    rig_client_step(&client, SENT);
    for (unsigned i = 0; i < 100 && !uring()->chunk.sock; i++) rig_turn(&rig, 10);
    assert_non_null(uring()->chunk.sock);
    assert_int_equal(uring()->lists[URING_DUE].count + uring()->starved.count, 0);
    assert_false(wait_sleeps());
    rig_until(&rig, all_here, &all);
    rig_client_close(&client);
    rig_close(&rig);
}

/* --- newcomers that had to speak --- */

enum { NEWCOMERS = 100 }; /* more than are handed out in one turn */

static struct rig_conn *listen_hearing(struct addr *addr)
{
    struct address loopback = {.kind = ADDRESS_IP, .ip = {.family = ADDR_V4, .ip = {127, 0, 0, 1}}};
    struct port_listen_options options = {0};
    struct port_sock_options hearing = {.accept_data_ms = 60000, .accept_held_max = NEWCOMERS};
    port_handle handle;
    int sys_error = 0;
    assert_int_equal(port_listen(rig.port, &loopback, &options, &handle, &sys_error), 0);
    assert_int_equal(port_local(rig.port, handle, addr), 0);
    struct rig_conn *listener = rig_add(&rig, PORT_NO_HANDLE);
    port_attach(rig.port, &listener->sock, handle, &hearing);
    port_accept(rig.port, &listener->sock);
    return listener;
}

static void test_a_wait_does_not_sleep_while_newcomers_are_left(void **state)
{
    (void)state;
    static struct rig_client clients[NEWCOMERS];
    unsigned opened = NEWCOMERS;
    rig_open(&rig, 0, 0, 512, 0, 0);
    rig.no_recv = true;
    rig.listener = listen_hearing(&rig.addr);
    for (unsigned i = 0; i < NEWCOMERS; i++) {
        rig_client_open(&rig, &clients[i], i, 10);
        rig_turn(&rig, 0);
    }
    settle();
    assert_int_equal(rig.opened, 0); /* all wait */
    for (unsigned i = 0; i < NEWCOMERS; i++) rig_client_step(&clients[i], 10);
    let_come();
    rig_turn(&rig, 0);
    assert_true(rig.opened > 0 && rig.opened < NEWCOMERS);
    assert_true(uring()->hold_ready);
    assert_false(wait_sleeps());
    rig_until(&rig, all_opened, &opened);
    settle();
    for (unsigned i = 0; i < NEWCOMERS; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

/* --- the last one --- */

/* What comes with a wait is taken one by one: so the port says each time whether more is there. */
static void test_the_last_event_is_told_as_such(void **state)
{
    (void)state;
    enum { CLIENTS = 5 };
    struct rig_client clients[CLIENTS];
    unsigned opened = CLIENTS;
    rig_open(&rig, 0, 0, 512, 64, 0);
    rig_listen(&rig);
    for (unsigned i = 0; i < CLIENTS; i++) rig_client_open(&rig, &clients[i], i, 100);
    rig_until(&rig, all_opened, &opened);
    settle();
    for (unsigned many = 1; many <= CLIENTS; many += CLIENTS - 1) {
        struct port_event event;
        for (unsigned i = 0; i < many; i++) rig_client_step(&clients[i], 50);
        let_come();
        for (unsigned i = 0; i < many; i++) {
            assert_int_equal(port_take(rig.port, &event, 1), 1);
            assert_int_equal(event.bytes, 50);
            assert_int_equal(rig.port->emptied, i == many - 1);
            port_buf_release(rig.port, event.buf, event.data);
        }
        assert_int_equal(port_take(rig.port, &event, 1), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_found_no_room_is_submitted_by_the_next_wait),
        cmocka_unit_test(test_a_wait_feeds_who_starves_once_a_buffer_is_back),
        cmocka_unit_test(test_a_wait_does_not_sleep_on_half_a_completion),
        cmocka_unit_test(test_a_wait_does_not_sleep_while_newcomers_are_left),
        cmocka_unit_test(test_the_last_event_is_told_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
