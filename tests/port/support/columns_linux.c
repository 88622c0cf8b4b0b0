/* The ports of Linux with their ways switched off, and the simulated one. */
#include "port/support/rules.h"

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
