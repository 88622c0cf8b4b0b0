/* Accepting with data: newcomers that say nothing. Each has taken a posted accept, which ends only
 * with its first bytes. So beside those that are held some accepts always wait for newcomers: who
 * speaks at once finds one, however many are silent, and how many are silent is known. A look finds
 * by the system's own account which accepts have a newcomer, cuts those whose time is over and the
 * oldest of too many, and posts accepts until enough wait again. It comes every so many ms, when
 * the next one's time is over, and when the system says that somebody found no accept: then twice
 * as many wait from there on. No memory; the owning thread. */
#include "port/iocp.h"

enum { MS_PER_S = 1000 };

static bool is_over(const struct iocp_port *port, uint32_t at_ms)
{
    return (int32_t)(at_ms - port->now_ms) <= 0;
}

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
static void cut(struct iocp_port *port, struct iocp_accepts *block, struct iocp_accept *accept)
{
    iocp_row_move(accept, &block->cut, block->cut.last);
    (void)IOCP_CALL(port, close, accept->handle);
}

/* Since when it has had a newcomer. Whole seconds, rounded down: it came at that time or before. */
static bool has_newcomer(struct iocp_port *port, struct iocp_accept *accept)
{
    int32_t seconds = -1;
    if (!accept->op.owed) return false;
    if (IOCP_CALL(port, connect_time, accept->handle, &seconds) != 0 || seconds < 0) return false;
    accept->since_ms = port->now_ms - (uint32_t)seconds * MS_PER_S;
    return true;
}

/* Who is found now came after those found before, and those found now, when the system's seconds
 * don't tell, in the order in which their accepts were posted. The last posted is asked first: one
 * that comes between two questions is then not taken for older than those before it. */
static void find_silent(struct iocp_port *port, struct iocp_accepts *block)
{
    struct iocp_accept *known = block->silent.last;
    for (struct iocp_accept *accept = block->waiting.last, *prev; accept; accept = prev) {
        prev = accept->prev;
        if (!has_newcomer(port, accept)) continue;
        if (known && (int32_t)(accept->since_ms - known->since_ms) < 0)
            accept->since_ms = known->since_ms;
        struct iocp_accept *after = known, *next = known ? known->next : block->silent.first;
        for (; next && (int32_t)(next->since_ms - accept->since_ms) < 0; next = next->next)
            after = next;
        iocp_row_move(accept, &block->silent, after);
    }
}

static void cut_silent(struct iocp_port *port, struct iocp_accepts *block)
{
    uint32_t limit_ms = block->sock->data_ms;
    for (struct iocp_accept *oldest; (oldest = block->silent.first);) {
        bool late = port->now_ms - oldest->since_ms >= limit_ms;
        if (!late && block->silent.count <= block->held_max) return;
        cut(port, block, oldest);
    }
}

/* Where the system gives no more accepts, one who is silent makes room for who may speak. */
static void give_one(struct iocp_port *port, struct iocp_accepts *block)
{
    if (block->waiting.count || block->cut.count || !block->silent.first) return;
    cut(port, block, block->silent.first);
}

/* With none left twice as many are posted, and before anything else: until then the next one waits,
 * and Wine's one server turns without a pause. The last posted stands for all of them, which is
 * right where they are served in that order; elsewhere more are posted a little later. True while
 * the block is there. */
static bool post_more(struct iocp_port *port, struct iocp_accepts *block)
{
    struct port_sock *sock = block->sock;
    struct iocp_accept *last = block->waiting.last;
    uint32_t most = iocp_spares_max(port), taken = 0;
    if (sock->marks & IOCP_LACKING) return true;
    if (!last || has_newcomer(port, last)) {
        block->wanted = block->wanted < most / 2 ? 2 * block->wanted : most;
        taken = block->waiting.count;
    }
    block->wanted += taken;
    iocp_accept_fill(port, sock); /* one that fails may end it */
    if (iocp_own(sock)->accepts != block) return false;
    block->wanted -= taken;
    return true;
}

static void look_at(struct iocp_port *port, struct iocp_accepts *block)
{
    struct port_sock *sock = block->sock;
    if (sock->state != IOCP_OPEN || (sock->marks & IOCP_STOP)) return;
    if (!post_more(port, block)) return;
    find_silent(port, block);
    cut_silent(port, block);
    if (!post_more(port, block)) return;
    if (sock->marks & IOCP_LACKING) give_one(port, block);
    if (block->signal && !(sock->marks & IOCP_LACKING))
        port->calls->signal_again(port->calls->ctx, block->signal);
    if (!block->silent.first) return;
    uint32_t due_ms = block->silent.first->since_ms + sock->data_ms;
    if ((int32_t)(due_ms - port->look_ms) < 0) port->look_ms = due_ms;
}

void iocp_hold_look(struct iocp_port *port)
{
    if (!is_over(port, port->look_ms)) return;
    port->look_ms = port->now_ms + IOCP_LOOK_MS;
    for (struct iocp_accepts *block = port->speaking, *next; block; block = next) {
        next = block->next;
        look_at(port, block);
    }
}

/* Not at once: the time is known anew before the next wait, and more may have come by then. */
void iocp_hold_news(struct iocp_port *port) { port->look_ms = port->now_ms; }
