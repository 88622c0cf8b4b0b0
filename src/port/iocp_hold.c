/* Accepting with data: newcomers that say nothing. A posted accept ends only with the first bytes,
 * so each of them takes one. Beside them some accepts always wait for newcomers: who speaks at once
 * finds one, and how many are silent is known. When none waits any more there is a crowd, and
 * posting an accept for each of it would cost far more than it is worth: those at the listener are
 * then taken by plain accepts, as sockets with nothing posted, which are asked all together who has
 * spoken and cut by closing them. The few that are kept are watched by the listener's signal.
 *
 * A look finds by the system's own account which accepts have a newcomer, takes who waits, hands
 * over who has spoken, cuts those whose time is over and the oldest of too many, and posts accepts
 * until enough wait again. It comes every so many ms, when the next one's time is over, and when
 * the system says that somebody found no accept or that a watched one has spoken. Memory: the first
 * bytes of who has spoken; the owning thread. */
#include "port/iocp.h"

#include "os/error.h"
#include "sallyport/error.h"

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

/* --- those taken --- */

/* It is handed out as its end. */
static void end_taken(struct iocp_port *port, struct iocp_accept *accept)
{
    struct iocp_accepts *block = iocp_own(accept->listener)->accepts;
    iocp_row_move(accept, &block->ended, block->ended.last);
    iocp_push_due(port, accept->listener);
}

/* Who has waited longest at the listener; false: nobody, or the system gives no more. An error is
 * that newcomer's, as a posted accept's is. */
static bool take_one(struct iocp_port *port, struct iocp_accepts *block)
{
    struct iocp_accept *accept = block->free.first;
    int sys = IOCP_CALL(port, take, block->sock->handle, &accept->handle);
    if (sys) accept->handle = PORT_NO_HANDLE;
    if (sys == WIN32_WSAEWOULDBLOCK) return false;
    if (sys && os_error_map(sys) == SALLY_EEXHAUSTED) {
        iocp_accept_lack(port, block->sock);
        return false;
    }
    accept->taken = true;
    accept->sys = sys;
    accept->since_ms = port->now_ms;
    if (sys)
        end_taken(port, accept);
    else
        iocp_row_move(accept, &block->silent, block->silent.last);
    return true;
}

/* Places for what is posted stay. */
static void take_crowd(struct iocp_port *port, struct iocp_accepts *block)
{
    bool more = !block->waiting.count && !(block->sock->marks & IOCP_LACKING);
    for (uint32_t left = IOCP_TAKE_MAX; more && left; left--) {
        if (block->free.count <= block->posted_max) break;
        more = take_one(port, block);
    }
    block->crowd = more;
}

/* Without memory a later look tries again. */
static void read_first(struct iocp_port *port, struct iocp_accept *accept)
{
    uint32_t got = 0;
    accept->buf = mem_alloc(port->port.mem, IOCP_FIRST_BUF_BYTES);
    if (!accept->buf) return;
    int sys = IOCP_CALL(port, read, accept->handle, accept->buf, WIN32_FIRST_BYTES, &got);
    if (sys == WIN32_WSAEWOULDBLOCK) {
        mem_free(port->port.mem, accept->buf, IOCP_FIRST_BUF_BYTES);
        accept->buf = NULL;
        return;
    }
    accept->sys = sys;
    accept->op.overlapped.bytes = sys ? 0 : got;
    end_taken(port, accept);
}

/* Who of them has spoken or has gone, in the order of their coming. */
static void hear_taken(struct iocp_port *port, struct iocp_accepts *block)
{
    struct iocp_accept *asked[WIN32_LOOK_MAX];
    port_handle handles[WIN32_LOOK_MAX];
    bool there[WIN32_LOOK_MAX];
    for (struct iocp_accept *accept = block->silent.first; accept;) {
        uint32_t count = 0;
        for (; accept && count < WIN32_LOOK_MAX; accept = accept->next) {
            if (!accept->taken) continue;
            handles[count] = accept->handle;
            asked[count++] = accept;
        }
        if (!count || IOCP_CALL(port, look, handles, count, there) != 0) return;
        for (uint32_t i = 0; i < count; i++)
            if (there[i]) read_first(port, asked[i]);
    }
}

/* When the crowd is through, so that who was cut has not cost it. One that can't be watched is
 * heard at the next look. False: there are more. */
static bool watch_taken(struct iocp_port *port, struct iocp_accepts *block)
{
    uint32_t left = IOCP_TAKE_MAX;
    if (!block->signal) return true;
    for (struct iocp_accept *accept = block->silent.first; accept; accept = accept->next) {
        if (!accept->taken || accept->watched) continue;
        if (!left--) return false;
        accept->watched = true;
        (void)IOCP_CALL(port, watch, block->signal, accept->handle);
    }
    return true;
}

void iocp_hold_drop(struct iocp_port *port, struct iocp_accepts *block)
{
    for (struct iocp_accept *accept = block->silent.first, *next; accept; accept = next) {
        next = accept->next;
        if (!accept->taken) continue;
        (void)IOCP_CALL(port, close, accept->handle);
        iocp_accept_free(port, accept);
    }
}

/* --- all that are silent --- */

/* A posted accept ends by that, and is told as its end. */
static void cut(struct iocp_port *port, struct iocp_accepts *block, struct iocp_accept *accept)
{
    accept->late = true;
    if (!accept->taken) iocp_row_move(accept, &block->cut, block->cut.last);
    (void)IOCP_CALL(port, close, accept->handle);
    if (!accept->taken) return;
    accept->handle = PORT_NO_HANDLE;
    accept->sys = WIN32_ERROR_OPERATION_ABORTED;
    end_taken(port, accept);
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

static void look_at(struct iocp_port *port, struct iocp_accepts *block)
{
    struct port_sock *sock = block->sock;
    if (sock->state != IOCP_OPEN || (sock->marks & IOCP_STOP)) return;
    find_silent(port, block);
    take_crowd(port, block);
    hear_taken(port, block);
    cut_silent(port, block);
    iocp_accept_fill(port, sock); /* one that fails may end it */
    if (iocp_own(sock)->accepts != block) return;
    if (sock->marks & IOCP_LACKING) give_one(port, block);
    if (block->crowd || !watch_taken(port, block))
        port->look_ms = port->now_ms;
    else if (block->signal && !(sock->marks & IOCP_LACKING))
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
