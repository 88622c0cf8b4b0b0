/* Sockets as uring and epoll share them: options, addresses, the making of one that will connect,
 * and that a failure leaves nothing behind. Real sockets on the loopback interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "os/limits.h"
#include "port/linux_sock.h"
#include "port/support/linux_tools.h"
#include "sallyport/error.h"

static const struct port_listen_options plain = {0};

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* Both ends of a connection on the loopback interface. */
static void make_pair(int *ours, int *theirs)
{
    port_handle listener;
    int sys = 0;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &listener, &sys), 0);
    struct addr at = tool_local(listener);
    *theirs = tool_connect(&at, false);
    assert_true(tool_wait((int)listener, POLLIN, TOOL_LIMIT_MS));
    *ours = accept((int)listener, NULL, NULL);
    assert_true(*ours >= 0);
    close((int)listener);
}

/* --- options --- */

static void options_reach_a_tcp_socket(void **state)
{
    (void)state;
    struct port_sock_options options = {.keepalive_s = 60,
                                        .user_timeout_ms = 5000,
                                        .send_buf_bytes = 32768,
                                        .recv_buf_bytes = 16384};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    linux_set_options(fd, &options);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 2 * 32768); /* the kernel doubles */
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), 2 * 16384);
    close(fd);
}

static void delay_and_no_options_leave_the_socket_as_it_is(void **state)
{
    (void)state;
    struct port_sock_options delay = {.delay = true};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    linux_set_options(fd, NULL);
    linux_set_options(fd, &delay);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    close(fd);
}

static void options_past_the_kernels_range_are_cut_down_to_it(void **state)
{
    (void)state;
    struct port_sock_options most = {.keepalive_s = UINT32_MAX,
                                     .user_timeout_ms = UINT32_MAX,
                                     .send_buf_bytes = UINT32_MAX,
                                     .recv_buf_bytes = UINT32_MAX};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int send_before = option_of(fd, SOL_SOCKET, SO_SNDBUF);
    linux_set_options(fd, &most);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 32767);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), INT_MAX);
    assert_true(option_of(fd, SOL_SOCKET, SO_SNDBUF) > send_before);
    close(fd);
}

static void options_do_no_harm_to_a_unix_socket(void **state)
{
    (void)state;
    struct port_sock_options options = {
        .keepalive_s = 60, .user_timeout_ms = 5000, .recv_buf_bytes = 16384};
    int fds[2];
    char byte = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    linux_set_options(fds[0], &options);
    assert_int_equal(option_of(fds[0], SOL_SOCKET, SO_RCVBUF), 2 * 16384);
    assert_int_equal(send(fds[0], "x", 1, 0), 1);
    assert_int_equal(recv(fds[1], &byte, 1, 0), 1);
    close(fds[0]);
    close(fds[1]);
}

/* --- addresses --- */

static void addresses_go_to_the_system_and_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"1.2.3.4:80", "255.255.255.255:65535", "[::1]:1",
                                        "[2001:db8::7]:443"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct address address = tool_address(texts[i]);
        union linux_sockaddr sockaddr;
        struct addr back;
        socklen_t len = linux_addr_to(&address.ip, &sockaddr);
        assert_true(len > 0);
        linux_addr_from(&back, &sockaddr.any, len);
        assert_memory_equal(&back, &address.ip, sizeof back); /* no byte left to chance */
    }
}

static void foreign_and_cut_off_addresses_are_none(void **state)
{
    (void)state;
    union linux_sockaddr sockaddr = {.any.sa_family = AF_INET};
    struct addr addr;
    memset(&addr, 0xff, sizeof addr);
    linux_addr_from(&addr, &sockaddr.any, sizeof(struct sockaddr_in) - 1);
    assert_int_equal(addr.family, ADDR_NONE);
    sockaddr.any.sa_family = AF_INET6;
    linux_addr_from(&addr, &sockaddr.any, sizeof(struct sockaddr_in));
    assert_int_equal(addr.family, ADDR_NONE);
    sockaddr.any.sa_family = AF_PACKET;
    linux_addr_from(&addr, &sockaddr.any, sizeof sockaddr);
    assert_int_equal(addr.family, ADDR_NONE);
    linux_addr_from(&addr, &sockaddr.any, 0);
    assert_int_equal(addr.family, ADDR_NONE);
    assert_int_equal(linux_addr_to(&addr, &sockaddr), 0);
}

static void peer_that_reset_is_told_as_gone(void **state)
{
    (void)state;
    int ours, theirs;
    struct addr peer;
    make_pair(&ours, &theirs);
    assert_int_equal(linux_peer(NULL, ours, &peer), 0);
    struct addr theirs_at = tool_local(theirs);
    assert_true(addr_equal(&peer, &theirs_at));
    linux_refuse(NULL, theirs, PORT_CLOSE_RST);
    assert_true(tool_wait(ours, POLLIN, TOOL_LIMIT_MS));
    assert_int_equal(linux_peer(NULL, ours, &peer), SALLY_ENOCONN);
    assert_int_equal(peer.family, ADDR_NONE);
    close(ours);
}

