/* Listening as uring and epoll share it: what each kind of address becomes, and that a failure
 * leaves nothing behind. Real sockets on the loopback interface. */
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
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/limits.h"
#include "port/linux_sock.h"
#include "port/support/linux_tools.h"
#include "sallyport/error.h"

static const struct port_listen_options plain = {0};

static char folder[64];

static int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/linux_sock_test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return rmdir(folder);
}

static struct address path_in_folder(const char *name)
{
    struct address address = {.kind = ADDRESS_PATH};
    snprintf(address.host, sizeof address.host, "%s/%s", folder, name);
    return address;
}

/* --- listening on IP --- */

static void listens_on_ipv4_with_a_port_of_the_systems(void **state)
{
    (void)state;
    port_handle handle;
    int sys = 7;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &handle, &sys), 0);
    assert_int_equal(sys, 0);
    struct addr addr = tool_local(handle);
    assert_int_equal(addr.family, ADDR_V4);
    assert_true(addr.port != 0);
    assert_true(fcntl((int)handle, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl((int)handle, F_GETFD) & FD_CLOEXEC);
    linux_refuse(NULL, handle, PORT_CLOSE_FIN);
}

static void listens_on_every_address_of_both_families(void **state)
{
    (void)state;
    port_handle handle;
    assert_int_equal(tool_listen("*:0", &plain, &handle, NULL), 0);
    struct addr bound = tool_local(handle);
    struct addr v4 = {.family = ADDR_V4, .port = bound.port, .ip = {127, 0, 0, 1}};
    int client = tool_connect(&v4, false);
    assert_true(tool_wait((int)handle, POLLIN, TOOL_LIMIT_MS));
    union linux_sockaddr sockaddr;
    socklen_t len = sizeof sockaddr;
    int accepted = accept((int)handle, &sockaddr.any, &len);
    assert_true(accepted >= 0);
    struct addr peer;
    linux_addr_from(&peer, &sockaddr.any, len);
    assert_int_equal(peer.family, ADDR_V4); /* also where the socket says ::ffff:127.0.0.1 */
    struct addr client_at = tool_local(client);
    assert_true(addr_equal(&peer, &client_at));
    close(accepted);
    close(client);
    if (bound.family == ADDR_V6) { /* else this machine has no IPv6 */
        struct addr v6 = {.family = ADDR_V6, .port = bound.port, .ip = {[15] = 1}};
        close(tool_connect(&v6, false));
    }
    close((int)handle);
}

/* Also to the one who came before anybody accepted: what tcp(7) says of TCP_NODELAY holds for all
 * that port_sock_options has. */
static void accepted_connections_have_the_options_of_the_listener(void **state)
{
    (void)state;
    struct port_sock_options wanted = {.keepalive_s = 77,
                                       .user_timeout_ms = 12345,
                                       .send_buf_bytes = 20000,
                                       .recv_buf_bytes = 30000};
    struct port_listen_options options = {.accepted = &wanted};
    static const struct {
        int level, name, value;
    } expected[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},      {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 77},    {IPPROTO_TCP, TCP_USER_TIMEOUT, 12345},
        {SOL_SOCKET, SO_SNDBUF, 2 * 20000}, {SOL_SOCKET, SO_RCVBUF, 2 * 30000},
    };
    for (int any = 0; any < 2; any++) {
        port_handle handle;
        assert_int_equal(tool_listen(any ? "*:0" : "127.0.0.1:0", &options, &handle, NULL), 0);
        struct addr v4 = {.family = ADDR_V4, .port = tool_local(handle).port, .ip = {127, 0, 0, 1}};
        int client = tool_connect(&v4, false);
        assert_true(tool_wait((int)handle, POLLIN, TOOL_LIMIT_MS));
        int accepted = accept((int)handle, NULL, NULL);
        assert_true(accepted >= 0);
        for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
            int value = -1;
            socklen_t len = sizeof value;
            assert_int_equal(
                getsockopt(accepted, expected[i].level, expected[i].name, &value, &len), 0);
            assert_int_equal(value, expected[i].value);
        }
        close(accepted);
        close(client);
        close((int)handle);
    }
}

