/* The language of the scenario files, and that a file which is wrong in one word is found out: by
 * what is missing, too much, in another order, of another size, or for another port. A player that
 * can't fail proves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/support/play.h"

static struct script *read_text(const char *text)
{
    char *copy = calloc(1, strlen(text) + 1);
    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    return script_read(copy);
}

/* Played on the simulator; what is wrong goes to why. */
static bool plays(const char *text, char *why, size_t size)
{
    struct script *script = read_text(text);
    const char *no_world = NULL;
    assert_string_equal(script->wrong, "");
    struct column column = {.name = "sim"};
    struct world *world = world_make(&column, 1, 7, &no_world);
    assert_non_null(world);
    bool right = play_script(world, script, false, why, size);
    world_free(world);
    script_free(script);
    return right;
}

static void must_play(const char *text)
{
    char why[500] = "";
    if (!plays(text, why, sizeof why)) fail_msg("%s", why);
}

static void must_fail(const char *text, const char *because)
{
    char why[500] = "";
    if (plays(text, why, sizeof why)) fail_msg("this passes:\n%s", text);
    if (!strstr(why, because)) fail_msg("not because of '%s': %s", because, why);
}

#define OPEN  "proves x\nserver s\nconnect a\n  a open\n"
#define RESET "peer a rst\n  a close PEER_RESET\n"

static void the_right_one_passes(void **state)
{
    (void)state;
    must_play(OPEN RESET);
    must_play(OPEN "peer a send 100\n  a data 100\n" RESET);
    must_play(OPEN "a send 100\n  peer a data 100\n" RESET);
}

static void a_missing_event_is_found(void **state)
{
    (void)state;
    must_fail(OPEN "peer a send 100\n  a data 100\n  a eof\n" RESET,
              "line 7 is not what came: nothing");
    must_fail("proves x\nserver s\nconnect a\n  a open\n  a timer\n" RESET, "nothing");
}

static void an_event_too_many_is_found(void **state)
{
    (void)state;
    must_fail("proves x\nserver s\nconnect a\nsettle\n" RESET, "a open");
    must_fail(OPEN "peer a send 100\nsettle\n" RESET, "a data 100");
    must_fail(OPEN "peer a fin\n  a eof\n", "a close SHUTDOWN");
    must_fail(OPEN "peer a fin\nsettle\n" RESET, "a eof");
}

static void the_last_step_is_judged_to_its_end(void **state)
{
    (void)state;
    must_fail(OPEN RESET "connect b\n", "b open");
}

static void another_number_of_bytes_is_found(void **state)
{
    (void)state;
    must_fail(OPEN "peer a send 100\n  a data 99\n" RESET, "a data 1");
    must_fail(OPEN "peer a send 100\n  a data 101\n" RESET, "a data 100");
    must_fail(OPEN "a send 10\n  peer a data 11\n" RESET, "peer a data 10");
}

/* Who echoes has nothing of his own to say. */
static void wrong_bytes_are_found(void **state)
{
    (void)state;
    must_fail(OPEN "a echo\na send 10\n  peer a data 10\n" RESET, "wrong bytes at peer a");
}

static void another_order_is_found(void **state)
{
    (void)state;
    must_fail(OPEN "peer a send 10 ; peer a fin\n  a eof\n  a data 10\n" RESET, "a data");
}

static void another_word_is_found(void **state)
{
    (void)state;
    must_fail(OPEN "peer a rst\n  a close LOCAL\n", "PEER_RESET");
    must_fail(OPEN "peer a rst\n  a close PEER_RESET in=1\n", "in=0");
    must_fail(OPEN "a close, send 1\n  a send 1 = EFULL\n  peer a fin\n" RESET, "ECLOSED");
    must_fail(OPEN "a close, send 1\n  peer a fin\n" RESET, "ECLOSED");
}

static void two_subjects_have_no_order(void **state)
{
    (void)state;
    must_play(OPEN "a abort\n  a close ABORTED\n  peer a rst\n");
    must_play(OPEN "a abort\n  peer a rst\n  a close ABORTED\n");
}

static void a_line_for_other_ports_counts_for_them_only(void **state)
{
    (void)state;
    must_play(OPEN "# why\npeer a send 1 @epoll\n  a data 1 @epoll\n" RESET);
    must_play(OPEN "# why\npeer a send 1 @!epoll\n  a data 1 @!epoll\n" RESET);
    must_fail(OPEN "peer a send 1 ; settle\n# why\n  a data 1 @epoll,uring\n" RESET, "a data 1");
    must_fail(OPEN "# why\npeer a send 1 @epoll\n  a data 1 @sim\n" RESET, "nothing");
}

static void what_can_t_be_done_is_told(void **state)
{
    (void)state;
    must_fail(OPEN "a dance\n" RESET, "no such action");
    must_fail(OPEN "b send 1\n" RESET, "nobody is called b");
    must_fail(OPEN "connect a\n" RESET, "can't be a new name");
    must_fail(OPEN "a send much\n" RESET, "a number is missing");
    must_fail("proves x\nserver s speed=3\n", "no such option");
    must_fail("proves x\nserver s\non data\n", "on which event");
}

static void what_can_t_be_read_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *because;
    } texts[] = {
        {"server s\n", "doesn't say what it proves"},
        {"proves x\nproves y\nserver s\n", "proves comes once"},
        {"proves x\n", "nothing happens"},
        {"proves x\n  a open\n", "before the first command"},
        {"proves x\nskip sim\nserver s\n", "skip needs"},
        {"proves x\nserver s @sim\n", "needs a reason"},
        {"proves x\nserver s ;  ; server t\n", "without a word"},
    };
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct script *script = read_text(texts[i].text);
        if (!strstr(script->wrong, texts[i].because))
            fail_msg("%s: '%s'", texts[i].text, script->wrong);
        script_free(script);
    }
}

static void lists_of_ports(void **state)
{
    (void)state;
    assert_true(script_meant_for(NULL, "sim"));
    assert_true(script_meant_for("epoll,uring", "uring"));
    assert_true(script_meant_for("uring", "uring_plain"));
    assert_false(script_meant_for("uring_plain", "uring"));
    assert_false(script_meant_for("epoll", "sim"));
    assert_false(script_meant_for("!sim,epoll", "epoll"));
    assert_true(script_meant_for("!sim,epoll", "uring"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_one_passes),
        cmocka_unit_test(a_missing_event_is_found),
        cmocka_unit_test(an_event_too_many_is_found),
        cmocka_unit_test(the_last_step_is_judged_to_its_end),
        cmocka_unit_test(another_number_of_bytes_is_found),
        cmocka_unit_test(wrong_bytes_are_found),
        cmocka_unit_test(another_order_is_found),
        cmocka_unit_test(another_word_is_found),
        cmocka_unit_test(two_subjects_have_no_order),
        cmocka_unit_test(a_line_for_other_ports_counts_for_them_only),
        cmocka_unit_test(what_can_t_be_done_is_told),
        cmocka_unit_test(what_can_t_be_read_is_told),
        cmocka_unit_test(lists_of_ports),
    };
    return cmocka_run_group_tests_name("trace_language", tests, NULL, NULL);
}
