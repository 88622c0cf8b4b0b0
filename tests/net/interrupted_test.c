/* Signals with a handler, thousands a second, on the thread that makes, drives and ends engines: a
 * system call that is interrupted is no failure. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

#include "os/thread.h"
#include "sallyport.h"
#include "support/long.h"

enum { ROUNDS = 15, EVERY_US = 50, WAIT_MS = 30000, CONNS = 4 };

static atomic_uint signals;

static void on_alarm(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* No SA_RESTART: each call that can tell of it does. */
static void storm(long every_us)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval every = {.it_interval = {.tv_usec = every_us},
                              .it_value = {.tv_usec = every_us}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

/* ---- An engine that talks to itself ---- */

struct talk {
    atomic_uint opened;
    atomic_uint closed;
    _Atomic uint64_t bytes;
    struct os_gate said; /* all of it has come back */
};

static struct talk talk;
static const char line[] = "among signals";

static void client_open(sally_conn *conn)
{
    atomic_fetch_add(&talk.opened, 1);
    (void)sally_conn_send(conn, line, sizeof line);
}

static void client_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    if (atomic_fetch_add(&talk.bytes, len) + len == CONNS * sizeof line) os_gate_open(&talk.said);
}

static void client_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    (void)info;
    atomic_fetch_add(&talk.closed, 1);
}

static void echo(sally_conn *conn, const void *data, size_t len)
{
    (void)sally_conn_send(conn, data, len);
}

static void stop_here(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    (void)sally_engine_stop(sally_conn_engine(conn));
}

static void quiet(void *user, sally_log_level level, const char *text)
{
    (void)user;
    (void)level;
    (void)text;
}

static sally_engine *engine_new(sally_port_kind kind, unsigned shards)
{
    sally_engine *engine = NULL;
    sally_engine_options options = {.port = kind, .shards = shards, .conns_max = 64, .log = quiet};
    assert_int_equal(sally_engine_create(&engine, &options), 0);
    return engine;
}

/* Listens and connects, `count` times. */
static void engine_talk(sally_engine *engine, const char *address, sally_handler server,
                        unsigned count)
{
    char text[64];
    sally_server *made = NULL;
    sally_handler client = {
        .on_open = client_open, .on_data = client_data, .on_close = client_close};
    assert_int_equal(sally_listen(engine, address, &server, NULL, &made), 0);
    assert_non_null(sally_server_address(made, 0, text, sizeof text));
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(sally_connect(engine, text, &client, NULL, NULL), 0);
}

static void talk_begin(void)
{
    memset(&talk, 0, sizeof talk);
    os_gate_init(&talk.said);
}

static unsigned rounds(void) { return long_form() ? 50 * ROUNDS : ROUNDS; }

/* ---- Tests ---- */

static void skip_without(sally_port_kind kind)
{
    sally_engine *engine = NULL;
    sally_engine_options options = {.port = kind, .shards = 1, .conns_max = 8, .log = quiet};
    int err = sally_engine_create(&engine, &options);
    sally_engine_destroy(engine);
    if (err != SALLY_ENOPORT) return;
    printf("skipped: %s\n", sally_err_name(err));
    skip();
}

static void made_used_and_ended(sally_port_kind kind)
{
    storm(EVERY_US); /* from the first engine on: it finds out what the kernel can do */
    skip_without(kind);
    for (unsigned round = 0; round < rounds(); round++) {
        talk_begin();
        sally_engine *engine = engine_new(kind, 1 + round % 2);
        engine_talk(engine, "127.0.0.1:0", (sally_handler){.on_data = echo}, CONNS);
        assert_int_equal(sally_engine_start(engine), 0);
        assert_true(os_gate_wait_for(&talk.said, WAIT_MS));
        if (round % 3 == 1) assert_int_equal(sally_engine_drain(engine, WAIT_MS), 0);
        if (round % 3 == 2) assert_int_equal(sally_engine_stop(engine), 0);
        assert_int_equal(sally_engine_destroy(engine), 0);
        assert_int_equal(atomic_load(&talk.opened), CONNS);
        assert_int_equal(atomic_load(&talk.closed), CONNS);
        os_gate_free(&talk.said);
    }
    storm(0);
    assert_true(atomic_load(&signals) > 0);
}

static void an_engine_on_uring_is_made_used_and_ended_among_signals(void **state)
{
    (void)state;
    made_used_and_ended(SALLY_PORT_URING);
}

static void an_engine_on_epoll_is_made_used_and_ended_among_signals(void **state)
{
    (void)state;
    made_used_and_ended(SALLY_PORT_EPOLL);
}

/* On the interrupted thread itself: every wait of the port, and of sally_engine_run. */
static void an_engine_is_driven_among_signals(void **state)
{
    static const sally_port_kind kinds[] = {SALLY_PORT_EPOLL, SALLY_PORT_AUTO};
    (void)state;
    storm(EVERY_US);
    for (unsigned round = 0; round < rounds(); round++) {
        talk_begin();
        sally_engine *engine = engine_new(kinds[round % 2], 1);
        bool steps = round % 4 < 2;
        engine_talk(engine, "localhost:0", (sally_handler){.on_data = stop_here}, 1);
        int ended = steps ? 0 : sally_engine_run(engine);
        while (steps && !ended) ended = sally_engine_run_once(engine, WAIT_MS);
        assert_int_equal(ended, steps ? 1 : 0);
        assert_int_equal(sally_engine_destroy(engine), 0);
        assert_int_equal(atomic_load(&talk.closed), 1);
        os_gate_free(&talk.said);
    }
    storm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_on_uring_is_made_used_and_ended_among_signals),
        cmocka_unit_test(an_engine_on_epoll_is_made_used_and_ended_among_signals),
        cmocka_unit_test(an_engine_is_driven_among_signals),
    };
    return cmocka_run_group_tests_name("interrupted", tests, NULL, NULL);
}