static void v6_only_leaves_ipv4_to_others(void **state)
{
    (void)state;
    struct port_listen_options only = {.v6_only = true};
    port_handle v6, v4;
    int err = SALLY_EADDRINUSE;
    /* another program may have the port of the system's choice with IPv4 */
    for (int tries = 0; tries < 20 && err == SALLY_EADDRINUSE; tries++) {
        err = tool_listen("[::]:0", &only, &v6, NULL);
        if (err == SALLY_ENOTSUP || err == SALLY_EADDRNOTAVAIL) skip(); /* no IPv6 here */
        assert_int_equal(err, 0);
        struct address same = tool_address("0.0.0.0:0");
        same.ip.port = tool_local(v6).port;
        err = linux_listen(NULL, &same, &plain, &v4, NULL);
        close((int)v6);
    }
    assert_int_equal(err, 0);
    close((int)v4);
}

static void port_in_use_is_told_and_leaves_no_descriptor(void **state)
{
    (void)state;
    port_handle first, second = 5;
    int sys = 0;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &first, NULL), 0);
    struct address same = tool_address("127.0.0.1:0");
    same.ip.port = tool_local(first).port;
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_listen(NULL, &same, &plain, &second, &sys), SALLY_EADDRINUSE);
    assert_int_equal(sys, EADDRINUSE);
    assert_true(second == PORT_NO_HANDLE);
    assert_int_equal(os_descriptors_open(), open);
    close((int)first);
}

static void shared_port_is_listened_on_twice(void **state)
{
    (void)state;
    struct port_listen_options share = {.share_port = true};
    port_handle first, second;
    assert_int_equal(tool_listen("127.0.0.1:0", &share, &first, NULL), 0);
    struct address same = tool_address("127.0.0.1:0");
    same.ip.port = tool_local(first).port;
    assert_int_equal(linux_listen(NULL, &same, &share, &second, NULL), 0);
    close((int)first);
    close((int)second);
}

static void address_of_another_machine_and_names_are_refused(void **state)
{
    (void)state;
    port_handle handle;
    int sys = 0;
    uint32_t open = os_descriptors_open();
    assert_int_equal(tool_listen("192.0.2.1:0", &plain, &handle, &sys), SALLY_EADDRNOTAVAIL);
    assert_int_equal(sys, EADDRNOTAVAIL);
    assert_int_equal(tool_listen("localhost:0", &plain, &handle, &sys), SALLY_EINVAL);
    struct address none = {.kind = ADDRESS_IP};
    assert_int_equal(linux_listen(NULL, &none, &plain, &handle, &sys), SALLY_EINVAL);
    assert_int_equal(os_descriptors_open(), open);
}

static void backlog_of_zero_is_the_systems_maximum(void **state)
{
    (void)state;
    enum { CLIENTS = 200 }; /* more than the 128 that the C library calls the maximum */
    int clients[CLIENTS];
    port_handle handle;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &handle, NULL), 0);
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "r");
    int most = 0;
    if (!file || fscanf(file, "%d", &most) != 1 || most < CLIENTS) {
        if (file) fclose(file);
        close((int)handle);
        skip();
    }
    fclose(file);
    struct addr at = tool_local(handle);
    for (int i = 0; i < CLIENTS; i++) clients[i] = tool_connect(&at, false);
    int taken = 0;
    for (int fd; (fd = accept((int)handle, NULL, NULL)) >= 0; taken++) close(fd);
    assert_int_equal(taken, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) close(clients[i]);
    close((int)handle);
}

/* --- listening on a path --- */

static mode_t mode_of(const char *path)
{
    struct stat about;
    assert_int_equal(lstat(path, &about), 0);
    return about.st_mode & 07777;
}

static void unix_socket_has_the_permissions_asked_for_whatever_the_umask(void **state)
{
    (void)state;
    struct address path = path_in_folder("mode");
    struct port_listen_options wide = {.unix_mode = 0666};
    port_handle handle;
    mode_t before = umask(0);
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), 0);
    assert_int_equal(mode_of(path.host), 0600);
    close((int)handle);
    umask(0777);
    assert_int_equal(linux_listen(NULL, &path, &wide, &handle, NULL), 0);
    umask(before);
    assert_int_equal(mode_of(path.host), 0666);
    struct addr addr = tool_local(handle);
    assert_int_equal(addr.family, ADDR_UNIX);
    close((int)handle);
    unlink(path.host);
}

