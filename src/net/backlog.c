/* The sums of backlogs; see backlog.h. */
#include "net/backlog.h"

#include "net/listener.h"
#include "net/shard.h"

/* In the server, since a listener is to be no larger than a connection. */
static struct port_backlog *backlog__of(const struct listener *listener)
{
    sally_server *server = listener->server;
    return &server->backlogs[listener->address - server->addresses];
}

/* Differences wrap around as the numbers do. */
static void backlog__count(struct listener *listener, const struct port_backlog *now)
{
    sally_server *server = listener->server;
    struct port_backlog *last = backlog__of(listener);
    atomic_fetch_add(&server->backlog_waiting, now->waiting - last->waiting);
    atomic_fetch_add(&server->backlog_max, now->max - last->max);
    atomic_fetch_add(&server->backlog_dropped, (uint32_t)(now->dropped - last->dropped));
    *last = *now;
}

void backlog_ask(struct listener *listener)
{
    struct port_backlog now = *backlog__of(listener);
    if (port_backlog(listener->shard->port, listener->sock.handle, &now))
        backlog__count(listener, &now);
}

void backlog_forget(struct listener *listener)
{
    struct port_backlog none = {.dropped = backlog__of(listener)->dropped};
    backlog__count(listener, &none);
    backlog__of(listener)->dropped = 0; /* the next socket counts from there */
}
