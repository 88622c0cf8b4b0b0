/* The ports of Linux, and io_uring with what it can do without switched off. */
#include "trace/support/world.h"

const struct column trace_columns[] = {
    {.name = "sim"},
    {.name = "epoll", .ops = &port_epoll_ops},
    {.name = "uring", .ops = &port_uring_ops},
    {.name = "uring_plain",
     .ops = &port_uring_ops,
     .features_off = PORT_NO_MULTISHOT_ACCEPT | PORT_NO_MULTISHOT_RECV | PORT_NO_BUF_RING |
                     PORT_NO_BUNDLES | PORT_NO_DEFER_TASKRUN | PORT_NO_SINGLE_ISSUER},
};
const unsigned trace_columns_count = sizeof trace_columns / sizeof trace_columns[0];
