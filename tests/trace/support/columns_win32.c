/* The port of Windows, as Wine has it. */
#include "trace/support/world.h"

const struct column trace_columns[] = {
    {.name = "sim"},
    {.name = "wine", .ops = &port_iocp_ops},
    {.name = "wine_plain",
     .ops = &port_iocp_ops,
     .features_off = PORT_NO_PACKET_SKIP | PORT_NO_POSTED_RECV},
};
const unsigned trace_columns_count = sizeof trace_columns / sizeof trace_columns[0];
