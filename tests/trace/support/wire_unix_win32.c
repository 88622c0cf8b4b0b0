/* Unix sockets, of which Wine has none; see world.h. */
#include "trace/support/world.h"

int wire_unix_connect(const char *path)
{
    (void)path;
    return -1;
}
