/* A name that the system takes its time with holds up who asked for it, and nobody else. */
#include <string.h>

#include "net/engine.h"
#include "net/support/raw.h"
#include "net/support/stage.h"
#include "os/thread.h"

/* The resolver of one engine: it answers when the gate is open. */
struct oracle {
    struct os_gate gate;
    atomic_uint asked;
    int error;
};

static struct oracle *oracle_of_test; /* the host's ctx is read by shards */

static int oracle_resolve(void *ctx, const char *name, uint16_t port, struct addr *addrs,
                          unsigned max, unsigned *count)
{
    struct oracle *oracle = oracle_of_test;
    (void)ctx;
    (void)name;
    (void)max;
    atomic_fetch_add(&oracle->asked, 1);
    os_gate_wait(&oracle->gate);
    *count = 0;
    if (oracle->error) return oracle->error;
    /* two addresses of the machine's own */
    for (unsigned char i = 1; i <= 2; i++)
        addrs[(*count)++] = (struct addr){.family = ADDR_V4, .port = port, .ip = {127, 0, 0, i}};
    return 0;
}

struct asking {
    struct stage *stage;
    sally_server *server; /* given: adds to it */
    int err;
    atomic_bool over;
};

static void *ask(void *arg)
{
    struct asking *asking = arg;
    sally_handler handler = stage_handler(asking->stage);
    if (asking->server)
        asking->err = sally_server_add(asking->server, "slow.test:0");
    else
        asking->err =
            sally_listen(asking->stage->engine, "slow.test:0", &handler, NULL, &asking->server);
    atomic_store(&asking->over, true);
    return NULL;
}

static struct stage *stage_asking(const struct stage_way *way, struct oracle *oracle,
                                  struct asking asking[2], pthread_t threads[2])
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    memset(oracle, 0, sizeof *oracle);
    os_gate_init(&oracle->gate);
    oracle_of_test = oracle;
    stage->engine->host.resolve = oracle_resolve;
    for (int i = 0; i < 2; i++) {
        asking[i] = (struct asking){.stage = stage, .server = i ? stage->server : NULL};
        threads[i] = stage_thread(ask, &asking[i]);
        STAGE_WAIT(atomic_load(&oracle->asked) == (unsigned)i + 1);
    }
    return stage;
}

/* What takes the engine's lock, all of it; each would wait for the name otherwise. */
static void *use_engine(void *arg)
{
    struct asking *done = arg;
    struct stage *stage = done->stage;
    char text[64];
    (void)stage_listen(stage, NULL, text, sizeof text);
    done->err = sally_server_add(stage->server, "127.0.0.1:0");
    STAGE_CHECK(stage, sally_server_address(stage->server, 1, text, sizeof text));
    atomic_store(&done->over, true);
    return NULL;
}

static void other_calls_go_on_while_a_name_is_looked_up(const struct stage_way *way)
{
    struct oracle oracle;
    struct asking asking[2];
    pthread_t threads[2], other;
    struct stage *stage = stage_asking(way, &oracle, asking, threads);
    struct asking use = {.stage = stage};
    other = stage_thread(use_engine, &use);
    bool held_up = !STAGE_POLL(atomic_load(&use.over), STAGE_LIMIT_MS / 6);
    bool early = atomic_load(&asking[0].over) || atomic_load(&asking[1].over);
    os_gate_open(&oracle.gate);
    pthread_join(other, NULL);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_false(held_up);
    assert_false(early);
    assert_int_equal(use.err, 0);
    for (int i = 0; i < 2; i++) {
        char text[64];
        assert_int_equal(asking[i].err, 0);
        /* both of the name's addresses, behind what there was before */
        assert_non_null(sally_server_address(asking[i].server, i ? 3 : 1, text, sizeof text));
        assert_memory_equal(text, "127.0.0.2:", 10);
        int fd = raw_connect(text, 0);
        assert_true(fd >= 0);
        raw_close(fd);
    }
    os_gate_free(&oracle.gate);
    stage_end(stage);
}

static void an_engine_stops_while_a_name_is_looked_up(const struct stage_way *way)
{
    struct oracle oracle;
    struct asking asking[2];
    pthread_t threads[2];
    struct stage *stage = stage_asking(way, &oracle, asking, threads);
    assert_int_equal(sally_engine_stop(stage->engine), 0);
    assert_int_equal(sally_engine_wait(stage->engine), 0);
    os_gate_open(&oracle.gate);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(asking[i].err, SALLY_ESTATE);
    }
    os_gate_free(&oracle.gate);
    stage_end(stage);
}

static void a_name_that_is_not_found_leaves_nothing(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    struct oracle oracle = {.error = SALLY_ENONAME};
    os_gate_init(&oracle.gate);
    os_gate_open(&oracle.gate);
    oracle_of_test = &oracle;
    stage->engine->host.resolve = oracle_resolve;
    sally_handler handler = stage_handler(stage);
    uint64_t bytes = atomic_load(&stage->memory_bytes);
    assert_int_equal(sally_listen(stage->engine, "slow.test:0", &handler, NULL, NULL),
                     SALLY_ENONAME);
    assert_int_equal(sally_server_add(stage->server, "slow.test:0"), SALLY_ENONAME);
    assert_int_equal(atomic_load(&stage->memory_bytes), bytes);
    os_gate_free(&oracle.gate);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(other_calls_go_on_while_a_name_is_looked_up, 2),
    STAGE_TEST_ON(an_engine_stops_while_a_name_is_looked_up, 1),
    STAGE_TEST_ON(a_name_that_is_not_found_leaves_nothing, 1),
};

int main(int argc, char **argv)
{
    return stage_run("slow_name", tests, sizeof tests / sizeof *tests, argc, argv);
}
