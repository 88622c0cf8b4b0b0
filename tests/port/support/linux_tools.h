/* Small things that the tests of Linux' sockets share: addresses from text, waiting for a
 * descriptor, a limit on descriptors. They fail the test that calls them when they can't do their
 * job. */
#ifndef TESTS_PORT_SUPPORT_LINUX_TOOLS_H
#define TESTS_PORT_SUPPORT_LINUX_TOOLS_H

#include <stdbool.h>

#include "os/address.h"
#include "port/port.h"

enum { TOOL_LIMIT_MS = 20 * 1000 };

struct address tool_address(const char *text);
struct addr tool_local(port_handle handle);

/* linux_listen at what the text says. */
int tool_listen(const char *text, const struct port_listen_options *options, port_handle *handle,
                int *sys_error);

/* False when the time passed first; 0 only looks. */
bool tool_wait(int fd, short events, int timeout_ms);

/* A plain socket; its connect is done, or with `begin` only begun and the socket non-blocking. */
int tool_connect(const struct addr *addr, bool begin);

/* From here on no descriptor can be opened, until it is allowed again. */
void tool_descriptors_forbid(void);
void tool_descriptors_allow(void);

#endif