static void dead_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    struct address path = path_in_folder("dead");
    port_handle dead, live, refused;
    int sys = 0;
    assert_int_equal(linux_listen(NULL, &path, &plain, &dead, NULL), 0);
    close((int)dead); /* its file stays */
    assert_int_equal(linux_listen(NULL, &path, &plain, &live, NULL), 0);
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_listen(NULL, &path, &plain, &refused, &sys), SALLY_EADDRINUSE);
    assert_int_equal(sys, EADDRINUSE);
    assert_int_equal(os_descriptors_open(), open);
    assert_int_equal(access(path.host, F_OK), 0);
    close((int)live);
    unlink(path.host);
}

/* --- two at once --- */

enum { STARTERS = 2, STARTS = 600, BARRIER_TRIES = 20000000 };

struct starters {
    atomic_uint arrived;
    atomic_int results[STARTERS];
    atomic_uint failed;
};

/* All of them, within a moment; false when one of them is missing. */
static bool starters_meet(struct starters *starters, unsigned *meetings)
{
    unsigned want = ++*meetings * STARTERS;
    atomic_fetch_add(&starters->arrived, 1);
    for (int i = 0; i < BARRIER_TRIES && atomic_load(&starters->arrived) < want; i++)
        if (i % 100 == 99) sched_yield();
    return atomic_load(&starters->arrived) >= want;
}

/* A starter's part: the same path again and again, on which a dead server's file lies. */
static bool starter_run(struct starters *starters, unsigned self, const struct address *path)
{
    unsigned meetings = 0;
    for (unsigned round = 0; round < STARTS; round++) {
        port_handle handle = -1;
        if (self == 0) {
            if (linux_listen(NULL, path, &plain, &handle, NULL) != 0) return false;
            close((int)handle);
        }
        if (!starters_meet(starters, &meetings)) return false;
        int err = linux_listen(NULL, path, &plain, &handle, NULL);
        atomic_store(&starters->results[self], err);
        if (!starters_meet(starters, &meetings)) return false;
        /* one has it, it is reached there, and the other was told so */
        int other = atomic_load(&starters->results[1 - self]);
        union linux_sockaddr sockaddr;
        socklen_t len;
        int fd = linux_connect_socket(path, NULL, NULL, &sockaddr, &len, NULL);
        bool reached = connect(fd, &sockaddr.any, len) == 0;
        bool good =
            reached && (err == 0) != (other == 0) && (err ? err : other) == SALLY_EADDRINUSE;
        close(fd);
        if (!starters_meet(starters, &meetings)) return false;
        if (!err) close((int)handle);
        if (!err) unlink(path->host);
        if (!starters_meet(starters, &meetings)) return false;
        if (!good) atomic_fetch_add(&starters->failed, 1);
    }
    return true;
}

static void of_two_that_start_on_a_dead_path_one_has_it(void **state)
{
    (void)state;
    struct address path = path_in_folder("both");
    struct starters *starters =
        mmap(NULL, sizeof *starters, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(starters, MAP_FAILED);
    uint32_t open = os_descriptors_open();
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(starter_run(starters, 1, &path) ? 0 : 1);
    bool met = starter_run(starters, 0, &path);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(met && status == 0);
    assert_int_equal(atomic_load(&starters->failed), 0);
    assert_int_equal(os_descriptors_open(), open);
    munmap(starters, sizeof *starters);
}

/* Who holds the folder's lock for good holds nobody up for good, and nothing is left open. */
static void a_folder_that_stays_locked_is_told_as_in_use(void **state)
{
    (void)state;
    struct address path = path_in_folder("locked");
    port_handle handle = -1;
    int sys = 0;
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, &sys), SALLY_EADDRINUSE);
    assert_int_equal(sys, EADDRINUSE);
    assert_int_equal(os_descriptors_open(), open);
    assert_int_not_equal(access(path.host, F_OK), 0);
    close(lock);
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, &sys), 0);
    close((int)handle);
    unlink(path.host);
}

/* A folder that may be written and not read has no lock, and serves all the same. */
static void a_folder_that_can_not_be_read_serves(void **state)
{
    (void)state;
    struct address path = path_in_folder("blind");
    port_handle handle = -1;
    assert_int_equal(chmod(folder, 0300), 0);
    int err = linux_listen(NULL, &path, &plain, &handle, NULL);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_int_equal(err, 0);
    close((int)handle);
    unlink(path.host);
}

