/* Servers that read the PROXY header, on every port there is: the client behind it, splits, rules,
 * refusals, the end. What Linux' addresses and descriptors can show beside is in proxy_protocol and
 * proxy_waiting. */
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "port/port.h"
#include "sallyport/admission.h"
#include "sallyport/proxy.h"

#define LINE "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"

static sally_proxy_options proxy;
static sally_admission admission;
static uint32_t features_off;

/* Everybody who comes is a trusted proxy, who is told who its client is. */
static void greet(sally_conn *conn)
{
    char peer[64], to[64], line[160];
    int len = snprintf(line, sizeof line, "%s %s\n", sally_conn_peer(conn, peer, sizeof peer),
                       sally_conn_proxied_to(conn, to, sizeof to));
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, line, (size_t)len) == 0);
}

static struct stage *begin(const struct stage_way *way, sally_server_options server)
{
    if (!proxy.trusted) proxy.trusted = "127.0.0.1";
    server.proxy = &proxy;
    server.admission = &admission;
    return stage_begin(way,
                       &(struct stage_options){.handler = {.on_open = greet, .on_data = stage_echo},
                                               .engine.port_features_off = features_off,
                                               .server = server});
}

static void end(struct stage *stage)
{
    stage_end(stage);
    memset(&proxy, 0, sizeof proxy);
    memset(&admission, 0, sizeof admission);
    features_off = 0;
}

static void assert_read(int fd, const char *wanted)
{
    char got[512];
    size_t len = strlen(wanted);
    assert_true(len < sizeof got && raw_read(fd, got, len));
    assert_memory_equal(got, wanted, len);
}

static int client_with(const struct stage *stage, const char *first, size_t len)
{
    int fd = raw_connect(stage->address, 0);
    assert_true(fd >= 0);
    assert_true(raw_send(fd, first, len));
    return fd;
}

/* Reset, or closed where the system had read all of it. */
static void assert_gone(int fd)
{
    uint64_t bytes = 0;
    enum raw_end how = raw_read_to_end(fd, &bytes);
    assert_true(how == RAW_RST || how == RAW_FIN);
    assert_int_equal(bytes, 0);
    raw_close(fd);
}

static void the_client_is_who_the_header_names(const struct stage_way *way)
{
    static const char binary[] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"
                                 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
                                 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\x12\x67\1\xbb";
    struct stage *stage = begin(way, (sally_server_options){0});
    int fd = client_with(stage, LINE "hello", sizeof LINE - 1 + 5);
    assert_read(fd, "203.0.113.7:4711 198.51.100.1:443\nhello");
    assert_true(raw_send(fd, LINE, sizeof LINE - 1)); /* now it is data */
    assert_read(fd, LINE);
    raw_finish(fd);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    fd = client_with(stage, binary, sizeof binary - 1);
    assert_read(fd, "[2001:db8::7]:4711 [2001:db8::9]:443\n");
    raw_close(fd);
    end(stage);
}

/* Also where the port starts each receive again. */
static void a_header_comes_byte_by_byte(const struct stage_way *way)
{
    features_off = PORT_NO_MULTISHOT_RECV;
    struct stage *stage = begin(way, (sally_server_options){0});
    int fd = raw_connect(stage->address, 0);
    assert_true(fd >= 0);
    for (size_t at = 0; at + 1 < sizeof LINE; at++) {
        assert_int_equal(atomic_load(&stage->opened), 0);
        assert_true(raw_send(fd, &LINE[at], 1));
        stage_nap();
    }
    assert_read(fd, "203.0.113.7:4711 ");
    raw_close(fd);
    end(stage);
}

static void a_stream_follows_the_header(const struct stage_way *way)
{
    enum { BYTES = 400000 };
    struct stage *stage = begin(way, (sally_server_options){0});
    int fd = client_with(stage, LINE, sizeof LINE - 1);
    for (uint64_t at = 0; at < BYTES; at += 20000)
        assert_true(raw_send_pattern(fd, 3, at, 20000, 3000));
    assert_read(fd, "203.0.113.7:4711 198.51.100.1:443\n");
    assert_true(raw_check(fd, 3, 0, BYTES, 0));
    raw_close(fd);
    end(stage);
}

static void a_ban_is_of_the_client(const struct stage_way *way)
{
    assert_int_equal(sally_bans_create(&admission.bans, NULL), 0);
    sally_bans *bans = admission.bans;
    assert_int_equal(sally_bans_add(bans, "203.0.113.0/24", SALLY_FOREVER, NULL), 0);
    assert_int_equal(sally_bans_add(bans, "127.0.0.0/8", SALLY_FOREVER, NULL), 0);
    struct stage *stage = begin(way, (sally_server_options){0});
    assert_gone(client_with(stage, LINE, sizeof LINE - 1));
    assert_int_equal(stage_refused(stage, SALLY_REFUSED_BANNED), 1);
    int fd = client_with(stage, "PROXY TCP4 192.0.2.1 1.1.1.1 1 2\r\n", 34);
    assert_read(fd, "192.0.2.1:1 1.1.1.1:2\n");
    raw_close(fd);
    end(stage);
    sally_bans_destroy(bans);
}

static void who_is_silent_or_wrong_is_cut(const struct stage_way *way)
{
    enum { SILENT = 5 };
    int fds[SILENT];
    proxy.header_ms = 200;
    struct stage *stage = begin(way, (sally_server_options){0});
    for (int i = 0; i < SILENT; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    assert_gone(client_with(stage, "GET / HTTP/1.0\r\n", 16));
    for (int i = 0; i < SILENT; i++) assert_gone(fds[i]);
    assert_int_equal(stage_refused(stage, SALLY_REFUSED_PROXY_LATE), SILENT);
    assert_int_equal(stage_refused(stage, SALLY_REFUSED_PROXY_MALFORMED), 1);
    assert_int_equal(sally_server_proxy_waiting(stage->server), 0);
    assert_int_equal(atomic_load(&stage->opened) + atomic_load(&stage->closed), 0);
    end(stage);
}

static void who_is_not_trusted_is_refused(const struct stage_way *way)
{
    proxy.trusted = "127.0.0.2, 10.0.0.0/8";
    struct stage *stage = begin(way, (sally_server_options){0});
    int fd = raw_connect(stage->address, 0);
    if (fd >= 0) {
        (void)raw_send(fd, LINE, sizeof LINE - 1);
        assert_gone(fd);
    }
    STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_PROXY_UNTRUSTED) == 1);
    end(stage);
}

static void an_engine_ends_while_some_wait(const struct stage_way *way)
{
    enum { SILENT = 8 };
    int fds[SILENT];
    struct stage *stage = begin(way, (sally_server_options){0});
    for (int i = 0; i < SILENT; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    STAGE_WAIT(sally_server_proxy_waiting(stage->server) == SILENT);
    stage_destroy_engine(stage);
    for (int i = 0; i < SILENT; i++) raw_close(fds[i]);
    end(stage);
}

int main(int argc, char **argv)
{
    static const struct stage_test tests[] = {
        STAGE_TEST(the_client_is_who_the_header_names), STAGE_TEST(a_header_comes_byte_by_byte),
        STAGE_TEST(a_stream_follows_the_header),        STAGE_TEST(a_ban_is_of_the_client),
        STAGE_TEST(who_is_silent_or_wrong_is_cut),      STAGE_TEST(who_is_not_trusted_is_refused),
        STAGE_TEST(an_engine_ends_while_some_wait),
    };
    return stage_run("net/proxy_header", tests, sizeof tests / sizeof tests[0], argc, argv);
}
