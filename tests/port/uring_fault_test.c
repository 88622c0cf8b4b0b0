/* What the system may do to the uring port: refuse it, have nothing left for it, fail its calls,
 * end its requests early. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/address.h"
#include "port/support/uring_rig.h"
#include "sallyport/error.h"

static struct rig rig;

/* --- refused --- */

/* The process's calls of `number` fail with `err` from now on. */
static bool forbid(unsigned number, unsigned err)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof rules / sizeof *rules, .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* 0, or the number of what was wrong. */
static int create_forbidden(unsigned number, unsigned err, const char *call, const char *name)
{
    static struct mem mem;
    static struct slots slots;
    struct port *port = NULL;
    mem_init(&mem);
    if (slots_init(&slots, &mem, sizeof(struct port_sock), 4, UINT32_MAX) != 0) return 2;
    size_t before = mem_in_use(&mem);
    struct port_config config = {.mem = &mem, .socks = &slots};
    if (!forbid(number, err)) return 3;
    if (port_create(&port_uring_ops, &config, &port) != SALLY_ENOPORT) return 4;
    if (!strstr(uring_refusal(), call) || !strstr(uring_refusal(), name)) return 5;
    return mem_in_use(&mem) == before ? 0 : 6;
}

static int in_child(int (*body)(void *arg), void *arg)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(body(arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

struct refusal {
    unsigned call;
    unsigned err;
    const char *call_name;
    const char *err_name;
};

static int refused(void *arg)
{
    const struct refusal *refusal = arg;
    return create_forbidden(refusal->call, refusal->err, refusal->call_name, refusal->err_name);
}

/* The first test of the program: afterwards a trial's result is known and none is made. */
static void test_a_refused_ring_is_no_port_and_says_why(void **state)
{
    (void)state;
    struct refusal refusals[] = {
        {SYS_io_uring_setup, EPERM, "io_uring_setup", "EPERM"},
        {SYS_io_uring_setup, ENOSYS, "io_uring_setup", "ENOSYS"},
        {SYS_io_uring_setup, ENOMEM, "io_uring_setup", "ENOMEM"},
        {SYS_io_uring_register, EPERM, "io_uring_register", "probe"},
    };
    for (unsigned i = 0; i < sizeof refusals / sizeof *refusals; i++)
        assert_int_equal(in_child(refused, &refusals[i]), 0);
    rig_open(&rig, 0, 0, 0, 0, 0); /* here it isn't */
    assert_string_equal(uring_refusal(), "");
    rig_close(&rig);
    for (unsigned i = 0; i < sizeof refusals / sizeof *refusals; i++)
        assert_int_equal(in_child(refused, &refusals[i]), 0);
}

/* --- features chosen --- */

static uint32_t sound; /* the trial is passed with these off */
static unsigned trials;

static int trial_needs(struct mem *mem, uint32_t off)
{
    (void)mem;
    trials++;
    return (off & sound) == sound ? 0 : -1;
}

static int trial_impossible(struct mem *mem, uint32_t off)
{
    (void)mem;
    (void)off;
    return 1;
}

static int trial_hopeless(struct mem *mem, uint32_t off)
{
    (void)mem;
    (void)off;
    return SALLY_ENOPORT;
}

static void test_a_feature_that_fails_its_trial_is_switched_off(void **state)
{
    (void)state;
    uint32_t off = 0;
    sound = 0;
    assert_int_equal(uring_choose(NULL, 0, trial_needs, &off), 0);
    assert_int_equal(off, 0);
    sound = PORT_NO_BUNDLES;
    assert_int_equal(uring_choose(NULL, 0, trial_needs, &off), 0);
    assert_int_equal(off, PORT_NO_BUNDLES | PORT_NO_RATION);
    sound = PORT_NO_RATION;
    assert_int_equal(uring_choose(NULL, 0, trial_needs, &off), 0);
    assert_int_equal(off, PORT_NO_RATION);
    sound = PORT_NO_MULTISHOT_ACCEPT;
    assert_int_equal(uring_choose(NULL, 0, trial_needs, &off), 0);
    assert_true(off & PORT_NO_MULTISHOT_ACCEPT);
    sound = PORT_NO_BUF_RING | PORT_NO_SINGLE_ISSUER;
    assert_int_equal(uring_choose(NULL, PORT_NO_RING_FD, trial_needs, &off), 0);
    assert_true((off & sound) == sound && off & PORT_NO_RING_FD && off & PORT_NO_DEFER_TASKRUN);
    assert_true(uring_choose(NULL, 0, trial_impossible, &off) > 0);
    assert_int_equal(off, 0);
    assert_int_equal(uring_choose(NULL, 0, trial_hopeless, &off), SALLY_ENOPORT);
}

static void test_this_kernel_passes_the_trial(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem);
    for (unsigned bit = 0; bit < 7; bit++) assert_int_equal(uring_trial(&mem, 1u << bit), 0);
    assert_int_equal(uring_trial(&mem, 0), 0);
    assert_int_equal(mem_in_use(&mem), 0);
}

/* --- nothing left to create with --- */

static unsigned allocs_left;

static void *failing_alloc(void *user, size_t bytes)
{
    (void)user;
    return allocs_left-- ? malloc(bytes) : NULL;
}

static void plain_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

static void test_creating_without_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct mem mem, own;
    struct slots slots;
    struct port *port = NULL;
    int err = SALLY_ENOMEM;
    rig_open(&rig, 0, 0, 0, 0, 0); /* the trial was made */
    rig_close(&rig);
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct port_sock), 4, UINT32_MAX), 0);
    for (unsigned n = 0; err == SALLY_ENOMEM; n++) {
        assert_true(n < 20);
        mem_init(&own);
        own.alloc = failing_alloc;
        own.free = plain_free;
        allocs_left = n;
        struct port_config config = {.mem = &own, .socks = &slots};
        err = port_create(&port_uring_ops, &config, &port);
        if (err) assert_int_equal(mem_in_use(&own), 0);
    }
    assert_int_equal(err, 0);
    port_destroy(port); /* never owned */
    assert_int_equal(mem_in_use(&own), 0);
    slots_free(&slots);
}

