/* Connections through proxies in virtual time: every kind with every split of its answer, refusals,
 * silence, and what others do meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/group.h"
#include "sim/support/upstream.h"

/* ---- Every protocol ---- */

static void split_at(const struct protocol *protocol, size_t cut)
{
    begin_protocol(cut + 1, protocol);
    seen.to_say = 5;
    sally_sim_peer *peer = proxy_of(protocol->to);
    const struct step *last = talk(peer, protocol);
    char bytes[128];
    size_t len = last->says_len + 6;
    memcpy(bytes, last->says, last->says_len);
    memcpy(bytes + last->says_len, "behind", 6);
    say(peer, bytes, cut);
    assert_int_equal(seen.opened, cut >= last->says_len);
    say(peer, bytes + cut, len - cut);
    assert_int_equal(seen.opened, 1);
    assert_string_equal(seen.peer, PROXY);
    heard(peer, "abcde", 5);
    run_ms(2 * CONNECT_MS); /* the time limit holds no longer */
    say(peer, "!", 1);
    assert_int_equal(seen.got_len, 7);
    assert_memory_equal(seen.got, "behind!", 7);
    sally_sim_peer_finish(peer);
    run_ms(1000);
    assert_int_equal(seen.eofs, 1);
    assert_int_equal(seen.info.reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(seen.info.bytes_in, 7); /* the target's alone */
    assert_int_equal(seen.info.bytes_out, 5);
    world_end();
}

static void each_kind_opens_when_its_proxy_agrees_in_whatever_pieces(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROTOCOLS; i++) {
        const struct step *last = protocols[i].steps + 2;
        while (!last->asks) last--;
        for (size_t cut = 0; cut <= last->says_len + 6; cut++) split_at(&protocols[i], cut);
    }
}

/* A proxy that has no patience to be asked is told all the same, before anything of ours. */
static void an_answer_may_come_before_the_question(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * PROTOCOLS; i++) {
        const struct protocol *protocol = &protocols[i / 2];
        begin_protocol(i + 1, protocol);
        seen.to_say = i % 2 ? 3 : 0; /* who has nothing to say is read on all the same */
        sally_sim_peer *peer = proxy_of(protocol->to);
        serve_some(peer, protocol);
        run_ms(4000);
        assert_int_equal(seen.opened, 1);
        assert_int_equal(seen.got_len, REST);
        for (unsigned n = 0; n < 3 && protocol->steps[n].asks; n++)
            heard_first(peer, protocol->steps[n].asks, protocol->steps[n].asks_len);
        if (seen.to_say) heard(peer, "abc", 3);
        say(peer, "!", 1);
        assert_int_equal(seen.got_len, REST + 1);
        sally_sim_peer_close(peer);
        run_ms(1000);
        world_end();
    }
}

static void answer_and_end_may_come_at_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROTOCOLS; i++)
        for (unsigned pauses = 0; pauses < 2; pauses++) {
            begin_protocol(i + 1, &protocols[i]);
            seen.pauses = pauses;
            sally_sim_peer *peer = proxy_of(protocols[i].to);
            const struct step *last = talk(peer, &protocols[i]);
            assert_true(say_some(peer, last->says, last->says_len));
            assert_true(say_some(peer, "bye", 3));
            sally_sim_peer_finish(peer);
            run_ms(1000);
            assert_int_equal(seen.opened, 1);
            assert_int_equal(seen.got_len, pauses ? 0 : 3);
            assert_int_equal(seen.eofs, !pauses);
            assert_int_equal(seen.at_eof, seen.got_len);
            assert_int_equal(world.closed, !pauses);
            world_end();
        }
}

enum { FLOOD_KEPT_MAX = 100 * 1000 };

/* One that reads nothing of what it is asked, says yes and then more and more. Nobody here takes
 * that, so what is kept of it is bounded. */
static void a_flood_behind_the_answer_is_not_kept(void **state)
{
    (void)state;
    static char user[SALLY_UPSTREAM_USER_MAX + 1], flood[1000];
    unsigned stuck = 0;
    memset(user, 'u', sizeof user - 1);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, SALLY_UPSTREAM_HTTP);
        seen.proxy.user = seen.proxy.password = user; /* much to read */
        seen.pauses = true;
        assert_int_equal(dial_to(TARGET), 0);
        sally_sim_peer *peer = NULL;
        while (!(peer = sally_sim_listener_accept(door))) run_ms(1);
        sally_sim_peer_stop_reading(peer);
        uint64_t before = sally_sim_memory_bytes(world.sim);
        (void)sally_sim_peer_write(peer, LIT("HTTP/1.1 200\n\n"));
        for (unsigned i = 0; i < 1000; i++) {
            (void)sally_sim_peer_write(peer, flood, sizeof flood);
            run_ms(4);
        }
        stuck += !seen.opened;
        assert_true(sally_sim_memory_bytes(world.sim) < before + FLOOD_KEPT_MAX);
        world_end();
    }
    assert_true(stuck > 0);
}

