/* Servers' addresses: every written form serves, every error is judged at once and leaves nothing
 * behind, and closing a server ends its addresses and nothing else. One process, the engine's
 * threads and the test's. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/support/accept_tools.h"

enum { PATH_BYTES = 100 };

static void path_new(char *path)
{
    static unsigned number;
    snprintf(path, PATH_BYTES, "/tmp/sally-listen-%d-%u", (int)getpid(), number++);
}

static bool is_socket_file(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

static int listen_error(struct rig *rig, const char *where, const sally_server_options *options)
{
    struct tally tally;
    tally_init(&tally);
    sally_handler handler = tally_handler(&tally);
    sally_server *server = (sally_server *)&tally;
    size_t bytes = atomic_load(&rig->ledger.bytes);
    int descriptors = descriptors_open();
    int err = sally_listen(rig->engine, where, &handler, options, &server);
    check(err != 0);
    check(server == (sally_server *)&tally);
    /* a running engine may be busy with something else */
    until(descriptors_open() <= descriptors);
    if (sally_engine_get_state(rig->engine) != SALLY_ENGINE_CREATED) return err;
    check_equal(atomic_load(&rig->ledger.bytes), bytes);
    check_equal(descriptors_open(), descriptors);
    return err;
}

/* ---- Forms ---- */

static void every_written_form_serves(const struct setting *setting)
{
    char path[PATH_BYTES], unix_path[TEXT_MAX], abstract[TEXT_MAX], adopted[TEXT_MAX];
    char address[TEXT_MAX], given[TEXT_MAX];
    struct rig rig;
    path_new(path);
    rig_open(&rig, setting);
    snprintf(unix_path, sizeof unix_path, "unix:%s", path);
    snprintf(abstract, sizeof abstract, "unix:@sally-%d", (int)getpid());
    int door = doorway(16, given);
    snprintf(adopted, sizeof adopted, "fd:%d", door);
    const struct {
        const char *where;
        const char *reached; /* NULL: as reported */
    } forms[] = {
        {"127.0.0.1:0", NULL},  {"[::1]:0", NULL},    {"localhost:0", NULL},
        {unix_path, unix_path}, {abstract, abstract}, {adopted, given},
    };
    rig_start(&rig);
    struct tally tally;
    tally_init(&tally);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        serve_at(&rig, forms[i].where, &tally, NULL, address);
        check(forms[i].reached || address_port(address) != 0);
        if (forms[i].reached) check(strcmp(address, forms[i].reached) == 0);
        check_echo(address);
    }
    until(tally_live(&tally) == 0);
    check_equal(atomic_load(&tally.opened), sizeof forms / sizeof forms[0]);
    check_error(sally_engine_destroy(rig.engine), 0);
    check(fcntl(door, F_GETFD) < 0 && errno == EBADF);
    check(access(path, F_OK) != 0);
    rig_check_clean(&rig);
    tally_check(&tally);
}

