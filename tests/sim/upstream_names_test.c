/* Connections through proxies in virtual time: who looks names up, what the proxy and the program
 * are told of them, clients that try again, and options that can't be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/client.h"
#include "sim/support/upstream.h"

/* ---- Names ---- */

static void the_proxy_gets_the_name_and_nobody_looks_it_up(void **state)
{
    (void)state;
    static const struct {
        const char *to, *given, *name;
        const char *asks; /* the line of an HTTP proxy */
    } cases[] = {
        {"a.example:443", NULL, "a.example", "CONNECT a.example:443 HTTP/1.1\r\n"},
        {"a.example.:443", NULL, "a.example", "CONNECT a.example:443 HTTP/1.1\r\n"},
        {"192.0.2.9:443", NULL, "(none)", "CONNECT 192.0.2.9:443 HTTP/1.1\r\n"},
        {"192.0.2.9:443", "b.example.", "b.example", "CONNECT b.example:443 HTTP/1.1\r\n"},
        {"a.example:443", "b.example", "b.example", "CONNECT b.example:443 HTTP/1.1\r\n"},
        {"[2001:db8::9]:1", NULL, "(none)", "CONNECT [2001:db8::9]:1 HTTP/1.1\r\n"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(i + 1, SALLY_UPSTREAM_HTTP);
        seen.options.server_name = cases[i].given;
        sally_sim_peer *peer = proxy_of(cases[i].to);
        size_t len;
        const char *line = sally_sim_peer_received(peer, &len);
        assert_true(len > strlen(cases[i].asks));
        assert_memory_equal(line, cases[i].asks, strlen(cases[i].asks));
        say(peer, LIT("HTTP/1.1 200 OK\r\n\r\n"));
        assert_string_equal(seen.name, cases[i].name);
        world_end();
    }
}

static void a_peer_without_a_proxy_has_its_name_too(void **state)
{
    (void)state;
    static const struct {
        const char *to, *given, *name;
    } cases[] = {
        {"p.example:1080", NULL, "p.example"},
        {"p.example.:1080", NULL, "p.example"},
        {"p.example:1080", "a.b-c.example", "a.b-c.example"},
        {PROXY, NULL, "(none)"},
        {PROXY, "a.example", "a.example"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(i + 1, SALLY_UPSTREAM_HTTP);
        assert_int_equal(sally_sim_name(world.sim, "p.example", "192.0.2.1"), 0);
        assert_int_equal(sally_sim_name(world.sim, "p.example.", "192.0.2.1"), 0);
        seen.options.upstream = NULL;
        seen.options.server_name = cases[i].given;
        assert_int_equal(dial_to(cases[i].to), 0);
        run_ms(1000);
        assert_int_equal(seen.opened, 1);
        assert_string_equal(seen.name, cases[i].name);
        world_end();
    }
    assert_null(sally_conn_server_name(NULL));
}

/* Labels of at most 63 bytes, 253 in all, and a dot at the end that doesn't count. */
static void a_name_has_its_longest_form(void **state)
{
    (void)state;
    char name[256];
    begin(1, SALLY_UPSTREAM_HTTP);
    memset(name, 'n', sizeof name);
    for (size_t at = 63; at < sizeof name; at += 64) name[at] = '.';
    seen.options.server_name = name;
    name[255] = 0; /* ends with a dot, and has one byte too many even so */
    assert_int_equal(dial_to(TARGET), SALLY_EINVAL);
    name[254] = 0;
    assert_int_equal(dial_to(TARGET), SALLY_EINVAL);
    name[253] = '.';
    assert_int_equal(dial_to(TARGET), 0);
    name[253] = 0;
    assert_int_equal(dial_to(TARGET), 0);
    name[63] = 'n'; /* a label of 127 */
    assert_int_equal(dial_to(TARGET), SALLY_EINVAL);
    run_ms(100);
    for (int i = 0; i < 2; i++) {
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        assert_non_null(peer);
        for (unsigned rounds = 0; received(peer) < 300 && rounds < 200; rounds++) run_ms(10);
        size_t len;
        const char *asks = sally_sim_peer_received(peer, &len);
        assert_true(len > 8 + 253 + 4);
        name[63] = '.';
        assert_memory_equal(asks + 8, name, 253);
        assert_memory_equal(asks + 8 + 253, ":443 HTTP", 9);
    }
    world_end();
}

static void a_name_may_be_looked_up_here(void **state)
{
    (void)state;
    static const struct {
        sally_upstream_kind kind;
        const char *asks; /* its address is in this */
        size_t len;
    } cases[] = {
        {SALLY_UPSTREAM_SOCKS4, LIT("\4\1\1\xbb\xc6\x33\x64\x9\0")},
        {SALLY_UPSTREAM_SOCKS4A, LIT("\4\1\1\xbb\xc6\x33\x64\x9\0")},
        {SALLY_UPSTREAM_SOCKS5, LIT("\5\1\0\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\x9\1\xbb")},
    };
    for (unsigned i = 0; i < 3; i++) {
        begin(i + 1, cases[i].kind);
        assert_int_equal(sally_sim_name(world.sim, "a.example", "2001:db8::9"), 0);
        assert_int_equal(sally_sim_name(world.sim, "a.example", "198.51.100.9"), 0);
        assert_int_equal(sally_sim_name(world.sim, "p.example", "192.0.2.1"), 0);
        seen.proxy.address = "p.example:1080"; /* looked up in its turn */
        seen.proxy.resolve_here = i > 0;
        seen.options.server_name = "b.example"; /* is not what the proxy gets then */
        sally_sim_peer *peer = proxy_of(TARGET);
        if (i == 2) say(peer, "\5\0", 2);
        heard(peer, cases[i].asks, cases[i].len);
        say(peer, "\0\x5a\0\0\0\0\0\0", i < 2 ? 8 : 0);
        if (i == 2) say(peer, "\5\0\0\1\0\0\0\0\0\0", 10);
        assert_string_equal(seen.name, "b.example");
        world_end();
    }
}

static void a_name_without_a_fitting_address_fails(void **state)
{
    (void)state;
    for (unsigned known = 0; known < 2; known++) {
        begin(1, SALLY_UPSTREAM_SOCKS4);
        if (known) assert_int_equal(sally_sim_name(world.sim, "a.example", "2001:db8::9"), 0);
        assert_int_equal(dial_to(TARGET), 0);
        run_ms(1000);
        failed_with(SALLY_CLOSE_CONNECT_FAILED, SALLY_ENONAME, 0);
        assert_null(sally_sim_listener_accept(door));
        world_end();
    }
}

/* What was found for the proxy to connect to is nothing to be dialled. */
static void a_proxy_that_takes_too_long_is_not_passed_by(void **state)
{
    (void)state;
    begin(1, SALLY_UPSTREAM_SOCKS4);
    assert_int_equal(sally_sim_name(world.sim, "a.example", "198.51.100.9"), 0);
    sally_sim_listener *target = sally_sim_listen(world.sim, "198.51.100.9:443", 0);
    assert_int_equal(sally_sim_black_hole(world.sim, "unix:/run/proxy"), 0);
    seen.proxy.address = "unix:/run/proxy";
    seen.options.attempt_ms = 1000;
    assert_int_equal(dial_to(TARGET), 0);
    run_ms(2 * CONNECT_MS);
    failed_with(SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT, 0);
    assert_null(sally_sim_listener_accept(target));
    world_end();
}

/* ---- A client ---- */

static char story[64];
static int last_error, last_code;

static void on_state(sally_client *client, const sally_client_event *event)
{
    (void)client;
    size_t len = strlen(story);
    if (len < sizeof story - 1) story[len] = "WCUE"[event->state];
    if (event->error) last_error = event->error;
    if (event->error) last_code = event->sys_error;
}

static sally_client *begin_client(void)
{
    begin(1, SALLY_UPSTREAM_HTTP);
    memset(story, 0, sizeof story);
    sally_client_options options = {.connect = seen.options, .on_state = on_state};
    sally_client *client;
    assert_int_equal(
        sally_client_create(world.engine, TARGET, &upstream_handler, &options, &client), 0);
    return client;
}

static void a_client_tries_again_through_its_proxy(void **state)
{
    (void)state;
    sally_client *client = begin_client();
    memset(&seen.proxy, 0xee, sizeof seen.proxy); /* it was copied */
    for (unsigned i = 0; i < 5; i++) {
        run_ms(3000);
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        assert_non_null(peer);
        assert_true(received(peer) > 0);
        if (i % 2 == 0) {
            say(peer, LIT("HTTP/1.1 503 Not now\r\n\r\n"));
            assert_int_equal(last_error, SALLY_EPROXY);
            assert_int_equal(last_code, 503);
        } else {
            say(peer, LIT("HTTP/1.1 200 OK\r\n\r\n"));
            assert_int_equal(sally_client_get_state(client), SALLY_CLIENT_UP);
            assert_string_equal(seen.name, "a.example");
            sally_sim_peer_close(peer);
        }
    }
    assert_int_equal(sally_client_stop(client), 0);
    run_ms(100);
    assert_int_equal(seen.opened, 2);
    assert_string_equal(story, "CWCUWCWCUWCWE");
    assert_int_equal(sally_client_destroy(client), 0);
    world_end();
}

static void a_client_that_is_stopped_meanwhile_does_not_open(void **state)
{
    (void)state;
    sally_client *client = begin_client();
    run_ms(100);
    assert_non_null(sally_sim_listener_accept(door));
    assert_int_equal(sally_client_destroy(client), 0);
    run_ms(100);
    assert_string_equal(story, "CE");
    assert_int_equal(seen.opened + seen.closed_alone, 0);
    world_end();
}

/* ---- What contradicts itself ---- */

static void options_that_can_not_be_are_refused_at_once(void **state)
{
    (void)state;
    static char longest[SALLY_UPSTREAM_USER_MAX + 2];
    memset(longest, 'u', sizeof longest - 1);
    static const struct {
        sally_upstream proxy;
        const char *to;
        int wanted;
    } cases[] = {
        {{.kind = (sally_upstream_kind)4, .address = PROXY}, TARGET, SALLY_EINVAL},
        {{.kind = SALLY_UPSTREAM_HTTP}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .user = longest, .password = "x"}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .user = "x", .password = longest}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .user = "x"}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .user = "x", .password = ""}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .user = "", .password = "x"}, TARGET, SALLY_EINVAL},
        {{.address = PROXY, .password = "x"}, TARGET, SALLY_EINVAL},
        {{SALLY_UPSTREAM_SOCKS4A, PROXY, "x", "x", false}, TARGET, SALLY_EINVAL},
        {{SALLY_UPSTREAM_HTTP, PROXY, "x:y", "x", false}, TARGET, SALLY_EINVAL},
        {{.address = "192.0.2.1"}, TARGET, SALLY_EADDRESS},
        {{.address = "*:1"}, TARGET, SALLY_EADDRESS},
        {{.address = PROXY}, "unix:/tmp/x", SALLY_EADDRESS},
        {{SALLY_UPSTREAM_SOCKS4, PROXY, NULL, NULL, false}, "[2001:db8::9]:1", SALLY_ENOTSUP},
        {{SALLY_UPSTREAM_SOCKS4A, PROXY, NULL, NULL, false}, "[2001:db8::9]:1", SALLY_ENOTSUP},
    };
    begin(1, SALLY_UPSTREAM_SOCKS5);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        seen.proxy = cases[i].proxy;
        if (dial_to(cases[i].to) != cases[i].wanted) fail_msg("case %u", i);
    }
    static const char *const names[] = {"",       ".",          "192.0.2.1", "2001:db8::1", "a..b",
                                        "a b",    "-a.b",       "a.b-",      "a.example:1", "a/b",
                                        "a\r\nb", "\xc3\xa4.de"};
    seen.options.upstream = NULL;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        seen.options.server_name = names[i];
        if (dial_to(TARGET) != SALLY_EINVAL) fail_msg("name %u", i);
    }
    run_ms(1000);
    assert_int_equal(seen.opened + seen.closed_alone, 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_proxy_gets_the_name_and_nobody_looks_it_up),
        cmocka_unit_test(a_peer_without_a_proxy_has_its_name_too),
        cmocka_unit_test(a_name_has_its_longest_form),
        cmocka_unit_test(a_name_may_be_looked_up_here),
        cmocka_unit_test(a_proxy_that_takes_too_long_is_not_passed_by),
        cmocka_unit_test(a_name_without_a_fitting_address_fails),
        cmocka_unit_test(a_client_tries_again_through_its_proxy),
        cmocka_unit_test(a_client_that_is_stopped_meanwhile_does_not_open),
        cmocka_unit_test(options_that_can_not_be_are_refused_at_once),
    };
    return cmocka_run_group_tests_name("upstream_names", tests, NULL, NULL);
}
