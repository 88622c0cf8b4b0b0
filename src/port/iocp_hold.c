/* Accepting with data: newcomers that say nothing. Each has taken a posted accept, which ends only
 * with its first bytes; so who says nothing uses them up. The system tells when somebody waits at
 * the listener and no accept is left, and then more are posted, as many as may wait in all; past
 * that the oldest is cut. How long one has been connected is asked of the system by a look in so
 * many ms, also when nobody new comes. No memory; the owning thread. */
#include "port/iocp.h"

enum { MS_PER_S = 1000 };

void iocp_hold_begin(struct iocp_port *port, struct iocp_accepts *block)
{
    block->next = port->speaking;
    port->speaking = block;
    if (!block->next) port->look_ms = port->now_ms + IOCP_LOOK_MS;
    /* without it a look finds them a bit later */
    (void)IOCP_CALL(port, signal, block->sock->handle, port->handle, IOCP_KEY_NEWCOMER,
                    &block->signal);
}

void iocp_hold_end(struct iocp_port *port, struct iocp_accepts *block)
{
    struct iocp_accepts **link = &port->speaking;
    while (*link != block) link = &(*link)->next;
    *link = block->next;
    if (block->signal) port->calls->signal_end(port->calls->ctx, block->signal);
    block->signal = NULL;
}

/* The accept ends by that, and is told as its end. */
static void cut(struct iocp_port *port, struct iocp_accept *accept)
{
    accept->cut = true;
    (void)IOCP_CALL(port, close, accept->handle);
}

static bool is_silent(const struct iocp_accept *accept)
{
    return accept->op.owed && accept->connected && !accept->cut;
}

static void ask(struct iocp_port *port, struct iocp_accept *accept)
{
    int32_t seconds = -1;
    if (!accept->op.owed || accept->connected || accept->cut) return;
    if (IOCP_CALL(port, connect_time, accept->handle, &seconds) != 0 || seconds < 0) return;
    accept->connected = true;
    accept->since_ms = port->now_ms - (uint32_t)seconds * MS_PER_S;
}

static struct iocp_accept *oldest(struct iocp_port *port, struct iocp_accepts *block)
{
    struct iocp_accept *found = NULL;
    for (uint32_t i = 0; i < block->depth; i++) {
        struct iocp_accept *accept = &block->accepts[i];
        ask(port, accept);
        if (!is_silent(accept)) continue;
        if (!found || (int32_t)(accept->number - found->number) < 0) found = accept;
    }
    return found;
}

static bool any_cut(const struct iocp_accepts *block)
{
    for (uint32_t i = 0; i < block->depth; i++)
        if (block->accepts[i].cut) return true;
    return false;
}

/* One whose cut is on its way makes room. */
static void make_room(struct iocp_port *port, struct iocp_accepts *block)
{
    bool waits = false;
    if (block->sock->state != IOCP_OPEN || (block->sock->marks & (IOCP_STOP | IOCP_LACKING)))
        return;
    if (IOCP_CALL(port, has_newcomer, block->sock->handle, &waits) != 0 || !waits) return;
    if (block->wanted < block->depth) {
        uint32_t more = block->wanted + port->accept_depth;
        block->wanted = more < block->depth ? more : block->depth;
        iocp_accept_fill(port, block->sock);
        return;
    }
    struct iocp_accept *accept = any_cut(block) ? NULL : oldest(port, block);
    if (accept) cut(port, accept);
}

void iocp_hold_news(struct iocp_port *port)
{
    for (struct iocp_accepts *block = port->speaking, *next; block; block = next) {
        next = block->next; /* a fill that fails may end the block */
        make_room(port, block);
    }
}

void iocp_hold_look(struct iocp_port *port)
{
    if ((int32_t)(port->look_ms - port->now_ms) > 0) return;
    port->look_ms = port->now_ms + IOCP_LOOK_MS;
    for (struct iocp_accepts *block = port->speaking; block; block = block->next) {
        uint32_t limit_ms = block->sock->data_ms;
        for (uint32_t i = 0; i < block->depth; i++) {
            struct iocp_accept *accept = &block->accepts[i];
            ask(port, accept);
            if (is_silent(accept) && port->now_ms - accept->since_ms >= limit_ms) cut(port, accept);
        }
    }
    iocp_hold_news(port);
}
