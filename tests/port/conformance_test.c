/* The port conformance suite: every rule on every port, one test for each pair, and a table at the
 * end. The rules are in support/rules_*.c.
 *
 *   port_conformance [--here] [PATTERN]
 *     PATTERN   run only these, as in "epoll__P4*" or "*__P7_02*"
 *     --here    in this process, for a debugger: one pair at a time
 *   SALLY_TRIAL_S  seconds that a rule may take
 *   SALLY_GUARDED  memory between forbidden pages, see support/guard_pages.h; the value says which
 *               rules: numbers as in "P4 P15", or "all"
 *   SALLY_SEED  the seed of the random walk and of the simulated network */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/support/rules.h"

enum { PAIRS_MAX = 4096, NAME_MAX_BYTES = 128, TRIAL_LIMIT_S = 40 };

/* A limit is for what hangs: under Wine, beside other tests, what works may take long. */
static unsigned limit_s(void)
{
    const char *given = getenv("SALLY_TRIAL_S");
    return given ? (unsigned)strtoul(given, NULL, 10) : TRIAL_LIMIT_S;
}

struct pair {
    struct attempt attempt;
    struct trial trial;
    char name[NAME_MAX_BYTES];
};

static struct pair pairs[PAIRS_MAX];
static unsigned pairs_len;
static bool here;

static void try_pair(void **state)
{
    struct pair *pair = *state;
    trial_name(pair->attempt.rule->name);
    trial_again(pair->name);
    if (here) {
        trial_run_here(&pair->trial, attempt_run, &pair->attempt);
    } else {
        trial_run(&pair->trial, attempt_run, &pair->attempt, limit_s(), false);
    }
    if (pair->trial.verdict == VERDICT_SKIP) {
        printf("skipped: %s: %s\n", pair->name, pair->trial.text);
        skip();
    }
    if (pair->trial.verdict == VERDICT_FAIL) fail_msg("%s", pair->trial.text);
}

/* Whether the name begins with one of the numbers in the list. */
static bool is_listed(const char *list, const char *name)
{
    size_t number = strcspn(name, "_");
    while (*list) {
        size_t len = strcspn(list, " ");
        if (len == number && strncmp(list, name, len) == 0) return true;
        list += len + strspn(list + len, " ");
    }
    return false;
}

static bool is_wanted(const struct rule *rule)
{
    const char *guarded = getenv("SALLY_GUARDED");
    return !guarded || strcmp(guarded, "all") == 0 || is_listed(guarded, rule->name);
}

static void make_pairs(void)
{
    for (unsigned c = 0; c < columns_count; c++) {
        const struct rule *rule;
        for (unsigned r = 0; (rule = rule_at(r)) != NULL; r++) {
            if (!is_wanted(rule)) continue;
            if (pairs_len == PAIRS_MAX) abort();
            struct pair *pair = &pairs[pairs_len++];
            pair->attempt = (struct attempt){rule, &columns[c].config};
            snprintf(pair->name, sizeof pair->name, "%s__%s", columns[c].name, rule->name);
        }
    }
}

/* The rules down, the ports across; what was not run is left empty. */
static void print_table(void)
{
    static const char *const words[] = {"", "ok", "FAIL", "skip"};
    unsigned rows = pairs_len / columns_count;
    printf("\n%-68s", "rule");
    for (unsigned c = 0; c < columns_count; c++) printf(" %-12s", columns[c].name);
    printf("\n");
    for (unsigned r = 0; r < rows; r++) {
        bool any = false;
        for (unsigned c = 0; c < columns_count; c++)
            any = any || pairs[c * rows + r].trial.verdict != VERDICT_NONE;
        if (!any) continue;
        printf("%-68s", pairs[r].attempt.rule->name);
        for (unsigned c = 0; c < columns_count; c++)
            printf(" %-12s", words[pairs[c * rows + r].trial.verdict]);
        printf("\n");
    }
    for (unsigned i = 0; i < pairs_len; i++)
        if (pairs[i].trial.verdict == VERDICT_FAIL)
            printf("FAIL %s: %s\n", pairs[i].name, pairs[i].trial.text);
}

/* This process is one of the trials. */
static _Noreturn void be_trial(const char *name)
{
    for (unsigned i = 0; i < pairs_len; i++)
        if (strcmp(pairs[i].name, name) == 0)
            trial_child(attempt_run, &pairs[i].attempt, limit_s());
    trial_skip("there is no %s", name);
}

int main(int argc, char **argv)
{
    make_pairs();
    if (argc == 3 && strcmp(argv[1], "--trial") == 0) be_trial(argv[2]);
    static struct CMUnitTest tests[PAIRS_MAX];
    static const char without[] = "--without=";
    const char *left_out = NULL;
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--here") == 0)
            here = true;
        else if (strncmp(argv[i], without, sizeof without - 1) == 0)
            left_out = argv[i] + sizeof without - 1;
        else
            cmocka_set_test_filter(argv[i]);
    }
    for (unsigned i = 0; i < pairs_len; i++) {
        if (left_out && strstr(pairs[i].name, left_out)) continue;
        tests[count++] = (struct CMUnitTest){pairs[i].name, try_pair, NULL, NULL, &pairs[i]};
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = _cmocka_run_group_tests("port_conformance", tests, count, NULL, NULL);
    print_table();
    return failed != 0;
}
