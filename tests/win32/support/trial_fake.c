/* See trial_fake.h. */
#include "win32/support/trial_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "win32/support/ground_fake.h"

enum { TRIAL_LIMIT_S = 60 };

static void run_case(void *arg)
{
    static struct stage stage; /* too big for a stack; one case a process */
    const struct fake_case *fake_case = arg;
    struct stage_config config = {.ops = &port_iocp_ops,
                                  .ground = fake_case->ground,
                                  .features_off = fake_case->features_off,
                                  .no_strays = true};
    stage_open(&stage, &config);
    fake_case->run(&stage);
    stage_shut(&stage);
}

static void try_case(void **state)
{
    struct fake_case fake_case = *(const struct fake_case *)*state;
    struct trial trial;
    for (unsigned way = 0; way < 4; way++) {
        fake_case.ground = way & 1 ? &ground_prompt_fake : &ground_fake;
        fake_case.features_off = way & 2 ? PORT_NO_PACKET_SKIP : 0;
        trial_name(fake_case.name);
        const char *limit = getenv("SALLY_TRIAL_S");
        trial_run(&trial, run_case, &fake_case,
                  limit ? (unsigned)strtoul(limit, NULL, 10) : TRIAL_LIMIT_S, false);
        if (trial.verdict != VERDICT_OK) fail_msg("way %u: %s", way, trial.text);
    }
}

int fake_cases_run(const char *group, struct fake_case *cases, unsigned count, int argc,
                   char **argv)
{
    struct CMUnitTest tests[FAKE_CASES_MAX] = {{0}};
    if (count > FAKE_CASES_MAX) abort();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    for (unsigned i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, try_case, NULL, NULL, &cases[i]};
    return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}
