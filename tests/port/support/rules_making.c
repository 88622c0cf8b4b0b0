/* M: making ports and listeners: all or nothing, and the errors that the caller is told at once. */
#include <stdio.h>
#include <string.h>

#include "port/support/rules.h"
#include "sallyport/error.h"

/* --- ports --- */

static int create(struct stage *stage)
{
    struct port_config config;
    stage_port_config(stage, &config);
    int err = port_create(stage->config.ops, &config, &stage->port);
    if (err) CHECK(!stage->port);
    if (err == SALLY_ENOPORT) trial_skip("%s can't be used here", stage->config.ops->name);
    return err;
}

static void destroy(struct stage *stage)
{
    port_destroy(stage->port);
    stage->port = NULL;
}

static void create_without_memory(struct stage *stage)
{
    size_t before = mem_in_use(&stage->mem);
    int failures = 0;
    for (int allowed = 0; allowed < 1000; allowed++) {
        atomic_store(&stage->allocs_until, allowed);
        int err = create(stage);
        atomic_store(&stage->allocs_until, -1);
        if (!err) break;
        CHECK_EQUAL(err, SALLY_ENOMEM);
        CHECK_EQUAL(mem_in_use(&stage->mem), before);
        CHECK_EQUAL(stage->ground->descriptors(stage->world), stage->descriptors_before);
        failures++;
    }
    CHECK(stage->port && failures > 0);
    destroy(stage);
    CHECK_EQUAL(mem_in_use(&stage->mem), before);
}

static void create_without_descriptors(struct stage *stage)
{
    size_t before = mem_in_use(&stage->mem);
    CHECK_EQUAL(create(stage), 0); /* what a kind asks the system once, it has asked */
    destroy(stage);
    stage->ground->exhaust(stage->world, true);
    int err = create(stage);
    stage->ground->exhaust(stage->world, false);
    CHECK_EQUAL(err, SALLY_EEXHAUSTED);
    CHECK_EQUAL(mem_in_use(&stage->mem), before);
}

static void create_and_destroy(struct stage *stage)
{
    port_destroy(NULL);
    for (unsigned i = 0; i < 10; i++) {
        CHECK_EQUAL(create(stage), 0);
        port_wake(stage->port);
        if (i & 1) CHECK_EQUAL(port_own(stage->port), 0);
        if (i & 1) port_wake(stage->port);
        destroy(stage);
        CHECK_EQUAL(stage->ground->descriptors(stage->world), stage->descriptors_before);
    }
}

/* --- listeners --- */

static int try_listen(struct stage *stage, const struct address *at)
{
    port_handle handle = 12345;
    int sys_error = 0;
    unsigned before = stage->ground->descriptors(stage->world);
    int err = port_listen(stage->port, at, NULL, &handle, &sys_error);
    if (err) {
        CHECK_EQUAL(handle, PORT_NO_HANDLE);
        CHECK_EQUAL(stage->ground->descriptors(stage->world), before);
    } else {
        port_refuse(stage->port, handle, PORT_CLOSE_FIN);
    }
    return err;
}

static void listen_in_use(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EADDRINUSE);
    stage_drop(stage, listener, PORT_CLOSE_FIN);
    CHECK_EQUAL(try_listen(stage, &at), 0);
}

/* Also while connections of an earlier listener linger on in the system. */
static void listen_after_connections(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_drop(stage, actor, PORT_CLOSE_FIN);
    stage_drop(stage, stage->door, PORT_CLOSE_FIN);
    stage->door = NULL;
    CHECK_EQUAL(try_listen(stage, &stage->door_at), 0);
    peer_close(peer, PORT_CLOSE_FIN);
    CHECK_EQUAL(try_listen(stage, &stage->door_at), 0);
}

static void listen_elsewhere(struct stage *stage)
{
    struct address at = stage_loopback();
    memcpy(at.ip.ip, (const unsigned char[]){203, 0, 113, 1}, 4);
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EADDRNOTAVAIL);
}

static void listen_forbidden(struct stage *stage)
{
    if (stage->ground->privileged(stage->world)) trial_skip("runs as root, who may take port 1");
    struct address at = stage_loopback();
    at.ip.port = 1;
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EACCES);
}

static void listen_on_nonsense(struct stage *stage)
{
    struct address at = {.kind = ADDRESS_FD, .fd = 987654};
    CHECK(try_listen(stage, &at) < 0);
    at.fd = -1;
    CHECK(try_listen(stage, &at) < 0);
    struct peer *peer;
    stage_pair(stage, &peer);
    at.fd = peer->id; /* a connection, not a listener */
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EINVAL);
    peer_write(peer, 1); /* and still open */
    at = (struct address){.kind = ADDRESS_NAME, .host = "localhost"};
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EINVAL);
}

static void listen_on_a_given_one(struct stage *stage)
{
    struct address loopback = stage_loopback(), at;
    intptr_t given;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 8, &given, &at), 0);
    struct address by_number = {.kind = ADDRESS_FD, .fd = given}, bound;
    struct actor *listener = stage_listener(stage, &by_number, NULL, &bound);
    stage_accept(stage, listener);
    peer_connect(stage, &at);
    AWAIT(stage, listener->newcomers == 1);
}