static void live_unix_socket_with_a_full_queue_is_not_taken_for_dead(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    struct address path = path_in_folder("full");
    struct port_listen_options one = {.backlog = 1};
    port_handle live, refused;
    int clients[CLIENTS], full = 0;
    assert_int_equal(linux_listen(NULL, &path, &one, &live, NULL), 0);
    for (int i = 0; i < CLIENTS; i++) {
        union linux_sockaddr sockaddr;
        socklen_t len = 0;
        clients[i] = linux_connect_socket(&path, NULL, NULL, &sockaddr, &len, NULL);
        assert_true(clients[i] >= 0);
        if (connect(clients[i], &sockaddr.any, len) != 0 && errno == EAGAIN) full++;
    }
    assert_true(full > 0);
    assert_int_equal(linux_listen(NULL, &path, &plain, &refused, NULL), SALLY_EADDRINUSE);
    assert_int_equal(access(path.host, F_OK), 0);
    for (int i = 0; i < CLIENTS; i++) close(clients[i]);
    close((int)live);
    unlink(path.host);
}

static void what_is_not_a_socket_is_never_removed(void **state)
{
    (void)state;
    struct address file = path_in_folder("file"), link = path_in_folder("link");
    struct address dead = path_in_folder("target");
    port_handle handle;
    int fd = open(file.host, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(linux_listen(NULL, &file, &plain, &handle, NULL), SALLY_EADDRINUSE);
    assert_int_equal(access(file.host, F_OK), 0);
    /* a link to a dead socket is a link */
    assert_int_equal(linux_listen(NULL, &dead, &plain, &handle, NULL), 0);
    close((int)handle);
    assert_int_equal(symlink(dead.host, link.host), 0);
    assert_int_equal(linux_listen(NULL, &link, &plain, &handle, NULL), SALLY_EADDRINUSE);
    assert_int_equal(access(link.host, F_OK), 0);
    unlink(link.host);
    unlink(dead.host);
    unlink(file.host);
}

static void path_too_long_or_empty_is_an_error_of_the_address(void **state)
{
    (void)state;
    struct address path = {.kind = ADDRESS_PATH};
    port_handle handle;
    union linux_sockaddr sockaddr;
    socklen_t len;
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), SALLY_EADDRESS);
    memset(path.host, 'a', sizeof path.host); /* not even terminated */
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), SALLY_EADDRESS);
    assert_int_equal(linux_connect_socket(&path, NULL, NULL, &sockaddr, &len, NULL),
                     SALLY_EADDRESS);
    path.host[ADDRESS_PATH_MAX] = 0; /* one too many: no room for the end */
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), SALLY_EADDRESS);
    snprintf(path.host, sizeof path.host, "@");
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), SALLY_EADDRESS);
    assert_int_equal(os_descriptors_open(), open);
}

static void longest_path_is_taken(void **state)
{
    (void)state;
    struct address path = path_in_folder("");
    size_t len = strlen(path.host);
    memset(path.host + len, 'x', ADDRESS_PATH_MAX - 1 - len);
    port_handle handle;
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, NULL), 0);
    assert_int_equal(access(path.host, F_OK), 0);
    close((int)handle);
    unlink(path.host);
}

static void missing_folder_is_told_with_the_systems_code(void **state)
{
    (void)state;
    struct address path = path_in_folder("none/here");
    port_handle handle;
    int sys = 0;
    uint32_t open = os_descriptors_open();
    assert_int_equal(linux_listen(NULL, &path, &plain, &handle, &sys), SALLY_EADDRNOTAVAIL);
    assert_int_equal(sys, ENOENT);
    assert_int_equal(os_descriptors_open(), open);
}

static void abstract_name_has_no_file_and_is_free_at_once(void **state)
{
    (void)state;
    struct address name = {.kind = ADDRESS_PATH};
    snprintf(name.host, sizeof name.host, "@linux_sock_test/%ld", (long)getpid());
    for (int i = 0; i < 2; i++) {
        port_handle handle, again;
        assert_int_equal(linux_listen(NULL, &name, &plain, &handle, NULL), 0);
        assert_int_equal(linux_listen(NULL, &name, &plain, &again, NULL), SALLY_EADDRINUSE);
        union linux_sockaddr sockaddr;
        socklen_t len;
        int client = linux_connect_socket(&name, NULL, NULL, &sockaddr, &len, NULL);
        assert_int_equal(connect(client, &sockaddr.any, len), 0);
        assert_int_equal(linux_self_connected(client), 0);
        close(client);
        close((int)handle);
    }
}

