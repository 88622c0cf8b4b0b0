/* port_sim_ops: newcomers of a listener that accepts with data, until they have said something.
 * They have a descriptor and belong to nobody; what they do is seen when the listener's accept is
 * looked at. One thread. */
#include <assert.h>
#include <string.h>

#include "port/sim.h"

static uint64_t now_ns(const struct sim_link *link) { return link->port->world->now_ns; }

static void held_notify(void *owner, unsigned notices)
{
    if (notices & SIM_READABLE) sim_ops_poke(owner, PORT_ACCEPT);
}

static struct sim_sock *take_out(struct sim_link *link, uint32_t i)
{
    struct sim_sock *s = link->held[i].s;
    link->held_len--;
    memmove(&link->held[i], &link->held[i + 1], (link->held_len - i) * sizeof *link->held);
    s->notify = NULL;
    s->owner = NULL;
    return s;
}

static void tell_lost(struct sim_link *link, uint32_t i, int error)
{
    struct port_event event = {
        .op = PORT_ACCEPT, .more = true, .error = error, .accepted = PORT_NO_HANDLE};
    sim_tcp_close(take_out(link, i), PORT_CLOSE_FIN);
    sim_descriptor_give(link->port->world);
    sim_port_push(link, &event);
}

/* Half of them with their first bytes, as a completion port reads them. */
static void tell_newcomer(struct sim_link *link, uint32_t i)
{
    struct sim_sock *s = take_out(link, i);
    struct port_event event = {.op = PORT_ACCEPT, .more = true, .accepted = (port_handle)s->number};
    sim_address_of(&s->remote, &event.peer);
    if (sim_below(link->port->world, 2)) (void)sim_port_lend(link, s, &event);
    sim_port_push(link, &event);
}

/* One whose fate is known; false when there is none. */
static bool judge_one(struct sim_link *link)
{
    for (uint32_t i = 0; i < link->held_len; i++) {
        const struct sim_sock *s = link->held[i].s;
        if (s->rx.len)
            tell_newcomer(link, i);
        else if (s->fin_received || s->error)
            tell_lost(link, i, SALLY_ERESET);
        else if (link->held[i].due_ns <= now_ns(link))
            tell_lost(link, i, SALLY_ETIMEDOUT);
        else
            continue;
        return true;
    }
    return false;
}

static void admit(struct sim_link *link)
{
    if (link->held_len == link->held_max) tell_lost(link, 0, SALLY_ETIMEDOUT);
    struct sim_sock *s = sim_tcp_accept(link->s);
    s->descriptor = true;
    s->owner = link;
    s->notify = held_notify;
    link->held[link->held_len++] =
        (struct sim_held){.s = s, .due_ns = now_ns(link) + link->sock->data_ms * SIM_MS};
}

static void set_alarm(struct sim_link *link)
{
    if (!link->held_len || link->held_alarm_ns == link->held[0].due_ns) return;
    link->held_alarm_ns = link->held[0].due_ns;
    sim_world_later(link->port->world, link->held_alarm_ns - now_ns(link), SIM_MAKE, link->number,
                    PORT_ACCEPT);
}

void sim_hold_begin(struct sim_link *link, uint32_t held_max)
{
    assert(held_max > 0);
    link->held_max = held_max;
    link->held = sim_alloc(link->port->world, held_max * sizeof *link->held);
}

void sim_hold_end(struct sim_link *link)
{
    while (link->held_len) {
        sim_tcp_close(take_out(link, 0), PORT_CLOSE_RST);
        sim_descriptor_give(link->port->world);
    }
    sim_free(link->port->world, link->held, link->held_max * sizeof *link->held);
    link->held = NULL;
}

/* Without a descriptor the one that waits longest makes room. */
bool sim_hold_make(struct sim_link *link)
{
    bool done = judge_one(link);
    if (!done && link->s->backlog_len) {
        done = true;
        if (sim_descriptor_take(link->port->world))
            admit(link);
        else if (link->held_len)
            tell_lost(link, 0, SALLY_ETIMEDOUT);
        else
            return false;
    }
    if (done)
        sim_ops_poke(link, PORT_ACCEPT);
    else
        set_alarm(link);
    return true;
}
