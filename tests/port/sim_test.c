/* The simulated port by itself: what its network does, that a seed is a run, and that it finds out
 * callers who break the contract. That it keeps the contract is shown by the suite that all ports
 * share. One thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/sim.h"

enum { SOCKS = 64, EVENTS = 16, BODY = 100000, LIMIT_MS = 600000 };

/* A socket of the port under test, and all that was told about it. */
struct actor {
    struct port_sock sock;
    unsigned ended[PORT_OPS];
    int error[PORT_OPS];
    uint32_t got;
    uint64_t sum; /* of the bytes received */
    uint32_t sent;
    bool hold; /* keeps what it is lent */
    port_handle accepted[8];
    unsigned accepted_count;
    unsigned lost; /* accepts that failed and went on */
    bool nameless; /* the last newcomer had no address */
};

struct bench {
    struct sim_world *world;
    struct mem mem;
    struct slots socks;
    struct port *port;
    uint64_t events;
};

static unsigned char body[BODY];

static void bench_open(struct bench *bench, uint64_t seed, const sally_sim_options *options)
{
    memset(bench, 0, sizeof *bench);
    assert_int_equal(sim_world_create(&bench->world, seed, options), 0);
    mem_init(&bench->mem);
    assert_int_equal(
        slots_init(&bench->socks, &bench->mem, sizeof(struct actor), SOCKS, UINT32_MAX), 0);
    struct port_config config = {
        .mem = &bench->mem, .socks = &bench->socks, .world = bench->world, .bufs_max = 4};
    assert_int_equal(port_create(&port_sim_ops, &config, &bench->port), 0);
    assert_int_equal(port_own(bench->port), 0);
}

static void note(struct bench *bench, const struct port_event *event)
{
    struct actor *actor = (struct actor *)event->sock;
    bench->events++;
    assert_int_equal(actor->ended[PORT_CLOSE], 0); /* nothing comes after it */
    if (!event->more) {
        actor->ended[event->op]++;
        actor->error[event->op] = event->error;
        assert_false(actor->sock.in_flight & PORT_BIT(event->op));
    }
    if (event->op == PORT_ACCEPT && event->more) {
        if (event->error)
            actor->lost++;
        else
            actor->accepted[actor->accepted_count++] = event->accepted;
        actor->nameless = event->peer.family == ADDR_NONE;
    }
    if (event->op == PORT_RECV && event->bytes) {
        assert_true(event->more);
        for (uint32_t i = 0; i < event->bytes; i++)
            actor->sum = actor->sum * 31 + ((const unsigned char *)event->data)[i];
        actor->got += event->bytes;
        if (!actor->hold) port_buf_release(bench->port, event->buf, event->data);
    }
    if (event->op == PORT_SEND && !event->error) actor->sent += event->bytes;
}

/* Takes all there is; how many. */
static unsigned turn(struct bench *bench, uint32_t timeout_ms)
{
    struct port_event events[EVENTS];
    unsigned all = 0;
    assert_int_equal(port_wait(bench->port, timeout_ms), 0);
    for (unsigned n; (n = port_take(bench->port, events, EVENTS)); all += n)
        for (unsigned i = 0; i < n; i++) note(bench, &events[i]);
    return all;
}

static void run(struct bench *bench, uint32_t ms)
{
    uint64_t until_ns = bench->world->now_ns + ms * SIM_MS;
    while (bench->world->now_ns < until_ns)
        turn(bench, (uint32_t)((until_ns - bench->world->now_ns) / SIM_MS) + 1);
}

