/* Who breaks the contract is found out: each kind of misuse runs in a process of its own, which
 * must end by abort and say what was wrong and with which seed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/sim.h"

enum { SEED = 77, SAID_MAX = 4096 };

static void expect_violation(void (*misuse)(void), const char *words)
{
    int ends[2];
    char said[SAID_MAX];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; len < sizeof said - 1; len += (size_t)n)
        if ((n = read(ends[0], said + len, sizeof said - 1 - len)) <= 0) break;
    said[len] = 0;
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!strstr(said, words)) fail_msg("said \"%s\", not \"%s\"", said, words);
    assert_non_null(strstr(said, "seed=77"));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- The port's caller: past the wrappers, whose asserts find some of this earlier ---- */

static struct sim_world *world;
static struct mem mem;
static struct slots socks;
static struct port *port;
static const struct port_ops *ops = &port_sim_ops;
static unsigned char bytes[64];

/* A connected socket whose other end is nobody's but the test's. */
static struct port_sock *sock;
static struct sim_sock *peer;

static void must(bool holds)
{
    if (!holds) _exit(1);
}

static unsigned take(struct port_event *event)
{
    (void)ops->wait(port, 100);
    return ops->take(port, event, 1);
}

static void open_port(void)
{
    struct port_config config = {.mem = &mem, .socks = &socks};
    must(sim_world_create(&world, SEED, NULL) == 0);
    mem_init(&mem);
    must(slots_init(&socks, &mem, sizeof(struct port_sock), 16, UINT32_MAX) == 0);
    config.world = world;
    must(ops->create(&port, &config) == 0);
    sock = slots_take(&socks);
    must(sock != NULL);
}

static void open_pair(void)
{
    struct sim_sock *listener = NULL;
    struct address at;
    struct port_event event;
    open_port();
    must(ops->own(port) == 0 && address_parse(&at, "127.0.0.1:7000") == 0);
    must(sim_listen(world, &at, 4, false, false, &listener) == 0);
    ops->connect(port, sock, &at, NULL, NULL);
    while (!take(&event)) continue;
    must(event.op == PORT_CONNECT && event.error == 0);
    peer = sim_tcp_accept(listener);
    must(peer != NULL);
}

static struct port_event received(void)
{
    struct port_event event;
    open_pair();
    must(sim_tcp_write(peer, bytes, 10) > 0);
    ops->recv(port, sock);
    while (!take(&event)) continue;
    must(event.op == PORT_RECV && event.bytes > 0);
    return event;
}

static void send_some(void)
{
    struct span span = {.data = bytes, .len = 10};
    ops->send(port, sock, &span, 1);
}

static void turn(void)
{
    struct port_event event;
    for (int i = 0; i < 20; i++) (void)take(&event);
}

static void give_slot_too_early(void)
{
    open_pair();
    ops->close(port, sock, PORT_CLOSE_FIN);
    slots_give(&socks, sock);
    turn();
}

static void change_bytes_in_flight(void)
{
    open_pair();
    send_some();
    bytes[3] ^= 1;
    turn();
}

static void change_bytes_before_the_event_is_taken(void)
{
    open_pair();
    send_some();
    while (!sim_port_of(port)->ready_len) (void)sim_world_fire(world);
    bytes[3] ^= 1;
    turn();
}

static void send_twice(void)
{
    open_pair();
    send_some();
    send_some();
}

static void read_zeros(void *user, uint64_t offset, void *to, uint32_t len)
{
    (void)user, (void)offset;
    memset(to, 0, len);
}

static struct port_file part;

static void send_a_file(void)
{
    open_pair();
    part = (struct port_file){sim_file_make(world, 1000, read_zeros, NULL), 0, 1000};
    ops->send_file(port, sock, &part);
}

static void change_file_in_flight(void)
{
    send_a_file();
    part.offset++;
    turn();
}

static void change_file_before_the_event_is_taken(void)
{
    send_a_file();
    while (!sim_port_of(port)->ready_len) (void)sim_world_fire(world);
    part.bytes--;
    turn();
}

static void close_file_in_flight(void)
{
    send_a_file();
    sim_file_close(world, part.handle);
    turn();
}

static void close_file_twice(void)
{
    send_a_file();
    turn();
    sim_file_close(world, part.handle);
    sim_file_close(world, part.handle);
}

static void send_beside_a_file(void)
{
    send_a_file();
    send_some();
}

static void send_after_shutdown(void)
{
    open_pair();
    must(ops->shutdown(port, sock) == 0);
    send_some();
}

static void shut_while_sending(void)
{
    open_pair();
    send_some();
    (void)ops->shutdown(port, sock);
}

static void release_twice(void)
{
    struct port_event event = received();
    ops->buf_release(port, event.buf, event.data);
    ops->buf_release(port, event.buf, event.data);
}

static void write_into_lent(void)
{
    struct port_event event = received();
    ((unsigned char *)(uintptr_t)event.data)[0] ^= 1;
    ops->buf_release(port, event.buf, event.data);
}

