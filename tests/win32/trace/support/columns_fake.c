/* The port of Windows on the fake of its kernel, for scenarios played natively. */
#include "trace/support/world.h"
#include "win32/support/fake.h"

enum { PENDED_PERCENT = 30 };

static void *make(void)
{
    struct fake *fake = fake_make();
    fake->pended_percent = PENDED_PERCENT;
    return fake;
}

static void *make_prompt(void)
{
    struct fake *fake = fake_make();
    fake->accepts_at_once = true;
    fake->closed_status = (uint32_t)WIN32_STATUS_CONNECTION_ABORTED; /* Windows' own */
    return fake;
}

static void unmake(void *fake) { fake_free(fake); }

const struct column trace_columns[] = {
    {.name = "iocp", .ops = &port_iocp_ops, .system_make = make, .system_free = unmake},
    {.name = "iocp_plain",
     .ops = &port_iocp_ops,
     .system_make = make_prompt,
     .system_free = unmake,
     .features_off = PORT_NO_PACKET_SKIP | PORT_NO_POSTED_RECV},
};
const unsigned trace_columns_count = sizeof trace_columns / sizeof trace_columns[0];
