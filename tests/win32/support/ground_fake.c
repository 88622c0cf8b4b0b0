/* Linux' peers, with the fake kernel as the port's system: for the completion port, natively. The
 * fake's operations that finish at once sometimes say pending, so both ways are met. */
#include <stdlib.h>

#include "port/support/rules.h"
#include "win32/support/fake.h"
#include "win32/support/ground_fake.h"

enum { PENDED_PERCENT = 30 };

static int open_fake(void **world)
{
    struct fake *fake = fake_make();
    fake->pended_percent = PENDED_PERCENT;
    *world = fake;
    return 0;
}

/* Accepts that find a newcomer end before the call returns. */
static int open_prompt_fake(void **world)
{
    struct fake *fake = fake_make();
    fake->accepts_at_once = fake->transmits_at_once = true;
    fake->closed_status = (uint32_t)WIN32_STATUS_CONNECTION_ABORTED; /* Windows' own */
    *world = fake;
    return 0;
}

static void shut_fake(void *world) { fake_free(world); }

struct ground ground_fake, ground_prompt_fake;

__attribute__((constructor)) static void make_grounds(void)
{
    ground_fake = ground_posix;
    ground_fake.name = "fake";
    ground_fake.lacks = NEEDS_SIGNALS | NEEDS_UNIX | NEEDS_SHARED;
    ground_fake.open = open_fake;
    ground_fake.shut = shut_fake;
    ground_prompt_fake = ground_fake;
    ground_prompt_fake.open = open_prompt_fake;
}

const struct column columns[] = {
    {"iocp", {.ops = &port_iocp_ops, .no_strays = true, .ground = &ground_fake}},
    {"iocp_prompt", {.ops = &port_iocp_ops, .no_strays = true, .ground = &ground_prompt_fake}},
    {"iocp_packets",
     {.ops = &port_iocp_ops,
      .no_strays = true,
      .guarded = true,
      .ground = &ground_fake,
      .features_off = PORT_NO_PACKET_SKIP}},
    {"iocp_plain",
     {.ops = &port_iocp_ops,
      .no_strays = true,
      .ground = &ground_prompt_fake,
      .features_off = PORT_NO_PACKET_SKIP | PORT_NO_POSTED_RECV}},
};
const unsigned columns_count = sizeof columns / sizeof columns[0];
