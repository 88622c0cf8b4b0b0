/* See epoll_bench.h. Everything belongs to the thread that opened the bench. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "port/linux_sock.h"
#include "port/support/epoll_bench.h"
#include "port/support/linux_tools.h"
#include "sallyport/error.h"

static void *bench_alloc(void *user, size_t bytes)
{
    struct bench *bench = user;
    return bench->no_buffers && bytes == BENCH_BUF_BYTES ? NULL : malloc(bytes);
}

static void bench_dealloc(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

void bench_open(struct bench *bench, uint32_t bufs_max)
{
    memset(bench, 0, sizeof *bench);
    mem_init(&bench->mem);
    bench->mem.alloc = bench_alloc;
    bench->mem.free = bench_dealloc;
    bench->mem.user = bench;
    assert_int_equal(slots_init(&bench->socks, &bench->mem, sizeof(struct port_sock),
                                BENCH_SOCKS_MAX, UINT32_MAX),
                     0);
    struct port_config config = {.mem = &bench->mem,
                                 .socks = &bench->socks,
                                 .buf_bytes = BENCH_BUF_BYTES,
                                 .bufs_max = bufs_max};
    assert_int_equal(port_create(&port_epoll_ops, &config, &bench->port), 0);
    assert_int_equal(port_own(bench->port), 0);
}

unsigned bench_take(struct bench *bench, unsigned max)
{
    assert_true(bench->count + max <= BENCH_EVENTS_MAX);
    struct port_event *events = &bench->events[bench->count];
    struct port_event behind;
    unsigned count = port_take(bench->port, events, max);
    if (bench->port->emptied) assert_int_equal(port_take(bench->port, &behind, 1), 0);
    for (unsigned i = 0; i < count; i++) {
        if (events[i].op == PORT_RECV && events[i].bytes && !bench->hold)
            port_buf_release(bench->port, events[i].buf, events[i].data);
    }
    bench->count += count;
    return count;
}

unsigned bench_turn(struct bench *bench, uint32_t timeout_ms)
{
    unsigned before = bench->count;
    assert_int_equal(port_wait(bench->port, timeout_ms), 0);
    while (bench_take(bench, 16)) {
    }
    return bench->count - before;
}

void bench_until(struct bench *bench, unsigned events)
{
    uint64_t end = os_clock_ns() + (uint64_t)TOOL_LIMIT_MS * 1000000;
    while (bench->count < events) {
        assert_true(os_clock_ns() < end);
        bench_turn(bench, 100);
    }
}

unsigned bench_returns(struct bench *bench)
{
    unsigned returns = 0;
    uint64_t end = os_clock_ns() + (uint64_t)BENCH_STRETCH_MS * 1000000;
    for (uint64_t now; (now = os_clock_ns()) < end; returns++)
        bench_turn(bench, (uint32_t)((end - now) / 1000000) + 1);
    return returns;
}

struct port_sock *bench_sock(struct bench *bench)
{
    struct port_sock *sock = slots_take(&bench->socks);
    assert_non_null(sock);
    return sock;
}

void bench_drop(struct bench *bench, struct port_sock *sock, enum port_close_mode mode)
{
    port_close(bench->port, sock, mode);
    bench->count = 0;
    bench_turn(bench, 0);
    for (unsigned i = 0; i < bench->count; i++) {
        if (bench->events[i].sock == sock && bench->events[i].op == PORT_CLOSE) {
            slots_give(&bench->socks, sock);
            bench->count = 0;
            return;
        }
    }
    fail_msg("no PORT_CLOSE came");
}

void bench_shut(struct bench *bench)
{
    assert_int_equal(slots_taken(&bench->socks), 0);
    assert_int_equal(bench->port->bufs_lent, 0);
    for (unsigned op = 0; op < PORT_OPS; op++) {
        const struct port_counters *counters = &bench->port->counters;
        assert_int_equal(counters->started[op],
                         counters->completed[op] + counters->cancelled[op] + counters->failed[op]);
    }
    port_destroy(bench->port);
    slots_free(&bench->socks);
    assert_int_equal(mem_in_use(&bench->mem), 0);
}

struct port_sock *bench_listener(struct bench *bench, int backlog, struct addr *at)
{
    struct address address = tool_address("127.0.0.1:0");
    struct port_listen_options options = {.backlog = backlog};
    port_handle handle;
    assert_int_equal(port_listen(bench->port, &address, &options, &handle, NULL), 0);
    assert_int_equal(port_local(bench->port, handle, at), 0);
    struct port_sock *sock = bench_sock(bench);
    port_attach(bench->port, sock, handle, NULL);
    return sock;
}

int bench_connection(int *peer)
{
    port_handle listener;
    assert_int_equal(tool_listen("127.0.0.1:0", NULL, &listener, NULL), 0);
    struct addr at = tool_local(listener);
    *peer = tool_connect(&at, true);
    assert_true(tool_wait((int)listener, POLLIN, TOOL_LIMIT_MS));
    int fd = accept4((int)listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    close((int)listener);
    return fd;
}

struct port_sock *bench_pair(struct bench *bench, int *peer)
{
    struct port_sock *sock = bench_sock(bench);
    port_attach(bench->port, sock, bench_connection(peer), NULL);
    return sock;
}

void bench_senders(struct bench *bench, struct port_sock **socks, int *peers, unsigned count,
                   const char *text, bool turns)
{
    for (unsigned i = 0; i < count; i++) {
        socks[i] = bench_pair(bench, &peers[i]);
        port_recv(bench->port, socks[i]);
        peer_send(peers[i], socks[i], text);
        if (turns) bench_turn(bench, 0);
    }
}

void bench_drop_pairs(struct bench *bench, struct port_sock **socks, const int *peers,
                      unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(peers[i]);
        bench_drop(bench, socks[i], PORT_CLOSE_FIN);
    }
}

void bench_fill(struct bench *bench, struct port_sock *sock)
{
    static char bytes[256 * 1024];
    struct span span = {bytes, sizeof bytes};
    int sys = 0;
    while (port_send_now(bench->port, sock, &span, 1, &sys) > 0) {
    }
    assert_int_equal(sys, 0);
    port_send(bench->port, sock, &span, 1);
}

void peer_send(int fd, const struct port_sock *to, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    assert_true(tool_wait((int)to->handle, POLLIN, TOOL_LIMIT_MS));
}

void peer_reset(int fd)
{
    linux_reset_on_close(fd);
    close(fd);
}