/* --- closing and connecting --- */

static void refusing_with_fin_ends_the_stream_and_with_rst_resets_it(void **state)
{
    (void)state;
    int ours, theirs;
    char byte;
    make_pair(&ours, &theirs);
    linux_refuse(NULL, ours, PORT_CLOSE_FIN);
    assert_true(tool_wait(theirs, POLLIN, TOOL_LIMIT_MS));
    assert_int_equal(recv(theirs, &byte, 1, 0), 0);
    close(theirs);
    make_pair(&ours, &theirs);
    linux_refuse(NULL, ours, PORT_CLOSE_RST);
    assert_true(tool_wait(theirs, POLLIN, TOOL_LIMIT_MS));
    assert_int_equal(recv(theirs, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(theirs);
}

static void connecting_socket_is_bound_to_the_address_asked_for(void **state)
{
    (void)state;
    port_handle listener;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &listener, NULL), 0);
    struct address to = {.kind = ADDRESS_IP, .ip = tool_local(listener)};
    struct address from = tool_address("127.0.0.9:0");
    union linux_sockaddr sockaddr;
    socklen_t len;
    int fd = linux_connect_socket(&to, &from.ip, NULL, &sockaddr, &len, NULL);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    /* no port before the target is known */
    assert_int_equal(tool_local(fd).port, 0);
    (void)connect(fd, &sockaddr.any, len);
    assert_true(tool_wait(fd, POLLOUT, TOOL_LIMIT_MS));
    struct addr bound = tool_local(fd);
    assert_true(bound.port != 0);
    assert_memory_equal(bound.ip, from.ip.ip, 4);
    assert_int_equal(linux_self_connected(fd), 0);
    close(fd);
    close((int)listener);
}

static void connecting_socket_that_cannot_be_made_leaves_no_descriptor(void **state)
{
    (void)state;
    struct address to = tool_address("127.0.0.1:9"), name = tool_address("localhost:9"), to_path;
    struct address v6 = tool_address("[::1]:0"), foreign = tool_address("192.0.2.1:0");
    to_path = (struct address){.kind = ADDRESS_PATH, .host = "/tmp/x"};
    union linux_sockaddr sockaddr;
    socklen_t len;
    int sys = 0;
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_connect_socket(&to, &v6.ip, NULL, &sockaddr, &len, &sys), SALLY_EINVAL);
    assert_int_equal(linux_connect_socket(&to_path, &v6.ip, NULL, &sockaddr, &len, &sys),
                     SALLY_EINVAL);
    assert_int_equal(linux_connect_socket(&name, NULL, NULL, &sockaddr, &len, &sys), SALLY_EINVAL);
    assert_int_equal(sys, 0);
    assert_int_equal(linux_connect_socket(&to, &foreign.ip, NULL, &sockaddr, &len, &sys),
                     SALLY_EADDRNOTAVAIL);
    assert_int_equal(sys, EADDRNOTAVAIL);
    assert_int_equal(os_descriptors_open(), open);
}

static void socket_connected_to_itself_is_found_out(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    union linux_sockaddr sockaddr;
    struct addr at = {.family = ADDR_V4, .ip = {127, 0, 0, 1}};
    socklen_t len = linux_addr_to(&at, &sockaddr);
    assert_int_equal(bind(fd, &sockaddr.any, len), 0);
    at = tool_local(fd);
    len = linux_addr_to(&at, &sockaddr);
    assert_int_equal(connect(fd, &sockaddr.any, len), 0);
    assert_int_equal(linux_self_connected(fd), SALLY_EADDRNOTAVAIL);
    close(fd);
}

static void probe_says_whether_there_are_descriptors(void **state)
{
    (void)state;
    int sys = 0;
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_probe(NULL, &sys), 0);
    assert_int_equal(os_descriptors_open(), open);
    tool_descriptors_forbid();
    int err = linux_probe(NULL, &sys);
    tool_descriptors_allow();
    assert_int_equal(err, SALLY_EEXHAUSTED);
    assert_int_equal(sys, EMFILE);
    assert_int_equal(linux_probe(NULL, &sys), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_reach_a_tcp_socket),
        cmocka_unit_test(delay_and_no_options_leave_the_socket_as_it_is),
        cmocka_unit_test(options_past_the_kernels_range_are_cut_down_to_it),
        cmocka_unit_test(options_do_no_harm_to_a_unix_socket),
        cmocka_unit_test(addresses_go_to_the_system_and_back),
        cmocka_unit_test(foreign_and_cut_off_addresses_are_none),
        cmocka_unit_test(peer_that_reset_is_told_as_gone),
        cmocka_unit_test(refusing_with_fin_ends_the_stream_and_with_rst_resets_it),
        cmocka_unit_test(connecting_socket_is_bound_to_the_address_asked_for),
        cmocka_unit_test(connecting_socket_that_cannot_be_made_leaves_no_descriptor),
        cmocka_unit_test(socket_connected_to_itself_is_found_out),
        cmocka_unit_test(probe_says_whether_there_are_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
