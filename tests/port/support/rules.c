/* All rules, and one attempt at one of them. See rules.h. */
#include "port/support/rules.h"

#include <stdlib.h>

#include "port/support/guard_pages.h"

static const struct rule_set *const sets[] = {
    &rules_ending,     &rules_starting,  &rules_closing,  &rules_receiving, &rules_sending,
    &rules_stopping,   &rules_accepting, &rules_sharing,  &rules_waking,    &rules_reusing,
    &rules_connecting, &rules_making,    &rules_speaking, &rules_files,
};

const struct rule *rule_at(unsigned index)
{
    for (unsigned i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (index < sets[i]->count) return &sets[i]->rules[index];
        index -= sets[i]->count;
    }
    return NULL;
}

static void skip_what_system_lacks(const struct ground *ground, const struct rule *rule)
{
    if (rule->needs & NEEDS_REAL && !ground->real) trial_skip("needs threads, signals or files");
    unsigned lacks = rule->needs & ground->lacks;
    if (lacks & NEEDS_SIGNALS) trial_skip("this system has no signals");
    if (lacks & NEEDS_UNIX) trial_skip("the port has no Unix sockets on this system");
    if (lacks & NEEDS_SHARED) trial_skip("this system's listeners can't share a port");
    if (lacks & NEEDS_RIGHTS)
        trial_skip("native only: Wine sends also from a file that was opened for writing alone");
    if (lacks & NEEDS_RESET)
        trial_skip("native only: Wine tells a reset before the receive as the end of the stream");
}

static void skip_what_lacks(struct stage *stage, const struct rule *rule)
{
    if (!(rule->needs & NEEDS_V6)) return;
    struct address at = stage_loopback6(), bound;
    intptr_t listener;
    if (stage->ground->listen(stage->world, &at, 1, &listener, &bound) != 0)
        trial_skip("no IPv6 here");
    stage->ground->close_listener(stage->world, listener);
}

void attempt_run(void *arg)
{
    static struct stage stage; /* too big for a stack; one attempt a process */
    const struct attempt *attempt = arg;
    const struct rule *rule = attempt->rule;
    struct stage_config config = *attempt->config;
    config.slots_max = rule->slots_max;
    config.bufs_max = rule->bufs_max;
    config.buf_bytes = rule->buf_bytes;
    if (getenv("SALLY_GUARDED")) config.guarded = true;
    if (config.guarded) guard_die_of_faults();
    trial_name(rule->name);
    skip_what_system_lacks(config.ground, rule);
    if (rule->needs & NEEDS_BARE) {
        stage_open_bare(&stage, &config);
    } else {
        stage_open(&stage, &config);
    }
    skip_what_lacks(&stage, rule);
    rule->run(&stage);
    stage_shut(&stage);
}
