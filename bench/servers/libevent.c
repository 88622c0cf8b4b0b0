/* libevent's bufferevents, as its book recommends them: the input buffer is moved to the output
 * buffer, no locks, epoll with its change list. One thread. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>

#include "inbox.h"
#include "members.h"
#include "server.h"

struct conn {
    struct bufferevent *bev;
    struct inbox inbox;
    uint32_t place;
};

static enum server_mode mode;
static struct members members;

static void on_echo(struct bufferevent *bev, void *unused)
{
    (void)unused;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void fan_out(void *from, const char *messages, uint64_t len)
{
    for (uint32_t n = 0; n < members.count; n++) {
        struct conn *conn = members.all[n];
        if (conn != from) bufferevent_write(conn->bev, messages, len);
    }
}

static void on_messages(struct bufferevent *bev, void *context)
{
    static char bytes[SERVER_READ_BYTES];
    struct conn *conn = context;
    for (size_t len; (len = bufferevent_read(bev, bytes, sizeof bytes)) > 0;)
        inbox_take(&conn->inbox, bytes, len, fan_out, conn);
}

static void on_event(struct bufferevent *bev, short events, void *context)
{
    struct conn *conn = context;
    if (!(events & (BEV_EVENT_EOF | BEV_EVENT_ERROR))) return;
    if (conn) members_remove(&members, conn->place);
    free(conn);
    bufferevent_free(bev);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *addr, int len, void *context)
{
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    struct conn *conn = NULL;
    (void)addr, (void)len, (void)context;
    if (!bev) server_die("bufferevent_socket_new");
    if (mode == SERVER_FANOUT) {
        conn = server_memory(1, sizeof *conn);
        conn->bev = bev;
        members_add(&members, conn, &conn->place);
    }
    bufferevent_set_max_single_read(bev, SERVER_READ_BYTES);
    bufferevent_set_max_single_write(bev, SERVER_READ_BYTES);
    bufferevent_setcb(bev, conn ? on_messages : on_echo, NULL, on_event, conn);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    struct server_options options = server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT);
    struct event_config *config = event_config_new();
    int fd = server_listen(options.port);
    mode = options.mode;
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) ||
        event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST))
        server_die("event_config");
    struct event_base *base = event_base_new_with_config(config);
    if (!base) server_die("event_base_new_with_config");
    if (!evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_EXEC, -1, fd))
        server_die("evconnlistener_new");
    server_ready(server_port(fd));
    return event_base_dispatch(base) < 0;
}