static void test_creating_without_descriptors_is_exhausted(void **state)
{
    (void)state;
    struct mem mem;
    struct slots slots;
    struct port *port = NULL;
    struct rlimit before, none;
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct port_sock), 4, UINT32_MAX), 0);
    size_t in_use = mem_in_use(&mem);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int first = dup(0);
    assert_true(first >= 0);
    close(first);
    for (int more = 0; more < 2; more++) { /* no ring; a ring and no eventfd */
        none = before;
        none.rlim_cur = (rlim_t)(first + more);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        struct port_config config = {.mem = &mem, .socks = &slots};
        int err = port_create(&port_uring_ops, &config, &port);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(err, SALLY_EEXHAUSTED);
        assert_int_equal(mem_in_use(&mem), in_use);
    }
    slots_free(&slots);
}

/* --- calls that fail --- */

static unsigned calls;

static int enter_failing(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                         size_t bytes)
{
    static const int errors[] = {-EAGAIN, -EBUSY, -EINTR};
    unsigned call = calls++;
    if (call % 7 < 3) return errors[call % 3];
    /* and now and then it takes one entry of many */
    if (call % 7 == 5 && submit > 1)
        return uring_enter_kernel(fd, 1, 0, flags & ~(unsigned)IORING_ENTER_EXT_ARG, NULL, 0);
    return uring_enter_kernel(fd, submit, wait, flags, arg, bytes);
}

