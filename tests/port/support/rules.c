/* All rules, all columns, and one attempt at one of each. See rules.h. */
#include "port/support/rules.h"

#include <stdlib.h>

static const struct rule_set *const sets[] = {
    &rules_ending,  &rules_starting, &rules_closing,    &rules_receiving,
    &rules_sending, &rules_stopping, &rules_accepting,  &rules_sharing,
    &rules_waking,  &rules_reusing,  &rules_connecting, &rules_making,
};

const struct rule *rule_at(unsigned index)
{
    for (unsigned i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (index < sets[i]->count) return &sets[i]->rules[index];
        index -= sets[i]->count;
    }
    return NULL;
}

enum {
    NO_MULTISHOT = PORT_NO_MULTISHOT_ACCEPT | PORT_NO_MULTISHOT_RECV,
    NO_RING_WAYS = PORT_NO_DEFER_TASKRUN | PORT_NO_SINGLE_ISSUER | PORT_NO_RING_FD,
    NO_BUF_WAYS = PORT_NO_BUF_RING | PORT_NO_BUNDLES,
};

const struct column columns[] = {
    {"epoll", {.ops = &port_epoll_ops, .ground = &ground_posix}},
    {"uring", {.ops = &port_uring_ops, .ground = &ground_posix}},
    {"uring_single",
     {.ops = &port_uring_ops, .ground = &ground_posix, .features_off = NO_MULTISHOT}},
    {"uring_nobufs",
     {.ops = &port_uring_ops, .ground = &ground_posix, .features_off = NO_BUF_WAYS}},
    {"uring_plain",
     {.ops = &port_uring_ops,
      .ground = &ground_posix,
      .features_off = NO_MULTISHOT | NO_BUF_WAYS | NO_RING_WAYS}},
    {"uring_tiny",
     {.ops = &port_uring_ops, .ground = &ground_posix, .sq_entries = 4, .cq_entries = 8}},
    {"sim", {.ops = &port_sim_ops, .ground = &ground_sim}},
};
const unsigned columns_count = sizeof columns / sizeof columns[0];

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
    trial_name(rule->name);
    if (rule->needs & NEEDS_REAL && !config.ground->real)
        trial_skip("needs threads, signals or files");
    if (rule->needs & NEEDS_BARE) {
        stage_open_bare(&stage, &config);
    } else {
        stage_open(&stage, &config);
    }
    skip_what_lacks(&stage, rule);
    rule->run(&stage);
    stage_shut(&stage);
}
