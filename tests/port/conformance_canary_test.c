/* The suite against ports that break the contract in one chosen way: it must find each, by the
 * rules that are about it, and find nothing else. A suite that can't fail proves nothing.
 *
 * Each deviation names rules that must turn red. Where the stage itself sees it, which watches
 * every event, other rules may turn red too, if they cite the broken rule. Where it shows only in
 * what doesn't happen, the rules that may turn red are named; all others must stay green. Usually
 * some of the others are run, with SALLY_LONG=1 all.
 *
 *   port_conformance_canary [PATTERN]    PATTERN as in "*wake*"
 *   SALLY_TRIAL_S                        seconds that a rule may take, to see all reds sooner */
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
#include "support/long.h"

enum { NAMES_MAX = 24, RED_LIMIT_S = 2, GREEN_LIMIT_S = 40, EVERY = 9 };

struct canary {
    const char *name;
    enum deviation deviation;
    const char *cites;          /* what other reds cite; NULL: only those named may be red */
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
    const char *limit = getenv("SALLY_TRIAL_S");
    trial_run(trial, attempt_run, &attempt, limit ? (unsigned)strtoul(limit, NULL, 10) : limit_s,
              true);
}

static bool cites(const struct canary *canary, const struct trial *trial)
{
    size_t len = canary->cites ? strlen(canary->cites) : 0;
    return len && strncmp(trial->text, canary->cites, len) == 0 && trial->text[len] == ':';
}

/* Whether the verdict is the wanted one. */
static bool judge_once(const struct canary *canary, const struct rule *rule, bool red)
{
    struct trial trial;
    run_rule(canary, rule, &trial, red ? RED_LIMIT_S : GREEN_LIMIT_S);
    bool failed = trial.verdict == VERDICT_FAIL;
    if (red && failed) printf("    %s\n", trial.text);
    if (trial.verdict == VERDICT_SKIP) return true;
    if (red ? failed && (!canary->cites || cites(canary, &trial)) : !failed) return true;
    if (!red && cites(canary, &trial)) return true;
    printf("    %s should be %s and says: %s\n", rule->name, red ? "red" : "green", trial.text);
    return false;
}

/* 1 when the verdict is not the wanted one, twice: whether a deviation shows is a matter of what
 * comes together in a batch, and a rule may meet another program's port. That each rule is green
 * where it should be is conformance_test's to say. */
static unsigned judge(const struct canary *canary, const struct rule *rule)
{
    bool red = named(canary->red, rule->name);
    if (!red && named(canary->may, rule->name)) return 0;
    return !judge_once(canary, rule, red) && !judge_once(canary, rule, red);
}

static void run_canary(void **state)
{
    const struct canary *canary = *state;
    bool all = long_form();
    unsigned wrong = 0, reds = 0;
    const struct rule *rule;
    for (unsigned i = 0; (rule = rule_at(i)) != NULL; i++) {
        bool red = named(canary->red, rule->name);
        reds += red;
        if (red || all || (i + (unsigned)canary->deviation) % EVERY == 0)
            wrong += judge(canary, rule);
    }
    assert_true(reds > 0 || canary->deviation == DEVIATE_NOT);
    assert_int_equal(wrong, 0);
}

static const struct canary canaries[] = {
    {.name = "no_deviation", .deviation = DEVIATE_NOT},
    {"a_send_s_event_comes_twice", DEVIATE_DOUBLES_A_SEND, "P1", {"P1_04", "P6_02"}, {"P15_14"}},
    {"no_event_of_a_close_with_a_send",
     DEVIATE_LOSES_A_CLOSE,
     NULL,
     {"P4_03", "P4_04", "P4_06"},
     {"P1_10", "P4_18", "P4_19", "P6_05", "P6_09", "P7_05", "P9", "P12_01", "P15_09", "P15_10",
      "P15_15"}},
    {"failed_connects_never_end",
     DEVIATE_HIDES_FAILED_CONNECTS,
     NULL,
     {"P2_01", "P2_02", "C_04"},
     {"C_05", "C_07", "C_08", "C_09", "C_10", "M_12"}},
    {"an_ending_inside_the_call",
     DEVIATE_ENDS_INSIDE_THE_CALL,
     "P3",
     {"P1_03", "P7_01", "P7_02", "P7_03", "P7_04", "P7_05", "P7_09", "P4_11", "P11_10"},
     {NULL}},
    {"the_close_comes_before_the_receive",
     DEVIATE_CLOSES_TOO_EARLY,
     "P4",
     {"P4_02", "P4_05", "P4_11", "P4_17"},
     {NULL}},
    {"bytes_change_places",
     DEVIATE_MIXES_BYTES,
     "P5",
     {"P5_01", "P5_02", "P5_03", "P5_04", "P5_05", "P5_07", "P5_13"},
     {"P1_10", "P4_19", "P12"}},
    {"a_send_takes_too_much",
     DEVIATE_SENDS_TOO_MUCH,
     "P6",
     {"P6_01", "P6_02", "P6_03", "P6_04", "P6_05", "P6_09", "P6_10"},
     {"P15_06"}},
    {"bytes_are_lost_after_a_stop",
     DEVIATE_FORGETS_AFTER_A_STOP,
     NULL,
     {"P7_01", "P7_02", "P7_03", "P7_04", "P7_09"},
     {"P1_10", "P5_09"}},
    {"accepting_dies_silently",
     DEVIATE_STOPS_ACCEPTING,
     NULL,
     {"P8_01", "P8_02", "P8_11", "P7_06", "P7_07"},
     {"P1_10", "P4_17", "P4_03", "P4_04", "P11_09", "P12", "P14_09", "P9_03", "C_09"}},
    {"the_loud_go_first",
     DEVIATE_FAVOURS_THE_LOUD,
     NULL,
     {"P9_01", "P9_02", "P9_04"},
     {"P1_09", "P1_10", "P4_11", "P4_18", "P12"}},
    {"wake_ups_get_lost",
     DEVIATE_LOSES_WAKE_UPS,
     NULL,
     {"P11_01", "P11_05", "P11_08"},
     {"P10_01", "P11_04", "P11_06", "P11_07", "P11_10"}}, /* another wake-up may make up for it */
    {"an_event_hits_another_socket",
     DEVIATE_HITS_ANOTHER_SOCKET,
     NULL,
     {"P12_02", "P12_03"},
     {"P1_09", "P1_10", "P4_17", "P5_08", "P5_09", "P6_10", "P7_08", "P8", "P9", "P10_03", "P12",
      "P14", "P15_14", "C_03", "C_11", "M_13"}},
    {"a_descriptor_leaks",
     DEVIATE_LEAKS_A_DESCRIPTOR,
     NULL,
     {"P8_01", "P8_05", "M_04"},
     {"P1_10", "P3_02", "P4_09", "P7_06", "P7_07", "P8", "P9_03", "P10_01", "P11_09", "P12_01",
      "M_05", "M_09", "M_10", "M_11", "M_12"}},
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