static void test_failing_calls_lose_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        /* in a small queue operations find no room; in a big one headers of messages wait long */
        rig_open(&rig, i < 2 ? 4 : 256, i < 2 ? 8 : 512, 512, i < 2 ? 4 : 64,
                 i % 2 ? PORT_NO_BUF_RING : 0);
        uring_of(rig.port)->enter = enter_failing;
        rig_listen(&rig);
        rig_stream(&rig, 100, 3000, 900);
        uring_of(rig.port)->enter = uring_enter_kernel;
        rig_close(&rig);
    }
}

static int enter_stuck(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                       size_t bytes)
{
    (void)submit;
    (void)wait;
    if (!(flags & IORING_ENTER_GETEVENTS)) return -EAGAIN;
    return uring_enter_kernel(fd, 0, 0, flags & ~(unsigned)IORING_ENTER_EXT_ARG, NULL,
                              arg ? 0 : bytes);
}

static struct rig_conn *conn_after(unsigned index)
{
    for (unsigned i = index; i < RIG_CONNS_MAX; i++)
        if (rig.conns[i] && rig.conns[i] != rig.listener) return rig.conns[i];
    fail_msg("there is none");
    return NULL;
}

/* For a while nothing is submitted at all, and every kind of operation is started, stopped, closed.
 */