static void the_talk_takes_no_memory_of_an_open_connection(void **state)
{
    (void)state;
    begin_protocol(1, &protocols[4]);
    sally_sim_peer *peer = proxy_of(protocols[4].to);
    const struct step *last = talk(peer, &protocols[4]);
    uint64_t before = sally_sim_memory_bytes(world.sim);
    say(peer, last->says, last->says_len);
    assert_int_equal(seen.opened, 1);
    assert_true(sally_sim_memory_bytes(world.sim) + 1000 < before);
    world_end();
}

/* ---- Refusals and silence ---- */

static void a_refusal_is_told_with_the_proxys_code(void **state)
{
    (void)state;
    static const struct {
        sally_upstream_kind kind;
        const char *says;
        size_t len;
        int error, code;
    } cases[] = {
        {SALLY_UPSTREAM_SOCKS4A, LIT("\0\x5b\0\0\0\0\0\0"), SALLY_EPROXY, 91},
        {SALLY_UPSTREAM_SOCKS4A, LIT("\1"), SALLY_EMALFORMED, 0},
        {SALLY_UPSTREAM_SOCKS5, LIT("\5\xff"), SALLY_EPROXYAUTH, 255},
        {SALLY_UPSTREAM_SOCKS5, LIT("\5\0\5\4\0\1"), SALLY_EPROXY, 4},
        {SALLY_UPSTREAM_SOCKS5, LIT("\5\2"), SALLY_EMALFORMED, 0},
        {SALLY_UPSTREAM_HTTP, LIT("HTTP/1.1 502 Bad\r\n"), SALLY_EPROXY, 502},
        {SALLY_UPSTREAM_HTTP, LIT("HTTP/1.1 407 Who\r\n"), SALLY_EPROXYAUTH, 407},
        {SALLY_UPSTREAM_HTTP, LIT("SSH-2.0"), SALLY_EMALFORMED, 0},
        {SALLY_UPSTREAM_HTTP, "", 0, SALLY_EPROXY, 0}, /* it hangs up */
        {SALLY_UPSTREAM_HTTP, LIT("HTTP/1.1 2"), SALLY_EPROXY, 0},
        {SALLY_UPSTREAM_SOCKS5, LIT("\5\0"), SALLY_EPROXY, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(i + 1, cases[i].kind);
        sally_sim_peer *peer = proxy_of(TARGET);
        sally_sim_peer_consume(peer, received(peer));
        if (cases[i].len) say(peer, cases[i].says, cases[i].len);
        if (cases[i].error == SALLY_EPROXY && !cases[i].code) sally_sim_peer_finish(peer);
        run_ms(1000);
        failed_with(SALLY_CLOSE_CONNECT_FAILED, cases[i].error, cases[i].code);
        assert_non_null(strstr(seen.why, sally_err_name(cases[i].error)));
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
        world_end();
    }
}

static void a_proxy_that_resets_or_is_not_there_failed_as_anybody(void **state)
{
    (void)state;
    begin(1, SALLY_UPSTREAM_SOCKS5);
    sally_sim_peer_reset(proxy_of(TARGET));
    run_ms(1000);
    failed_with(SALLY_CLOSE_CONNECT_FAILED, SALLY_ERESET, seen.info.sys_error);
    world_end();
    begin(2, SALLY_UPSTREAM_SOCKS5);
    sally_sim_listener_close(door);
    assert_int_equal(dial_to(TARGET), 0);
    run_ms(1000);
    failed_with(SALLY_CLOSE_CONNECT_FAILED, SALLY_EREFUSED, seen.info.sys_error);
    world_end();
}

static bool gave_up(void *arg)
{
    (void)arg;
    return seen.closed_alone > 0;
}

/* Counted from the beginning, however much of its answer has come. */
static void a_silent_proxy_meets_the_time_limit_of_the_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROTOCOLS; i++)
        for (unsigned half = 0; half < 2; half++) {
            begin_protocol(i + 1, &protocols[i]);
            uint64_t began_ms = sally_sim_now_ms(world.sim);
            sally_sim_peer *peer = proxy_of(protocols[i].to);
            run_ms(3000);
            if (half) {
                const struct step *last = talk(peer, &protocols[i]);
                say(peer, last->says, last->says_len - 1);
            }
            assert_int_equal(sally_sim_run_until(world.sim, gave_up, NULL, 60000), 0);
            uint64_t took_ms = sally_sim_now_ms(world.sim) - began_ms;
            assert_in_range(took_ms, CONNECT_MS - 1, CONNECT_MS + 1); /* clocks in whole ms */
            run_ms(1000);
            failed_with(SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT, 0);
            world_end();
        }
}