static void a_star_serves_both_families(const struct setting *setting)
{
    char address[TEXT_MAX], v4[TEXT_MAX], v6[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    serve_at(&rig, "*:0", &tally, NULL, address);
    snprintf(v4, sizeof v4, "127.0.0.1:%u", address_port(address));
    snprintf(v6, sizeof v6, "[::1]:%u", address_port(address));
    check_echo(v4);
    check_echo(v6);
    rig_end(&rig);
    tally_check(&tally);
}

static void v6_only_leaves_ipv4_to_others(const struct setting *setting)
{
    static const sally_server_options only = {.v6_only = true};
    char address[TEXT_MAX], v4[TEXT_MAX], v6[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    int err = SALLY_EADDRINUSE;
    rig_run(&rig, &tally, setting);
    sally_server *other = serve_at(&rig, "127.0.0.1:0", &tally, NULL, NULL);
    /* a socket of another program may have the port of the system's choice with IPv4 */
    for (int tries = 0; tries < 20 && err == SALLY_EADDRINUSE; tries++) {
        sally_server *server = serve_at(&rig, "[::]:0", &tally, &only, address);
        snprintf(v4, sizeof v4, "127.0.0.1:%u", address_port(address));
        snprintf(v6, sizeof v6, "[::1]:%u", address_port(address));
        bool refused = dial_try(v4) < 0 && errno == ECONNREFUSED;
        check_echo(v6);
        err = sally_server_add(other, v4);
        check(refused || err == SALLY_EADDRINUSE);
        if (err) check_error(sally_server_close(server), 0);
    }
    check_error(err, 0);
    check_echo(v4);
    check_echo(v6);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_v6_wildcard_takes_ipv4_peers_unless_told_not_to(const struct setting *setting)
{
    char address[TEXT_MAX], v4[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    serve_at(&rig, "[::]:0", &tally, NULL, address);
    snprintf(v4, sizeof v4, "127.0.0.1:%u", address_port(address));
    check_echo(v4);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_listener_on_one_address_is_not_on_another(const struct setting *setting)
{
    char address[TEXT_MAX], other[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    serve(&rig, &tally, NULL, address);
    snprintf(other, sizeof other, "[::1]:%u", address_port(address));
    check(dial_try(other) < 0 && errno == ECONNREFUSED);
    check_echo(address);
    rig_end(&rig);
}

static void addresses_are_reported_in_order_and_no_further(const struct setting *setting)
{
    char address[TEXT_MAX], tiny[4];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_open(&rig, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check(address_port(address) != 0);
    check_error(sally_server_add(server, "[::1]:0"), 0);
    check(sally_server_address(server, 1, address, sizeof address) == address);
    check(strncmp(address, "[::1]:", 6) == 0 && address_port(address) != 0);
    check(sally_server_address(server, 2, address, sizeof address) == NULL);
    check(sally_server_address(server, 0, tiny, sizeof tiny) == tiny);
    check(strcmp(tiny, "127") == 0);
    check(sally_server_address(server, 0, tiny, 0) == NULL);
    check(sally_server_user(server) == &tally);
    rig_end(&rig);
}

/* ---- Errors ---- */

static void an_unreadable_address_leaves_nothing(const struct setting *setting)
{
    static const char *const texts[] = {
        "",
        ":",
        ":80",
        "*",
        "*:",
        "**:80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1:080",
        "127.0.0.1:0x50",
        "127.0.0.1:http",
        "127.0.0.1:80:90",
        "1.2.3:80",
        "1:80",
        "0x7f.1:80",
        "256.0.0.1:80",
        "1.2.3.4.5:80",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[::1:80",
        "[::1]80",
        "[]:80",
        "[1.2.3.4]:80",
        "[::1%lo]:80",
        "[fe80::1%]:80",
        "[fe80::1%nosuchif]:80",
        "tcp://127.0.0.1:80",
        "-host:80",
        "host-:80",
        "a..b:80",
        "host name:80",
        "unix:",
        "unix:relative",
        "unix:@",
        "unix:/",
        "fd:",
        "fd:-1",
        "fd:x",
        "fd: 3",
        "fd:03",
        "fd:99999999999",
        "fd:3:80",
    };
    struct rig rig;
    rig_open(&rig, setting);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int err = listen_error(&rig, texts[i], NULL);
        if (err != SALLY_EADDRESS) fprintf(stderr, "%s: %s\n", texts[i], sally_err_name(err));
        check_error(err, SALLY_EADDRESS);
    }
    char text[700];
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 4, ":80", 4);
    check_error(listen_error(&rig, text, NULL), SALLY_EADDRESS);
    memcpy(text, "unix:/", 6);
    check_error(listen_error(&rig, text, NULL), SALLY_EADDRESS);
    text[5 + 108] = 0; /* one more than fits with its 0 */
    check_error(listen_error(&rig, text, NULL), SALLY_EADDRESS);
    rig_end(&rig);
}

static void arguments_out_of_range_are_refused(const struct setting *setting)
{
    static const sally_server_options wrong[] = {
        {.backlog = -1},
        {.at_limit = (sally_at_limit)3},
        {.at_limit = (sally_at_limit)-1},
        {.unix_mode = 01000},
        {.conn = {.send_bytes_max = UINT32_MAX}},
        {.conn = {.send_bytes_max = 1000, .send_high_bytes = 1001}},
        {.conn = {.send_high_bytes = 1000, .send_low_bytes = 1001}},
    };
    struct rig rig;
    rig_open(&rig, setting);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        check_error(listen_error(&rig, "127.0.0.1:0", &wrong[i]), SALLY_EINVAL);
    sally_handler handler = {0};
    check_error(sally_listen(NULL, "127.0.0.1:0", &handler, NULL, NULL), SALLY_EINVAL);
    check_error(sally_listen(rig.engine, NULL, &handler, NULL, NULL), SALLY_EINVAL);
    check_error(sally_listen(rig.engine, "127.0.0.1:0", NULL, NULL, NULL), SALLY_EINVAL);
    check_error(sally_server_add(NULL, "127.0.0.1:0"), SALLY_EINVAL);
    rig_end(&rig);
}

static void an_address_that_cant_be_had_is_told_at_once(const struct setting *setting)
{
    char taken[TEXT_MAX];
    struct rig rig;
    rig_open(&rig, setting);
    int door = doorway(1, taken);
    check_error(listen_error(&rig, taken, NULL), SALLY_EADDRINUSE);
    check_error(listen_error(&rig, "192.0.2.1:0", NULL), SALLY_EADDRNOTAVAIL);
    check_error(listen_error(&rig, "[2001:db8::1]:0", NULL), SALLY_EADDRNOTAVAIL);
    check_error(listen_error(&rig, "nobody.invalid:80", NULL), SALLY_ENONAME);
    check(listen_error(&rig, "unix:/nosuchfolder/socket", NULL) != 0);
    hang_up(door);
    rig_end(&rig);
}

static void child_without_rights(const struct setting *setting)
{
    struct rig rig;
    rig_open(&rig, setting);
    if (getuid() == 0) check(setresuid(65534, 65534, 65534) == 0);
    check_error(listen_error(&rig, "127.0.0.1:1", NULL), SALLY_EACCES);
    check_error(listen_error(&rig, "unix:/root/sally", NULL), SALLY_EACCES);
    check_error(sally_engine_destroy(rig.engine), 0);
}

static void missing_rights_are_told_at_once(const struct setting *setting)
{
    in_child(child_without_rights, setting);
}

static void a_second_server_on_a_port_fails_and_the_first_goes_on(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig, other;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    rig_open(&other, setting);
    check_error(listen_error(&rig, address, NULL), SALLY_EADDRINUSE);
    check_error(listen_error(&other, address, NULL), SALLY_EADDRINUSE);
    static const sally_server_options share = {.share_port = true};
    check_error(listen_error(&other, address, &share), SALLY_EADDRINUSE);
    check_error(sally_server_add(server, address), SALLY_EADDRINUSE);
    check_echo(address);
    rig_end(&other);
    rig_end(&rig);
}

static void a_port_is_shared_when_both_ask_for_it(const struct setting *setting)
{
    static const sally_server_options share = {.share_port = true};
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    serve(&rig, &tally, &share, address);
    serve_at(&rig, address, &tally, &share, NULL);
    for (int i = 0; i < 20; i++) check_echo(address);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- Unix sockets ---- */

static void a_live_unix_socket_is_left_alone(const struct setting *setting)
{
    char path[PATH_BYTES], where[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    path_new(path);
    snprintf(where, sizeof where, "unix:%s", path);
    rig_open(&rig, setting);
    rig_start(&rig);
    serve_at(&rig, where, &tally, NULL, NULL);
    check_error(listen_error(&rig, where, NULL), SALLY_EADDRINUSE);
    check(is_socket_file(path));
    check_echo(where);
    rig_end(&rig);
    check(access(path, F_OK) != 0);
}

static void a_dead_unix_socket_is_replaced(const struct setting *setting)
{
    char path[PATH_BYTES], where[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    path_new(path);
    snprintf(where, sizeof where, "unix:%s", path);
    rig_open(&rig, setting);
    rig_start(&rig);
    struct sockaddr_storage at;
    socklen_t len = address_of(where, &at);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    check(bind(dead, (struct sockaddr *)&at, len) == 0 && listen(dead, 1) == 0);
    close(dead);
    check(is_socket_file(path));
    serve_at(&rig, where, &tally, NULL, NULL);
    check_echo(where);
    rig_end(&rig);
    check(access(path, F_OK) != 0);
}

static void a_file_that_is_no_socket_is_never_replaced(const struct setting *setting)
{
    char path[PATH_BYTES], where[TEXT_MAX], text[8] = {0};
    struct rig rig;
    path_new(path);
    snprintf(where, sizeof where, "unix:%s", path);
    rig_open(&rig, setting);
    int file = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    check(write(file, "mine", 4) == 4);
    check_error(listen_error(&rig, where, NULL), SALLY_EADDRINUSE);
    check(pread(file, text, 4, 0) == 4 && strcmp(text, "mine") == 0);
    check(access(path, F_OK) == 0);
    close(file);
    rig_end(&rig);
    check(unlink(path) == 0);
}

static void a_unix_socket_has_the_permissions_asked_for(const struct setting *setting)
{
    static const uint32_t modes[][2] = {{0, 0600}, {0660, 0660}, {0777, 0777}};
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_open(&rig, setting);
    for (int i = 0; i < 3; i++) {
        char path[PATH_BYTES], where[TEXT_MAX];
        struct stat status;
        sally_server_options options = {.unix_mode = modes[i][0]};
        path_new(path);
        snprintf(where, sizeof where, "unix:%s", path);
        serve_at(&rig, where, &tally, &options, NULL);
        check(lstat(path, &status) == 0);
        check_equal(status.st_mode & 0777, modes[i][1]);
    }
    rig_end(&rig);
}

/* ---- Given descriptors ---- */

static void a_descriptor_of_the_wrong_kind_is_refused_and_stays_open(const struct setting *setting)
{
    char address[TEXT_MAX], where[TEXT_MAX];
    struct rig rig;
    int pipes[2], wrong[6];
    rig_open(&rig, setting);
    check(pipe(pipes) == 0);
    int door = doorway(4, address);
    wrong[0] = pipes[0];
    wrong[1] = socket(AF_INET, SOCK_DGRAM, 0);
    wrong[2] = socket(AF_INET, SOCK_STREAM, 0);
    wrong[3] = dial(address);
    wrong[4] = open("/dev/null", O_RDONLY);
    wrong[5] = pipes[1];
    for (int i = 0; i < 6; i++) {
        snprintf(where, sizeof where, "fd:%d", wrong[i]);
        check_error(listen_error(&rig, where, NULL), SALLY_EINVAL);
        check(fcntl(wrong[i], F_GETFD) >= 0);
    }
    check(listen_error(&rig, "fd:19999", NULL) != 0);
    for (int i = 0; i < 6; i++) close(wrong[i]);
    hang_up(door);
    rig_end(&rig);
}

/* ---- Many, more, and closing ---- */

static void ten_servers_share_an_engine_with_their_own_limits(const struct setting *setting)
{
    enum { SERVERS = 10, EACH = 6 };
    struct tally tallies[SERVERS];
    sally_server *servers[SERVERS];
    char addresses[SERVERS][TEXT_MAX];
    int clients[SERVERS][EACH];
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    int threads = threads_running();
    for (unsigned i = 0; i < SERVERS; i++) {
        sally_server_options options = {.conns_max = i == 3 ? 2 : 0,
                                        .at_limit = SALLY_AT_LIMIT_RESET};
        tally_init(&tallies[i]);
        servers[i] = serve(&rig, &tallies[i], &options, addresses[i]);
    }
    for (unsigned k = 0; k < EACH; k++) {
        for (unsigned i = 0; i < SERVERS; i++) {
            clients[i][k] = dial(addresses[i]);
            bool served = echoes(clients[i][k]);
            check(served == (i != 3 || k < 2));
        }
    }
    check_equal(threads_running(), threads);
    for (unsigned i = 0; i < SERVERS; i++) {
        check_equal(sally_server_conns(servers[i]), i == 3 ? 2 : EACH);
        check_equal(atomic_load(&tallies[i].opened), i == 3 ? 2 : EACH);
        check_equal(server_stats(servers[i]).refused, i == 3 ? EACH - 2 : 0);
        hang_up_all(clients[i], EACH);
    }
    for (unsigned i = 0; i < SERVERS; i++) until(sally_server_conns(servers[i]) == 0);
    rig_end(&rig);
    for (unsigned i = 0; i < SERVERS; i++) tally_check(&tallies[i]);
}

static void addresses_can_be_added_up_to_sixty_four(const struct setting *setting)
{
    char address[TEXT_MAX], taken[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int door = doorway(1, taken);
    sally_server *server = serve(&rig, &tally, NULL, address);
    for (int i = 1; i < 64; i++) {
        check_error(sally_server_add(server, taken), SALLY_EADDRINUSE);
        check_error(sally_server_add(server, "nonsense"), SALLY_EADDRESS);
        check_error(sally_server_add(server, "127.0.0.1:0"), 0);
    }
    check_error(sally_server_add(server, "127.0.0.1:0"), SALLY_ELIMIT);
    for (unsigned i = 0; i < 64; i++) {
        check(sally_server_address(server, i, address, sizeof address) == address);
        check_echo(address);
    }
    until(server_stats(server).armed == 64);
    check_equal(server_stats(server).listeners, 64);
    check_error(sally_server_close(server), 0);
    check_error(sally_server_add(server, "127.0.0.1:0"), SALLY_ESTATE);
    hang_up(door);
    rig_end(&rig);
}

static void a_closed_server_refuses_and_its_connections_live_on(const struct setting *setting)
{
    char path[PATH_BYTES], where[TEXT_MAX], address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    path_new(path);
    snprintf(where, sizeof where, "unix:%s", path);
    rig_open(&rig, setting);
    rig_start(&rig);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check_error(sally_server_add(server, where), 0);
    int by_ip = dial(address), by_path = dial(where);
    check(echoes(by_ip) && echoes(by_path));
    check_error(sally_server_close(server), 0);
    check_error(sally_server_close(server), 0);
    check_error(sally_server_resume(server), SALLY_ESTATE);
    until(server_stats(server).listeners == 0);
    check_equal(server_stats(server).armed, 0);
    check(dial_try(address) < 0 && errno == ECONNREFUSED);
    check(dial_try(where) < 0 && errno == ENOENT);
    check(access(path, F_OK) != 0);
    check(echoes(by_ip) && echoes(by_path));
    serve_at(&rig, address, &tally, NULL, NULL); /* both are free for others */
    serve_at(&rig, where, &tally, NULL, NULL);
    check_echo(address);
    check_echo(where);
    check(echoes(by_ip) && echoes(by_path));
    hang_up(by_ip);
    hang_up(by_path);
    rig_end(&rig);
    tally_check(&tally);
}

static void an_engine_that_stops_opens_nothing(const struct setting *setting)
{
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, NULL);
    check_error(sally_engine_stop(rig.engine), 0);
    check_error(listen_error(&rig, "127.0.0.1:0", NULL), SALLY_ESTATE);
    check_error(sally_server_add(server, "127.0.0.1:0"), SALLY_ESTATE);
    rig_end(&rig);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(every_written_form_serves, ON_BOTH),
        BEHAVIOUR(a_star_serves_both_families, ON_ONE),
        BEHAVIOUR(v6_only_leaves_ipv4_to_others, ON_ONE),
        BEHAVIOUR(a_v6_wildcard_takes_ipv4_peers_unless_told_not_to, ON_ONE),
        BEHAVIOUR(a_listener_on_one_address_is_not_on_another, ON_ONE),
        BEHAVIOUR(addresses_are_reported_in_order_and_no_further, ON_ONE),
        BEHAVIOUR(an_unreadable_address_leaves_nothing, ON_ONE),
        BEHAVIOUR(arguments_out_of_range_are_refused, ON_ONE),
        BEHAVIOUR(an_address_that_cant_be_had_is_told_at_once, ON_ONE),
        BEHAVIOUR(missing_rights_are_told_at_once, ON_ONE),
        BEHAVIOUR(a_second_server_on_a_port_fails_and_the_first_goes_on, ON_BOTH),
        BEHAVIOUR(a_port_is_shared_when_both_ask_for_it, ON_ONE),
        BEHAVIOUR(a_live_unix_socket_is_left_alone, ON_ONE),
        BEHAVIOUR(a_dead_unix_socket_is_replaced, ON_ONE),
        BEHAVIOUR(a_file_that_is_no_socket_is_never_replaced, ON_ONE),
        BEHAVIOUR(a_unix_socket_has_the_permissions_asked_for, ON_ONE),
        BEHAVIOUR(a_descriptor_of_the_wrong_kind_is_refused_and_stays_open, ON_ONE),
        BEHAVIOUR(ten_servers_share_an_engine_with_their_own_limits, ON_BOTH),
        BEHAVIOUR(addresses_can_be_added_up_to_sixty_four, ON_BOTH),
        BEHAVIOUR(a_closed_server_refuses_and_its_connections_live_on, ON_BOTH),
        BEHAVIOUR(an_engine_that_stops_opens_nothing, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