#define UNTIL(bench, condition)                                                                    \
    do {                                                                                           \
        uint64_t limit_ns = (bench)->world->now_ns + LIMIT_MS * SIM_MS;                            \
        while (!(condition)) {                                                                     \
            turn(bench, 1000);                                                                     \
            if ((bench)->world->now_ns > limit_ns)                                                 \
                fail_msg("seed %llu: never: %s", (unsigned long long)(bench)->world->seed,         \
                         #condition);                                                              \
        }                                                                                          \
    } while (0)

static struct actor *actor_new(struct bench *bench)
{
    struct actor *actor = slots_take(&bench->socks);
    assert_non_null(actor);
    return actor;
}

static void actor_drop(struct bench *bench, struct actor *actor, enum port_close_mode mode)
{
    port_close(bench->port, &actor->sock, mode);
    UNTIL(bench, actor->ended[PORT_CLOSE]);
    for (unsigned i = 0; i < actor->accepted_count; i++)
        if (actor->accepted[i] != PORT_NO_HANDLE)
            port_refuse(bench->port, actor->accepted[i], PORT_CLOSE_RST);
    slots_give(&bench->socks, actor);
}

static void bench_shut(struct bench *bench)
{
    port_destroy(bench->port);
    slots_free(&bench->socks);
    assert_int_equal(mem_in_use(&bench->mem), 0);
    assert_int_equal(bench->world->descriptors_used, 0);
    sim_world_destroy(bench->world);
}

static struct address at(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(&address, text), 0);
    return address;
}

static int try_listen(struct bench *bench, const char *text, bool share, port_handle *handle)
{
    struct address address = at(text);
    struct port_listen_options options = {.share_port = share, .backlog = 4};
    return port_listen(bench->port, &address, &options, handle, NULL);
}

static struct actor *listener_new(struct bench *bench, const char *text)
{
    port_handle handle;
    assert_int_equal(try_listen(bench, text, false, &handle), 0);
    struct actor *actor = actor_new(bench);
    port_attach(bench->port, &actor->sock, handle, NULL);
    port_accept(bench->port, &actor->sock);
    return actor;
}

static struct actor *dial(struct bench *bench, const char *text)
{
    struct address to = at(text);
    struct actor *actor = actor_new(bench);
    port_connect(bench->port, &actor->sock, &to, NULL, NULL);
    return actor;
}

/* Two connected sockets of the port. */
struct pair {
    struct actor *listener, *a, *b;
};

static void pair_open(struct bench *bench, struct pair *pair)
{
    pair->listener = listener_new(bench, "127.0.0.1:7000");
    pair->a = dial(bench, "127.0.0.1:7000");
    UNTIL(bench, pair->a->ended[PORT_CONNECT] && pair->listener->accepted_count);
    assert_int_equal(pair->a->error[PORT_CONNECT], 0);
    pair->b = actor_new(bench);
    port_attach(bench->port, &pair->b->sock, pair->listener->accepted[0], NULL);
    pair->listener->accepted[0] = PORT_NO_HANDLE;
}

static void pair_shut(struct bench *bench, struct pair *pair)
{
    actor_drop(bench, pair->a, PORT_CLOSE_RST);
    actor_drop(bench, pair->b, PORT_CLOSE_RST);
    actor_drop(bench, pair->listener, PORT_CLOSE_RST);
}

static void send_bytes(struct bench *bench, struct actor *actor, const void *data, size_t len)
{
    struct span span = {.data = data, .len = len};
    port_send(bench->port, &actor->sock, &span, 1);
}

static void send_all(struct bench *bench, struct actor *actor, uint32_t len)
{
    while (actor->sent < len && !actor->error[PORT_SEND]) {
        unsigned ended = actor->ended[PORT_SEND];
        send_bytes(bench, actor, body + actor->sent, len - actor->sent);
        UNTIL(bench, actor->ended[PORT_SEND] > ended);
    }
}

static uint64_t body_sum(uint32_t len)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < len; i++) sum = sum * 31 + body[i];
    return sum;
}

/* ---- What the network does ---- */

