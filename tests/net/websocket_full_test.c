/* WebSockets where a send is not at once what goes: full queues and what at_full says of them,
 * corks, groups, filters that fail, servers behind proxies. On each port. */
#include "net/support/ws_hall.h"
#include "sallyport/admission.h"
#include "sallyport/filter.h"
#include "sallyport/flow.h"
#include "sallyport/group.h"
#include "sallyport/proxy.h"

static enum hall_port port;

/* ---- Behind proxies ---- */

static sally_verdict send_off(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    return SALLY_FAREWELL;
}

/* Who is sent off behind a proxy's header becomes a guest, which is no WebSocket: its memory is
 * given back as it was taken, which hall_end finds out. */
static void a_farewell_behind_a_proxy_leaves_no_memory(void **state)
{
    static const char header[] = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
    static const sally_proxy_options proxy = {.trusted = "0.0.0.0/0"};
    static const sally_admission admission = {.farewell = "full", .farewell_bytes = 4};
    (void)state;
    struct hall *hall = hall_begin(
        port, &(struct hall_options){.handler.on_accept = send_off,
                                     .server = {.proxy = &proxy, .admission = &admission}});
    if (!hall) skip();
    struct peer peer = hall_dial(hall);
    peer_say(&peer, header, sizeof header - 1);
    assert_end(&peer, "full", 4);
    peer_leave(&peer);
    for (int ms = 0; sally_server_conns(hall->server) && ms < HALL_LIMIT_MS; ms++)
        hall_run(hall, 1);
    hall_end(hall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_farewell_behind_a_proxy_leaves_no_memory),
    };
    static const char *const names[] = {"uring or iocp", "epoll", "sim"};
    int failed = 0;
    for (port = 0; port < HALL_PORTS; port++)
        failed += cmocka_run_group_tests_name(names[port], tests, NULL, NULL);
    return failed != 0;
}