/* --- a descriptor that was given --- */

static void given_listener_becomes_non_blocking_and_closes_on_exec(void **state)
{
    (void)state;
    struct address given = {.kind = ADDRESS_FD};
    port_handle listener, handle;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &listener, NULL), 0);
    fcntl((int)listener, F_SETFL, 0);
    fcntl((int)listener, F_SETFD, 0);
    given.fd = listener;
    assert_int_equal(linux_listen(NULL, &given, &plain, &handle, NULL), 0);
    assert_true(handle == listener);
    assert_true(fcntl((int)handle, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl((int)handle, F_GETFD) & FD_CLOEXEC);
    close((int)handle);
}

static void given_descriptor_that_does_not_listen_is_refused_and_stays_open(void **state)
{
    (void)state;
    int fds[] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_DGRAM, 0),
                 open("/dev/null", O_RDONLY | O_CLOEXEC)};
    for (unsigned i = 0; i < 3; i++) {
        struct address given = {.kind = ADDRESS_FD, .fd = fds[i]};
        port_handle handle;
        assert_true(fds[i] >= 0);
        assert_int_equal(linux_listen(NULL, &given, &plain, &handle, NULL), SALLY_EINVAL);
        assert_int_equal(close(fds[i]), 0);
    }
}

static void given_number_without_a_descriptor_is_refused(void **state)
{
    (void)state;
    static const int64_t numbers[] = {-1, INT64_MIN, (int64_t)INT_MAX + 1, INT_MAX};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct address given = {.kind = ADDRESS_FD, .fd = numbers[i]};
        port_handle handle;
        assert_int_equal(linux_listen(NULL, &given, &plain, &handle, NULL), SALLY_EINVAL);
    }
}

static void pending_says_whether_somebody_waits(void **state)
{
    (void)state;
    port_handle listener;
    assert_int_equal(tool_listen("127.0.0.1:0", &plain, &listener, NULL), 0);
    assert_false(linux_pending(NULL, listener));
    struct addr at = tool_local(listener);
    int client = tool_connect(&at, false);
    assert_true(tool_wait((int)listener, POLLIN, TOOL_LIMIT_MS));
    assert_true(linux_pending(NULL, listener));
    close(client);
    close((int)listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listens_on_ipv4_with_a_port_of_the_systems),
        cmocka_unit_test(listens_on_every_address_of_both_families),
        cmocka_unit_test(accepted_connections_have_the_options_of_the_listener),
        cmocka_unit_test(v6_only_leaves_ipv4_to_others),
        cmocka_unit_test(port_in_use_is_told_and_leaves_no_descriptor),
        cmocka_unit_test(shared_port_is_listened_on_twice),
        cmocka_unit_test(address_of_another_machine_and_names_are_refused),
        cmocka_unit_test(backlog_of_zero_is_the_systems_maximum),
        cmocka_unit_test(unix_socket_has_the_permissions_asked_for_whatever_the_umask),
        cmocka_unit_test(dead_unix_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(a_folder_that_stays_locked_is_told_as_in_use),
        cmocka_unit_test(a_folder_that_can_not_be_read_serves),
        cmocka_unit_test(of_two_that_start_on_a_dead_path_one_has_it),
        cmocka_unit_test(live_unix_socket_with_a_full_queue_is_not_taken_for_dead),
        cmocka_unit_test(what_is_not_a_socket_is_never_removed),
        cmocka_unit_test(path_too_long_or_empty_is_an_error_of_the_address),
        cmocka_unit_test(longest_path_is_taken),
        cmocka_unit_test(missing_folder_is_told_with_the_systems_code),
        cmocka_unit_test(abstract_name_has_no_file_and_is_free_at_once),
        cmocka_unit_test(given_listener_becomes_non_blocking_and_closes_on_exec),
        cmocka_unit_test(given_descriptor_that_does_not_listen_is_refused_and_stays_open),
        cmocka_unit_test(given_number_without_a_descriptor_is_refused),
        cmocka_unit_test(pending_says_whether_somebody_waits),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