static void use_after_close(void)
{
    open_pair();
    ops->close(port, sock, PORT_CLOSE_FIN);
    turn();
    ops->recv(port, sock);
}

static void receive_after_the_end(void)
{
    open_pair();
    sim_tcp_finish(peer);
    ops->recv(port, sock);
    turn();
    ops->recv(port, sock);
}

static void destroy_with_sockets(void)
{
    open_pair();
    ops->destroy(port);
}

static void refuse_twice(void)
{
    struct address at;
    port_handle handle;
    open_port();
    must(address_parse(&at, "127.0.0.1:0") == 0);
    must(ops->listen(port, &at, NULL, &handle, NULL) == 0);
    ops->refuse(port, handle, PORT_CLOSE_FIN);
    ops->refuse(port, handle, PORT_CLOSE_FIN);
}

static void use_before_own(void)
{
    open_port();
    ops->close(port, sock, PORT_CLOSE_FIN);
}

static void wait_for_nothing(void)
{
    open_pair();
    turn();
    (void)ops->wait(port, PORT_FOREVER);
    (void)ops->wait(port, PORT_FOREVER);
}

static void callers_who_break_the_contract_are_found_out(void **state)
{
    (void)state;
    expect_violation(give_slot_too_early, "given back before PORT_CLOSE was taken");
    expect_violation(change_bytes_in_flight, "changed while they were sent");
    expect_violation(change_bytes_before_the_event_is_taken, "changed while they were sent");
    expect_violation(send_twice, "started twice");
    expect_violation(change_file_in_flight, "was changed while it was in flight");
    expect_violation(change_file_before_the_event_is_taken, "was changed while it was in flight");
    expect_violation(close_file_in_flight, "is sent and not open");
    expect_violation(close_file_twice, "is closed and was not open");
    expect_violation(send_beside_a_file, "started twice");
    expect_violation(send_after_shutdown, "send after a half-close");
    expect_violation(shut_while_sending, "half-close while a send is in flight");
    expect_violation(release_twice, "given back twice");
    expect_violation(write_into_lent, "wrote into lent buffer");
    expect_violation(use_after_close, "after its close was told");
    expect_violation(receive_after_the_end, "receive after the end");
    expect_violation(destroy_with_sockets, "PORT_CLOSE of slot 0 was not taken");
    expect_violation(refuse_twice, "used after it was closed");
    expect_violation(use_before_own, "before port_own");
    expect_violation(wait_for_nothing, "waits for ever");
}

/* ---- Users of the simulator ---- */

static sally_sim *sim;
static sally_engine *engine;
static sally_sim_peer *visitor;

static void open_sim(const sally_handler *handler)
{
    sally_sim_options options = {.turns_max = 50};
    must(sally_sim_create(&sim, SEED, &options) == 0);
    must(sally_sim_engine(sim, NULL, &engine) == 0);
    must(sally_listen(engine, "127.0.0.1:5002", handler, NULL, NULL) == 0);
    visitor = sally_sim_dial(sim, "127.0.0.1:5002");
    (void)sally_sim_run(sim, 100);
    (void)sally_sim_peer_write(visitor, "hello", 5);
    (void)sally_sim_run(sim, 1000);
}

static void again(sally_conn *conn, void *arg)
{
    if (conn) (void)sally_post(sally_conn_engine(conn), sally_conn_id(conn), again, arg);
}

static void begin_again(sally_conn *conn) { again(conn, NULL); }

static void turn_without_end(void) { open_sim(&(sally_handler){.on_open = begin_again}); }

static void scribble(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    memset((void *)(uintptr_t)data, 0, len);
}

static void handler_writes_what_it_may_only_read(void)
{
    open_sim(&(sally_handler){.on_data = scribble});
}

static void leave_the_engine(void)
{
    open_sim(&(sally_handler){0});
    sally_sim_destroy(sim);
}

static void told(void *user, uint64_t seed, const char *what)
{
    (void)user;
    must(seed == SEED && strstr(what, "livelock"));
    static const char text[] = "told first";
    must(write(STDERR_FILENO, text, sizeof text) > 0);
}

static void tell_the_program(void)
{
    sally_sim_options options = {.turns_max = 50, .violated = told};
    must(sally_sim_create(&sim, SEED, &options) == 0);
    must(sally_sim_engine(sim, NULL, &engine) == 0);
    sally_handler handler = {.on_open = begin_again};
    must(sally_listen(engine, "127.0.0.1:5002", &handler, NULL, NULL) == 0);
    visitor = sally_sim_dial(sim, "127.0.0.1:5002");
    (void)sally_sim_run(sim, 100);
}

static void defects_of_programs_are_found_out(void **state)
{
    (void)state;
    expect_violation(turn_without_end, "livelock");
    expect_violation(handler_writes_what_it_may_only_read, "wrote into lent buffer");
    expect_violation(leave_the_engine, "of engines are left");
    expect_violation(tell_the_program, "told first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_who_break_the_contract_are_found_out),
        cmocka_unit_test(defects_of_programs_are_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
