/* Accepting on io_uring: clients that are gone already, descriptors used up, a listener that is
 * none any more, stopping. With multishot and with plain accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "port/linux_sock.h"
#include "port/support/uring_rig.h"
#include "sallyport/error.h"

static const uint32_t each_off[] = {0, PORT_NO_MULTISHOT_ACCEPT};

static struct rig rig;

static void reset_before_accept(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct rig_client client;
        rig_client_open(&rig, &client, i, 0);
        linux_reset_on_close(client.fd);
        rig_client_close(&client);
    }
}

static void test_clients_that_reset_before_the_accept_are_dead_on_arrival(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct rig_client alive;
        rig_open(&rig, 4, 8, 0, 0, each_off[i]);
        rig_listen(&rig);
        reset_before_accept(50);
        rig_client_open(&rig, &alive, 1, 0);
        rig_until_opened(&rig, 51);
        assert_int_equal(rig.nameless, 50);
        assert_false(rig.accept_ended);
        rig_client_close(&alive);
        rig_close(&rig);
    }
}

static void set_descriptors_max(rlim_t max)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static bool accept_over(struct rig *r, void *arg)
{
    (void)arg;
    return r->accept_ended;
}

static void test_accepting_ends_when_descriptors_do_and_goes_on_after(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct rlimit before;
        struct rig_client clients[12];
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        rig_open(&rig, 4, 8, 0, 0, each_off[i]);
        rig_listen(&rig);
        for (unsigned k = 0; k < 12; k++) rig_client_open(&rig, &clients[k], k, 0);
        set_descriptors_max((rlim_t)clients[11].fd +
                            4); /* before it is armed: the request keeps it */
        rig_until(&rig, accept_over, NULL);
        assert_int_equal(rig.accept_end, SALLY_EEXHAUSTED);
        assert_int_equal(rig.listener->finals[PORT_ACCEPT], 1);
        assert_int_equal(rig.opened, 3);
        set_descriptors_max(before.rlim_cur);
        rig.accept_ended = false;
        port_accept(rig.port, &rig.listener->sock);
        rig_until_opened(&rig, 12);
        for (unsigned k = 0; k < 12; k++) rig_client_close(&clients[k]);
        rig_close(&rig);
    }
}

/* It answers EINVAL, which is also what an old kernel says to multishot: tried plain once, then
 * told. */
static void test_a_listener_that_is_none_any_more_is_told_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rig_open(&rig, 0, 0, 0, 0, each_off[i]);
        rig_listen(&rig);
        rig_turn(&rig, 0);
        assert_int_equal(shutdown((int)rig.listener->sock.handle, SHUT_RDWR), 0);
        rig_until(&rig, accept_over, NULL);
        assert_int_equal(rig.accept_errors, 1);
        assert_int_equal(rig.listener->finals[PORT_ACCEPT], 1);
        rig_close(&rig);
    }
}

static void test_connections_accepted_before_the_stop_are_handed_out(void **state)
{
    (void)state;
    struct rig_client clients[5];
    rig_open(&rig, 0, 0, 0, 0, 0);
    rig_listen(&rig);
    rig_turn(&rig, 0);
    for (unsigned i = 0; i < 5; i++) rig_client_open(&rig, &clients[i], i, 0);
    assert_int_equal(port_wait(rig.port, 1000), 0); /* found, not taken */
    port_accept_stop(rig.port, &rig.listener->sock);
    rig_until(&rig, accept_over, NULL);
    assert_int_equal(rig.accept_end, SALLY_ECANCELED);
    assert_int_equal(rig.opened, 5);
    for (unsigned i = 0; i < 5; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_that_reset_before_the_accept_are_dead_on_arrival),
        cmocka_unit_test(test_accepting_ends_when_descriptors_do_and_goes_on_after),
        cmocka_unit_test(test_a_listener_that_is_none_any_more_is_told_once),
        cmocka_unit_test(test_connections_accepted_before_the_stop_are_handed_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
