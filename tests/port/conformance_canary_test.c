/* The suite against ports that break the contract in one chosen way: it must find each, by the rules
 * that are about it, and find nothing else. A suite that can't fail proves nothing.
 *
 * Each deviation names the rules that must turn red and those that may (they meet it only
 * sometimes, or only as a consequence); all others must stay green. Usually some of those are run,
 * with SALLY_LONG=1 all.
 *
 *   port_conformance_canary [PATTERN]    PATTERN as in "*wake*" */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/support/deviant.h"
#include "port/support/rules.h"

enum { NAMES_MAX = 12, RED_LIMIT_S = 5, GREEN_LIMIT_S = 40, EVERY = 9 };

struct canary {
    const char *name;
    enum deviation deviation;
    const char *red[NAMES_MAX]; /* beginnings of rules' names */
    const char *may[NAMES_MAX];
};

static bool named(const char *const *names, const char *rule)
{
    for (unsigned i = 0; i < NAMES_MAX && names[i]; i++)
        if (strncmp(rule, names[i], strlen(names[i])) == 0) return true;
    return false;
}

static void run_rule(const struct canary *canary, const struct rule *rule, struct trial *trial,
                     unsigned limit_s)
{
    struct stage_config config = {.ops = deviant_ops(canary->deviation), .ground = &ground_posix};
    struct attempt attempt = {rule, &config};
    trial_name(rule->name);
    trial_run(trial, attempt_run, &attempt, limit_s, true);
}

/* 1 when the verdict is not the wanted one. */
static unsigned judge(const struct canary *canary, const struct rule *rule, bool all)
{
    bool red = named(canary->red, rule->name);
    bool may = named(canary->may, rule->name);
    if (may && !(all && getenv("SALLY_SHOW"))) return 0;
    struct trial trial;
    run_rule(canary, rule, &trial, red || may ? RED_LIMIT_S : GREEN_LIMIT_S);
    if (red || may) printf("    %s\n", trial.verdict == VERDICT_FAIL ? trial.text : rule->name);
    if (may || trial.verdict == VERDICT_SKIP) return 0;
    if (red == (trial.verdict == VERDICT_FAIL)) return 0;
    printf("    %s is %s: %s\n", rule->name, red ? "green" : "red", trial.text);
    return 1;
}

static void run_canary(void **state)
{
    const struct canary *canary = *state;
    bool all = getenv("SALLY_LONG") != NULL;
    unsigned wrong = 0, reds = 0;
    const struct rule *rule;
    for (unsigned i = 0; (rule = rule_at(i)) != NULL; i++) {
        bool red = named(canary->red, rule->name);
        reds += red;
        if (red || all || (i + (unsigned)canary->deviation) % EVERY == 0)
            wrong += judge(canary, rule, all);
    }
    assert_true(reds > 0 || canary->deviation == DEVIATE_NOT);
    assert_int_equal(wrong, 0);
}

static const struct canary canaries[] = {
    {"no_deviation", DEVIATE_NOT, {NULL}, {NULL}},
    {"a_send_s_event_comes_twice", DEVIATE_DOUBLES_A_SEND, {"P1_04"}, {NULL}},
    {"no_event_of_a_close_with_a_send", DEVIATE_LOSES_A_CLOSE, {"P4_03", "P4_04"}, {NULL}},
    {"failed_connects_never_end", DEVIATE_HIDES_FAILED_CONNECTS, {"P2_01", "P2_02", "C_04"}, {NULL}},
    {"an_ending_inside_the_call", DEVIATE_ENDS_INSIDE_THE_CALL, {"P1_03", "P7_01"}, {NULL}},
    {"the_close_comes_before_the_receive", DEVIATE_CLOSES_TOO_EARLY, {"P4_02"}, {NULL}},
    {"bytes_change_places", DEVIATE_MIXES_BYTES, {"P5_01"}, {NULL}},
    {"a_send_takes_too_much", DEVIATE_SENDS_TOO_MUCH, {"P6_01"}, {NULL}},
    {"bytes_are_lost_after_a_stop", DEVIATE_FORGETS_AFTER_A_STOP, {"P7_02"}, {NULL}},
    {"accepting_dies_silently", DEVIATE_STOPS_ACCEPTING, {"P8_01"}, {NULL}},
    {"the_loud_go_first", DEVIATE_FAVOURS_THE_LOUD, {"P9_01"}, {NULL}},
    {"wake_ups_get_lost", DEVIATE_LOSES_WAKE_UPS, {"P11_01"}, {NULL}},
    {"an_event_hits_another_socket", DEVIATE_HITS_ANOTHER_SOCKET, {"P12_01"}, {NULL}},
    {"a_descriptor_leaks", DEVIATE_LEAKS_A_DESCRIPTOR, {"P8_01"}, {NULL}},
};

int main(int argc, char **argv)
{
    enum { COUNT = sizeof canaries / sizeof canaries[0] };
    struct CMUnitTest tests[COUNT];
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){canaries[i].name, run_canary, NULL, NULL,
                                       (void *)(uintptr_t)&canaries[i]};
    return _cmocka_run_group_tests("port_conformance_canary", tests, COUNT, NULL, NULL) != 0;
}
