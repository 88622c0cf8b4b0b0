/* The port of Windows with its ways switched off, and the simulated one. */
#include "port/support/rules.h"

const struct column columns[] = {
    {"iocp", {.ops = &port_iocp_ops, .no_strays = true, .ground = &ground_win32}},
    {"iocp_packets",
     {.ops = &port_iocp_ops,
      .no_strays = true,
      .guarded = true,
      .ground = &ground_win32,
      .features_off = PORT_NO_PACKET_SKIP}},
    {"iocp_plain",
     {.ops = &port_iocp_ops,
      .no_strays = true,
      .ground = &ground_win32,
      .features_off = PORT_NO_PACKET_SKIP | PORT_NO_POSTED_RECV}},
    {"sim", {.ops = &port_sim_ops, .ground = &ground_sim}},
};
const unsigned columns_count = sizeof columns / sizeof columns[0];