static void bytes_arrive_whole_and_in_order_whatever_is_late_or_short(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct bench bench;
        struct pair pair;
        bench_open(&bench, seed, NULL);
        bench.world->faults = (sally_sim_faults){.late = 200000,
                                                 .recv_short = 500000,
                                                 .send_short = 500000,
                                                 .buf_none = 100000,
                                                 .clog = 1000};
        pair_open(&bench, &pair);
        port_recv(bench.port, &pair.b->sock);
        send_all(&bench, pair.a, BODY / 10);
        assert_int_equal(port_shutdown(bench.port, &pair.a->sock), 0);
        UNTIL(&bench, pair.b->ended[PORT_RECV]);
        assert_int_equal(pair.b->error[PORT_RECV], 0);
        assert_int_equal(pair.b->got, BODY / 10);
        assert_true(pair.b->sum == body_sum(BODY / 10));
        pair_shut(&bench, &pair);
        bench_shut(&bench);
    }
}

static void a_close_with_unread_bytes_resets_the_peer(void **state)
{
    (void)state;
    struct bench bench;
    struct pair pair;
    bench_open(&bench, 5, NULL);
    pair_open(&bench, &pair);
    send_bytes(&bench, pair.a, body, 10);
    run(&bench, 1000);
    port_recv(bench.port, &pair.a->sock);
    port_close(bench.port, &pair.b->sock, PORT_CLOSE_FIN);
    UNTIL(&bench, pair.a->ended[PORT_RECV]);
    assert_int_equal(pair.a->error[PORT_RECV], SALLY_ERESET);
    UNTIL(&bench, pair.b->ended[PORT_CLOSE]);
    slots_give(&bench.socks, pair.b);
    actor_drop(&bench, pair.a, PORT_CLOSE_FIN);
    actor_drop(&bench, pair.listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void bytes_to_a_closed_socket_are_answered_with_a_reset(void **state)
{
    (void)state;
    struct bench bench;
    struct pair pair;
    bench_open(&bench, 6, NULL);
    pair_open(&bench, &pair);
    actor_drop(&bench, pair.b, PORT_CLOSE_FIN);
    run(&bench, 1000);
    send_bytes(&bench, pair.a, body, 10);
    run(&bench, 1000);
    assert_int_equal(pair.a->sent, 10);
    send_bytes(&bench, pair.a, body, 10);
    UNTIL(&bench, pair.a->error[PORT_SEND]);
    assert_int_equal(pair.a->error[PORT_SEND], SALLY_ERESET);
    actor_drop(&bench, pair.a, PORT_CLOSE_FIN);
    actor_drop(&bench, pair.listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void a_send_to_a_peer_that_does_not_read_waits_and_is_cancelled_by_close(void **state)
{
    (void)state;
    struct bench bench;
    struct pair pair;
    bench_open(&bench, 7, NULL);
    pair_open(&bench, &pair);
    for (;;) {
        unsigned ended = pair.a->ended[PORT_SEND];
        send_bytes(&bench, pair.a, body, BODY);
        run(&bench, 60000);
        if (pair.a->ended[PORT_SEND] == ended) break;
    }
    assert_true(pair.a->sent < BODY);
    port_close(bench.port, &pair.a->sock, PORT_CLOSE_FIN);
    UNTIL(&bench, pair.a->ended[PORT_CLOSE]);
    assert_int_equal(pair.a->error[PORT_SEND], SALLY_ECANCELED);
    slots_give(&bench.socks, pair.a);
    actor_drop(&bench, pair.b, PORT_CLOSE_RST);
    actor_drop(&bench, pair.listener, PORT_CLOSE_RST);
    bench_shut(&bench);
}

static void a_connect_is_refused_or_cancelled_and_may_be_tried_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 8, NULL);
    struct address hole = at("192.0.2.1:80");
    sim_hole_add(bench.world, &hole);
    struct actor *actor = dial(&bench, "127.0.0.1:9");
    UNTIL(&bench, actor->ended[PORT_CONNECT]);
    assert_int_equal(actor->error[PORT_CONNECT], SALLY_EREFUSED);
    assert_true(actor->sock.handle == PORT_NO_HANDLE);
    port_connect(bench.port, &actor->sock, &hole, NULL, NULL);
    run(&bench, LIMIT_MS);
    assert_int_equal(actor->ended[PORT_CONNECT], 1);
    actor_drop(&bench, actor, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void accepting_ends_without_descriptors_and_goes_on_when_they_are_back(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 9, NULL);
    struct actor *listener = listener_new(&bench, "*:7000");
    struct address to = at("[::1]:7000");
    struct sim_sock *client = sim_tcp_connect(bench.world, &to, NULL);
    bench.world->descriptors_all_taken = true;
    UNTIL(&bench, listener->ended[PORT_ACCEPT]);
    assert_int_equal(listener->error[PORT_ACCEPT], SALLY_EEXHAUSTED);
    assert_int_equal(port_probe(bench.port, NULL), SALLY_EEXHAUSTED);
    bench.world->descriptors_all_taken = false;
    assert_int_equal(port_probe(bench.port, NULL), 0);
    port_accept(bench.port, &listener->sock);
    UNTIL(&bench, listener->accepted_count);
    sim_tcp_close(client, PORT_CLOSE_RST);
    actor_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void newcomers_past_the_backlog_wait_and_are_taken_later(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 10, NULL);
    port_handle handle;
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", false, &handle), 0);
    struct address to = at("127.0.0.1:7000");
    struct sim_sock *clients[8];
    for (unsigned i = 0; i < 8; i++) clients[i] = sim_tcp_connect(bench.world, &to, NULL);
    run(&bench, 500);
    struct actor *listener = actor_new(&bench);
    port_attach(bench.port, &listener->sock, handle, NULL);
    port_accept(bench.port, &listener->sock);
    UNTIL(&bench, listener->accepted_count == 4);
    UNTIL(&bench, listener->accepted_count == 8);
    for (unsigned i = 0; i < 8; i++) sim_tcp_close(clients[i], PORT_CLOSE_RST);
    actor_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void a_newcomer_that_was_reset_arrives_without_an_address(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 11, NULL);
    port_handle handle;
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", false, &handle), 0);
    struct address to = at("127.0.0.1:7000");
    struct sim_sock *client = sim_tcp_connect(bench.world, &to, NULL);
    run(&bench, 500);
    sim_tcp_close(client, PORT_CLOSE_RST);
    run(&bench, 500);
    struct actor *listener = actor_new(&bench);
    port_attach(bench.port, &listener->sock, handle, NULL);
    port_accept(bench.port, &listener->sock);
    UNTIL(&bench, listener->accepted_count == 1);
    assert_true(listener->nameless);
    actor_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void an_address_is_given_once_unless_it_is_shared(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 12, NULL);
    port_handle first, second;
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", false, &first), 0);
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", false, &second), SALLY_EADDRINUSE);
    assert_int_equal(try_listen(&bench, "*:7000", false, &second), SALLY_EADDRINUSE);
    assert_int_equal(try_listen(&bench, "127.0.0.2:7000", false, &second), 0);
    port_refuse(bench.port, second, PORT_CLOSE_FIN);
    port_refuse(bench.port, first, PORT_CLOSE_FIN);
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", true, &first), 0);
    assert_int_equal(try_listen(&bench, "127.0.0.1:7000", true, &second), 0);
    port_refuse(bench.port, second, PORT_CLOSE_FIN);
    port_refuse(bench.port, first, PORT_CLOSE_FIN);
    assert_int_equal(try_listen(&bench, "127.0.0.1:0", false, &first), 0);
    struct addr addr;
    assert_int_equal(port_local(bench.port, first, &addr), 0);
    assert_true(addr.port >= 32768);
    port_refuse(bench.port, first, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void a_receive_without_a_buffer_waits_for_one(void **state)
{
    (void)state;
    struct bench bench;
    struct pair pair;
    bench_open(&bench, 13, NULL);
    bench.world->faults.recv_short = 1000000;
    pair_open(&bench, &pair);
    pair.b->hold = true;
    port_recv(bench.port, &pair.b->sock);
    while (!counter_get(&bench.port->counters.buf_shortages)) {
        if (!(pair.a->sock.in_flight & PORT_BIT(PORT_SEND)))
            send_bytes(&bench, pair.a, body + pair.a->sent, 100);
        run(&bench, 1000);
    }
    uint32_t held = bench.port->bufs_total;
    uint32_t got = pair.b->got;
    run(&bench, 10000);
    assert_int_equal(bench.port->bufs_lent, held);
    assert_int_equal(pair.b->got, got);
    pair.b->hold = false;
    struct sim_port *port = sim_port_of(bench.port);
    for (uint32_t i = 0; i < held; i++) port_buf_release(bench.port, i, port->bufs[i].data);
    UNTIL(&bench, !(pair.a->sock.in_flight & PORT_BIT(PORT_SEND)));
    send_all(&bench, pair.a, 4000);
    UNTIL(&bench, pair.b->got == 4000);
    pair_shut(&bench, &pair);
    bench_shut(&bench);
}

static void what_a_stop_cuts_off_comes_after_the_next_start(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 140; seed++) {
        struct bench bench;
        struct pair pair;
        bench_open(&bench, seed, NULL);
        bench.world->faults.recv_short = 800000;
        pair_open(&bench, &pair);
        send_all(&bench, pair.a, 16);
        while (pair.b->got < 16) {
            port_recv(bench.port, &pair.b->sock);
            turn(&bench, 1);
            unsigned ended = pair.b->ended[PORT_RECV];
            port_recv_stop(bench.port, &pair.b->sock);
            UNTIL(&bench, pair.b->ended[PORT_RECV] > ended);
            assert_int_equal(pair.b->error[PORT_RECV], SALLY_ECANCELED);
        }
        assert_true(pair.b->sum == body_sum(16));
        pair_shut(&bench, &pair);
        bench_shut(&bench);
    }
}

static void a_wake_up_is_seen_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 14, NULL);
    run(&bench, 10);
    assert_false(sim_port_runnable(sim_port_of(bench.port)));
    port_wake(bench.port);
    port_wake(bench.port);
    assert_true(sim_port_runnable(sim_port_of(bench.port)));
    assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0);
    assert_false(sim_port_runnable(sim_port_of(bench.port)));
    bench_shut(&bench);
}

/* ---- Seeds ---- */

static uint64_t hash_of(uint64_t seed)
{
    struct bench bench;
    struct pair pair;
    bench_open(&bench, seed, NULL);
    bench.world->faults = (sally_sim_faults){.late = 300000, .recv_short = 300000};
    pair_open(&bench, &pair);
    port_recv(bench.port, &pair.b->sock);
    send_all(&bench, pair.a, 5000);
    UNTIL(&bench, pair.b->got == 5000);
    pair_shut(&bench, &pair);
    uint64_t hash = bench.world->hash;
    bench_shut(&bench);
    return hash;
}

static void a_seed_is_a_run(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t hash = hash_of(seed);
        assert_true(hash == hash_of(seed));
        assert_true(hash != before);
        before = hash;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_whole_and_in_order_whatever_is_late_or_short),
        cmocka_unit_test(a_close_with_unread_bytes_resets_the_peer),
        cmocka_unit_test(bytes_to_a_closed_socket_are_answered_with_a_reset),
        cmocka_unit_test(a_send_to_a_peer_that_does_not_read_waits_and_is_cancelled_by_close),
        cmocka_unit_test(a_connect_is_refused_or_cancelled_and_may_be_tried_again),
        cmocka_unit_test(accepting_ends_without_descriptors_and_goes_on_when_they_are_back),
        cmocka_unit_test(newcomers_past_the_backlog_wait_and_are_taken_later),
        cmocka_unit_test(a_newcomer_that_was_reset_arrives_without_an_address),
        cmocka_unit_test(an_address_is_given_once_unless_it_is_shared),
        cmocka_unit_test(a_receive_without_a_buffer_waits_for_one),
        cmocka_unit_test(what_a_stop_cuts_off_comes_after_the_next_start),
        cmocka_unit_test(a_wake_up_is_seen_once),
        cmocka_unit_test(a_seed_is_a_run),
    };
    for (uint32_t i = 0; i < BODY; i++) body[i] = (unsigned char)(i * 7 + i / 251);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
