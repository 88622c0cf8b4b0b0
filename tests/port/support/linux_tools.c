/* See linux_tools.h. The limit on descriptors is the process's: one test at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "port/linux_sock.h"
#include "port/support/linux_tools.h"

struct address tool_address(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(&address, text), 0);
    return address;
}

struct addr tool_local(port_handle handle)
{
    struct addr addr;
    assert_int_equal(linux_local(NULL, handle, &addr), 0);
    return addr;
}

int tool_listen(const char *text, const struct port_listen_options *options, port_handle *handle,
                int *sys_error)
{
    struct address address = tool_address(text);
    return linux_listen(NULL, &address, options, handle, sys_error);
}

bool tool_wait(int fd, short events, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

int tool_connect(const struct addr *addr, bool begin)
{
    union linux_sockaddr sockaddr;
    socklen_t len = linux_addr_to(addr, &sockaddr);
    int kind = SOCK_STREAM | SOCK_CLOEXEC | (begin ? SOCK_NONBLOCK : 0);
    int fd = socket(sockaddr.any.sa_family, kind, 0);
    assert_true(fd >= 0);
    assert_true(connect(fd, &sockaddr.any, len) == 0 || (begin && errno == EINPROGRESS));
    return fd;
}

static rlim_t allowed;

void tool_descriptors_forbid(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    allowed = limit.rlim_cur;
    int next = dup(0); /* the lowest free number: nothing from there on may be opened */
    assert_true(next >= 0);
    close(next);
    limit.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void tool_descriptors_allow(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = allowed;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