/* ---- From outside, meanwhile ---- */

static unsigned posts;

static void posted(sally_conn *conn, void *arg)
{
    (void)arg;
    assert_null(conn);
    posts++;
}

static bool is_connecting(const sally_conn_info *info, void *arg)
{
    *(unsigned *)arg += info->state == SALLY_CONN_CONNECTING && info->id == seen.id;
    return true;
}

static void what_is_sent_by_id_meanwhile_goes_to_the_target(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROTOCOLS; i++) {
        unsigned connecting = 0;
        posts = 0;
        begin_protocol(i + 1, &protocols[i]);
        sally_sim_peer *peer = proxy_of(protocols[i].to);
        assert_int_equal(sally_send(world.engine, seen.id, "early", 5), 0);
        assert_int_equal(sally_post(world.engine, seen.id, posted, NULL), 0);
        run_ms(100);
        assert_int_equal(posts, 1);
        assert_int_equal(sally_engine_each_conn(world.engine, is_connecting, &connecting), 0);
        assert_int_equal(connecting, 1);
        const struct step *last = talk(peer, &protocols[i]); /* hears nothing of it */
        say(peer, last->says, last->says_len);
        heard(peer, "early", 5);
        assert_int_equal(sally_close(world.engine, seen.id), 0);
        sally_sim_peer_finish(peer);
        run_ms(1000);
        assert_int_equal(world.closed, 1);
        world_end();
    }
}

/* Groups are joined by id at any time, and kept through every change of place. */
static void groups_joined_meanwhile_are_kept(void **state)
{
    (void)state;
    for (unsigned opens = 0; opens < 2; opens++) {
        sally_group *groups[2];
        begin_protocol(1, &protocols[4]);
        for (int i = 0; i < 2; i++)
            assert_int_equal(sally_group_create(&groups[i], world.engine), 0);
        assert_int_equal(dial_to(protocols[4].to), 0);
        assert_int_equal(sally_group_join(groups[0], seen.id), 0); /* while it is dialled */
        run_ms(100);
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        assert_int_equal(sally_group_join(groups[1], seen.id), 0); /* while the proxy is asked */
        const struct step *last = talk(peer, &protocols[4]);
        if (opens) say(peer, last->says, last->says_len);
        for (int i = 0; i < 2; i++) assert_int_equal(sally_group_members(groups[i]), 1);
        sally_sim_peer_reset(peer);
        run_ms(100);
        assert_int_equal(seen.opened, opens);
        for (int i = 0; i < 2; i++) assert_int_equal(sally_group_members(groups[i]), 0);
        world_end();
    }
}

static void it_may_be_given_up_at_any_point(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 4; way++)
        for (unsigned half = 0; half < 2; half++) {
            begin_protocol(way + 1, &protocols[3]);
            sally_sim_peer *peer = proxy_of(protocols[3].to);
            if (half) (void)talk(peer, &protocols[3]);
            if (way == 0) assert_int_equal(sally_close(world.engine, seen.id), 0);
            if (way == 1) assert_int_equal(sally_abort(world.engine, seen.id), 0);
            if (way == 2) assert_int_equal(sally_engine_drain(world.engine, 1000), 0);
            if (way == 3) assert_int_equal(sally_engine_stop(world.engine), 0);
            run_ms(100);
            assert_int_equal(seen.closed_alone, 1);
            assert_int_equal(seen.info.reason, way == 0   ? SALLY_CLOSE_LOCAL
                                               : way == 1 ? SALLY_CLOSE_ABORTED
                                                          : SALLY_CLOSE_SHUTDOWN);
            world_end();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_opens_when_its_proxy_agrees_in_whatever_pieces),
        cmocka_unit_test(an_answer_may_come_before_the_question),
        cmocka_unit_test(a_flood_behind_the_answer_is_not_kept),
        cmocka_unit_test(the_talk_takes_no_memory_of_an_open_connection),
        cmocka_unit_test(answer_and_end_may_come_at_once),
        cmocka_unit_test(a_refusal_is_told_with_the_proxys_code),
        cmocka_unit_test(a_proxy_that_resets_or_is_not_there_failed_as_anybody),
        cmocka_unit_test(a_silent_proxy_meets_the_time_limit_of_the_whole),
        cmocka_unit_test(what_is_sent_by_id_meanwhile_goes_to_the_target),
        cmocka_unit_test(groups_joined_meanwhile_are_kept),
        cmocka_unit_test(it_may_be_given_up_at_any_point),
    };
    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