static void test_operations_without_room_in_the_queue_wait_for_it(void **state)
{
    (void)state;
    struct rig_client clients[20];
    rig_open(&rig, 4, 8, 512, 8, 0);
    rig.no_recv = true;
    rig_listen(&rig);
    for (unsigned i = 0; i < 20; i++) rig_client_open(&rig, &clients[i], i, 2000);
    rig_until_opened(&rig, 20);
    uring_of(rig.port)->enter = enter_stuck;
    struct rig_conn *conn = NULL;
    for (unsigned i = 0, at = 0; i < 20; i++, at = conn->sock.slot.index + 1) {
        conn = conn_after(at);
        port_recv(rig.port, &conn->sock);
        struct span span = {"hello", 5};
        if (i % 4 != 3) port_send(rig.port, &conn->sock, &span, 1);
        if (i % 4 == 1) port_recv_stop(rig.port, &conn->sock);
        if (i % 2 == 0) rig_shut(&rig, conn, i % 4 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
    port_accept_stop(rig.port, &rig.listener->sock);
    rig.no_send = true;
    for (unsigned i = 0; i < 10; i++) rig_turn(&rig, 1);
    assert_true(uring_of(rig.port)->lists[URING_WORK].count > 0);
    assert_false(rig.accept_ended);
    uring_of(rig.port)->enter = uring_enter_kernel;
    rig_until_closed(&rig, 10);
    for (unsigned i = 0; i < 20; i++) rig_turn(&rig, 1);
    assert_true(rig.accept_ended);
    for (unsigned i = 0, at = 0; i < 10; i++, at = conn->sock.slot.index + 1) {
        conn = conn_after(at);
        assert_int_equal(conn->finals[PORT_SEND], i % 2 == 0);
        assert_int_equal(conn->finals[PORT_RECV], i % 2 == 0);
    }
    for (unsigned i = 0; i < 20; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

static int enter_broken(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                        size_t bytes)
{
    (void)fd, (void)submit, (void)wait, (void)flags, (void)arg, (void)bytes;
    return -EBADF;
}

static void test_a_broken_ring_is_told(void **state)
{
    (void)state;
    rig_open(&rig, 0, 0, 0, 0, 0);
    uring_of(rig.port)->enter = enter_broken;
    assert_int_equal(port_wait(rig.port, 1), SALLY_ESYSTEM);
    assert_int_equal(port_wait(rig.port, PORT_FOREVER), SALLY_ESYSTEM);
    uring_of(rig.port)->enter = uring_enter_kernel;
    assert_int_equal(port_wait(rig.port, 0), 0);
    rig_close(&rig);
}

enum { BLOCKS_MAX = 16 };
static void *blocks[BLOCKS_MAX];
static unsigned block_count;

static void *counted_alloc(void *user, size_t bytes)
{
    (void)user;
    assert_true(block_count < BLOCKS_MAX);
    return blocks[block_count++] = malloc(bytes);
}

static void counted_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i] == block) blocks[i] = NULL;
    free(block);
}

/* The kernel may write to the buffers as long as it has a request. */
static void test_memory_of_a_ring_that_keeps_its_requests_is_not_freed(void **state)
{
    (void)state;
    struct mem mem, slot_mem;
    struct slots slots;
    struct port *port = NULL;
    mem_init(&slot_mem);
    assert_int_equal(slots_init(&slots, &slot_mem, sizeof(struct port_sock), 4, UINT32_MAX), 0);
    rig_open(&rig, 0, 0, 0, 0, 0); /* the trial was made */
    rig_close(&rig);
    mem_init(&mem);
    mem.alloc = counted_alloc;
    mem.free = counted_free;
    struct port_config config = {.mem = &mem, .socks = &slots};
    assert_int_equal(port_create(&port_uring_ops, &config, &port), 0);
    assert_int_equal(port_own(port), 0);
    assert_int_equal(port_wait(port, 0), 0);
    struct uring *uring = uring_of(port);
    uring->enter = enter_broken;
    port_destroy(port);
    for (unsigned i = 0; i < block_count; i++) assert_non_null(blocks[i]);
    assert_true(mem_in_use(&mem) > 0);
    close(uring->wake_fd); /* the test's own clearing up */
    io_uring_queue_exit(&uring->ring);
    mem_free(&mem, uring->bufs.block, uring->bufs.block_bytes);
    mem_free(&mem, uring->arena, URING_ARENA_BYTES);
    mem_free(&mem, uring, sizeof *uring);
    assert_int_equal(mem_in_use(&mem), 0);
    slots_free(&slots);
}

/* --- requests that end early --- */

/* Replaces an entry by one that does nothing, and its completion's result by an error. */
struct early {
    uint64_t user_data;
    int res;
};

enum { EARLY_MAX = 64 };
static struct early early[EARLY_MAX];
static unsigned early_count;
static unsigned early_done;
static unsigned entries_seen;

static int early_error(unsigned kind)
{
    static const int sends[] = {-EINTR, -EAGAIN};
    static const int recvs[] = {-EINTR, -EAGAIN, -ENOBUFS};
    static const int accepts[] = {-EINTR, -EAGAIN, -ECONNABORTED, -EPROTO, -ENETDOWN};
    switch (kind) {
    case PORT_SEND: return sends[entries_seen % 2];
    case PORT_RECV: return recvs[entries_seen % 3];
    case PORT_ACCEPT: return accepts[entries_seen % 5];
    default: return 0;
    }
}

static void spoil_entry(struct io_uring_sqe *sqe)
{
    unsigned kind = (unsigned)(sqe->user_data >> SLOTS_INDEX_BITS) & 0xff;
    int res = early_error(kind);
    if (sqe->opcode == IORING_OP_NOP || !res || entries_seen++ % 3) return;
    if (early_count == EARLY_MAX) return;
    uint64_t user_data = sqe->user_data;
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_NOP;
    sqe->user_data = user_data;
    early[early_count++] = (struct early){user_data, res};
}

static void spoil_completion(struct io_uring_cqe *cqe)
{
    for (unsigned i = 0; i < early_count; i++) {
        if (early[i].user_data != cqe->user_data || cqe->res != 0 || cqe->flags != 0) continue;
        cqe->res = early[i].res;
        early[i] = early[--early_count];
        early_done++;
        return;
    }
}

static int enter_spoiling(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                          size_t bytes)
{
    struct io_uring *ring = &uring_of(rig.port)->ring;
    for (unsigned i = 0; i < submit; i++)
        spoil_entry(&ring->sq.sqes[(*ring->sq.khead + i) & ring->sq.ring_mask]);
    unsigned tail = io_uring_smp_load_acquire(ring->cq.ktail);
    int rc = uring_enter_kernel(fd, submit, wait, flags, arg, bytes);
    for (; tail != io_uring_smp_load_acquire(ring->cq.ktail); tail++)
        spoil_completion(&ring->cq.cqes[tail & ring->cq.ring_mask]);
    return rc;
}

static void test_requests_that_end_early_are_made_again(void **state)
{
    (void)state;
    static const uint32_t off[] = {0, PORT_NO_MULTISHOT_ACCEPT | PORT_NO_MULTISHOT_RECV};
    for (unsigned i = 0; i < 2; i++) {
        early_count = early_done = 0;
        rig_open(&rig, 0, 0, 512, 16, off[i]);
        uring_of(rig.port)->enter = enter_spoiling;
        rig_listen(&rig);
        rig_stream(&rig, 60, 5000, 1000);
        assert_true(early_done > 20);
        assert_false(rig.accept_ended);
        uring_of(rig.port)->enter = uring_enter_kernel;
        rig_close(&rig);
    }
}

/* --- connecting --- */

static struct port_event connected;

static void keep_connect(struct rig *r, const struct port_event *event)
{
    (void)r;
    if (event->op == PORT_CONNECT) connected = *event;
}

static bool connect_over(struct rig *r, void *arg)
{
    (void)r;
    return ((struct rig_conn *)arg)->finals[PORT_CONNECT] > 0;
}

static void test_a_connect_ends_once_and_may_be_made_again(void **state)
{
    (void)state;
    rig_open(&rig, 4, 8, 0, 0, 0);
    rig.on_event = keep_connect;
    rig_listen(&rig);
    struct rig_conn *conn = rig_add(&rig, PORT_NO_HANDLE);
    struct address nobody = {.kind = ADDRESS_IP,
                             .ip = {.family = ADDR_V4, .ip = {127, 0, 0, 1}, .port = 1}};
    port_connect(rig.port, &conn->sock, &nobody, NULL, NULL);
    rig_until(&rig, connect_over, conn);
    assert_int_equal(connected.error, SALLY_EREFUSED);
    assert_int_equal(connected.sys_error, ECONNREFUSED);
    assert_int_equal(conn->sock.handle, PORT_NO_HANDLE);
    struct address path = {.kind = ADDRESS_PATH, .host = "/nowhere/at/all"};
    conn->finals[PORT_CONNECT] = 0;
    port_connect(rig.port, &conn->sock, &path, NULL, NULL);
    rig_until(&rig, connect_over, conn);
    assert_true(connected.error < 0);
    struct address here = {.kind = ADDRESS_IP, .ip = rig.addr};
    conn->finals[PORT_CONNECT] = 0;
    port_connect(rig.port, &conn->sock, &here, NULL, NULL);
    rig_until(&rig, connect_over, conn);
    assert_int_equal(connected.error, 0);
    port_recv(rig.port, &conn->sock);
    rig_turn(&rig, 1);
    struct rig_conn *cut = rig_add(&rig, PORT_NO_HANDLE);
    port_connect(rig.port, &cut->sock, &here, NULL, NULL);
    rig_shut(&rig, cut, PORT_CLOSE_RST); /* in the middle of it */
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refused_ring_is_no_port_and_says_why),
        cmocka_unit_test(test_a_feature_that_fails_its_trial_is_switched_off),
        cmocka_unit_test(test_this_kernel_passes_the_trial),
        cmocka_unit_test(test_creating_without_memory_leaves_nothing_behind),
        cmocka_unit_test(test_creating_without_descriptors_is_exhausted),
        cmocka_unit_test(test_failing_calls_lose_nothing),
        cmocka_unit_test(test_operations_without_room_in_the_queue_wait_for_it),
        cmocka_unit_test(test_a_broken_ring_is_told),
        cmocka_unit_test(test_memory_of_a_ring_that_keeps_its_requests_is_not_freed),
        cmocka_unit_test(test_requests_that_end_early_are_made_again),
        cmocka_unit_test(test_a_connect_ends_once_and_may_be_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