static void listen_without_descriptors(struct stage *stage)
{
    struct address at = stage_loopback();
    stage->ground->exhaust(stage->world, true);
    port_handle handle;
    int sys_error = 0;
    int err = port_listen(stage->port, &at, NULL, &handle, &sys_error);
    stage->ground->exhaust(stage->world, false);
    CHECK_EQUAL(err, SALLY_EEXHAUSTED);
    CHECK_EQUAL(try_listen(stage, &at), 0);
}

static void listen_on_unix_paths(struct stage *stage)
{
    struct address at = {.kind = ADDRESS_PATH}, bound;
    stage->ground->path(stage->world, at.host, ADDRESS_PATH_MAX);
    struct actor *listener = stage_listener(stage, &at, NULL, &bound);
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EADDRINUSE); /* a live one's */
    stage_drop(stage, listener, PORT_CLOSE_FIN);
    CHECK_EQUAL(try_listen(stage, &at), 0); /* a dead one's file, if it is still there */
    remove(at.host);
    FILE *file = fopen(at.host, "w");
    CHECK(file);
    fclose(file);
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EADDRINUSE); /* no socket at all: it stays */
    CHECK_EQUAL(remove(at.host), 0);
    memset(at.host, 'x', sizeof at.host - 1);
    CHECK_EQUAL(try_listen(stage, &at), SALLY_EADDRESS);
}

/* The same port of IPv4 may be another program's: then another one is tried. */
static bool v6_only_is_refused(struct stage *stage)
{
    struct port_listen_options options = {.v6_only = true};
    struct address any = {.kind = ADDRESS_ANY}, at;
    struct actor *listener = stage_listener(stage, &any, &options, &at);
    stage_accept(stage, listener);
    struct address to = stage_loopback6();
    to.ip.port = at.ip.port;
    peer_connect(stage, &to);
    AWAIT(stage, listener->newcomers == 1);
    struct actor *caller = stage_actor(stage);
    to = stage_loopback();
    to.ip.port = at.ip.port;
    stage_connect(stage, caller, &to, NULL);
    AWAIT(stage, caller->endings[PORT_CONNECT]);
    return caller->error[PORT_CONNECT] == SALLY_EREFUSED;
}

static void listen_v6_only(struct stage *stage)
{
    for (unsigned tries = 0; tries < 5; tries++)
        if (v6_only_is_refused(stage)) return;
    CHECK(false && "IPv4 is taken as well");
}

static void attach_sets_options(struct stage *stage)
{
    struct port_sock_options options = {.delay = true,
                                        .keepalive_s = 30,
                                        .user_timeout_ms = 5000,
                                        .send_buf_bytes = 65536,
                                        .recv_buf_bytes = 65536};
    struct peer *peer;
    stage_open_door(stage);
    for (unsigned i = 0; i < 2; i++) {
        peer = peer_connect(stage, &stage->door_at);
        AWAIT(stage, stage_has_newcomer(stage));
        struct actor *actor = stage_actor(stage);
        port_attach(stage->port, &actor->sock, stage->arrivals[stage->arrivals_head].handle,
                    &options);
        stage->arrivals_head++;
        stage->arrivals_len--;
        actor->tag_in = peer->tag_out = 6;
        stage_recv(stage, actor);
        UNTIL(stage, peer_wrote(peer, 20000) && actor->got == 20000);
        memset(&options, 0xff, sizeof options); /* nonsense is not told; the connection works */
        options.delay = true;
        options.recv_buf_bytes = options.send_buf_bytes = 1;
    }
}

static const struct rule rules[] = {
    {"M_01_create_fails_at_each_allocation_and_leaves_nothing", create_without_memory, NEEDS_BARE},
    {"M_02_create_without_descriptors", create_without_descriptors, NEEDS_BARE | NEEDS_REAL},
    {"M_03_create_and_destroy_owned_or_not", create_and_destroy, NEEDS_BARE},
    {"M_04_listen_where_somebody_listens", listen_in_use},
    {"M_05_listen_again_after_connections", listen_after_connections},
    {"M_06_listen_on_an_address_of_another_machine", listen_elsewhere, NEEDS_REAL},
    {"M_07_listen_where_it_is_forbidden", listen_forbidden, NEEDS_REAL},
    {"M_08_listen_on_what_can_t_listen", listen_on_nonsense},
    {"M_09_listen_on_a_given_descriptor", listen_on_a_given_one, NEEDS_REAL},
    {"M_10_listen_without_descriptors", listen_without_descriptors},
    {"M_11_listen_on_unix_paths", listen_on_unix_paths, NEEDS_REAL | NEEDS_UNIX},
    {"M_12_listen_on_IPv6_only", listen_v6_only, NEEDS_V6},
    {"M_13_options_never_cost_the_connection", attach_sets_options},
};
const struct rule_set rules_making = {rules, sizeof rules / sizeof rules[0]};
