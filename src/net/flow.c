/* Completions of sends, corks and drops; see flow.h. */
#include "net/flow.h"

#include "net/budget.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/file_send.h"
#include "net/produce.h"
#include "net/record.h"
#include "net/throttle.h"

enum { NOTES_MAX = 4096 };

static struct mem *flow__mem(const sally_conn *conn) { return &conn->shard->engine->mem; }

int flow_need(sally_conn *conn)
{
    if (conn->state == CONN_DIALING || !conn_extra(conn)) return SALLY_ENOMEM;
    struct flow **flow = &conn->extra->flow;
    if (!*flow) *flow = mem_zalloc(flow__mem(conn), sizeof **flow);
    return *flow ? 0 : SALLY_ENOMEM;
}

/* The flag says that progress and flush have to look here. */
void flow_flag(sally_conn *conn)
{
    const struct flow *flow = conn_flow(conn);
    bool limits = flow->throttle && flow->throttle->limits;
    bool busy = flow->notes || flow->corked || flow->producer || files_waiting(flow->files);
    if (busy || limits || flow->chain || conn->policy->has_budget)
        conn->flags |= CONN_FLOW;
    else
        conn->flags &= (uint16_t)~CONN_FLOW;
}

/* ---- Notes ---- */

struct note *flow_note(sally_conn *conn, sally_sent_fn done, void *arg, int *err)
{
    *err = flow_need(conn);
    if (!*err && conn_flow(conn)->notes == NOTES_MAX) {
        conn->flags |= CONN_DRAIN_DUE;
        *err = SALLY_EFULL;
    }
    if (*err) return NULL;
    struct note *note = mem_zalloc(flow__mem(conn), sizeof *note);
    if (!note) *err = SALLY_ENOMEM;
    if (note) *note = (struct note){.done = done, .arg = arg};
    return note;
}

void flow_append(sally_conn *conn, struct note *note)
{
    struct flow *flow = conn_flow(conn);
    note->at = conn->bytes_out + conn_queued(conn);
    if (flow->last)
        flow->last->next = note;
    else
        flow->first = note;
    flow->last = note;
    flow->notes++;
    flow_flag(conn);
    shard_mark_dirty(conn->shard, conn); /* there may be nothing to wait for */
}

void flow_give_back(sally_conn *conn, struct note *note)
{
    if (note) mem_free(flow__mem(conn), note, sizeof *note);
}

static void flow__tell_first(sally_conn *conn, bool sent)
{
    struct flow *flow = conn_flow(conn);
    struct note note = *flow->first;
    mem_free(flow__mem(conn), flow->first, sizeof note);
    flow->first = note.next;
    if (!flow->first) flow->last = NULL;
    flow->notes--;
    flow_flag(conn);
    note.done(conn, note.arg, sent && !note.dropped);
}

/* Those that the callbacks add are for the next time. */
void flow_notify(sally_conn *conn)
{
    uint32_t notes = conn_flow(conn) ? conn_flow(conn)->notes : 0;
    for (; notes && conn_flow(conn)->first->at <= conn->bytes_out; notes--)
        flow__tell_first(conn, true);
}

void flow_queued(sally_conn *conn)
{
    if (conn->policy->has_budget) budget_charge(conn);
}

void flow_took(sally_conn *conn, size_t bytes)
{
    if (conn_throttle(conn)) throttle_sent(conn, bytes);
    flow_notify(conn);
    if (conn->policy->has_budget) budget_charge(conn);
    produce_took(conn);
}

int sally_conn_when_sent(sally_conn *conn, sally_sent_fn done, void *arg)
{
    if (!conn_here(conn) || !done) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    int err;
    struct note *note = flow_note(conn, done, arg, &err);
    if (note) flow_append(conn, note);
    return err;
}

int sally_conn_send_owned(sally_conn *conn, const void *data, size_t len, sally_sent_fn done,
                          void *arg)
{
    if (!conn_here(conn) || (!data && len)) return SALLY_EINVAL;
    if (!done) return len ? conn_told(conn_send_ref(conn, data, len, NULL, NULL, 0)) : 0;
    int err;
    struct note *note = flow_note(conn, done, arg, &err);
    if (!note) return err;
    if (len == 0 && conn->state != CONN_OPEN) err = SALLY_ECLOSED;
    if (len) err = conn_send_ref(conn, data, len, NULL, NULL, 0);
    if (err < 0) {
        flow_give_back(conn, note);
        return err;
    }
    note->dropped = err == CONN_LET_GO;
    flow_append(conn, note);
    return 0;
}

/* ---- Cork ---- */

bool flow_holds(const sally_conn *conn)
{
    return conn_flow(conn) && conn_flow(conn)->corked && conn->state == CONN_OPEN &&
           !conn_has(conn, CONN_SHUT_ASKED) && !conn_flow(conn)->producer && !files_begun(conn) &&
           conn_queued(conn) <= conn->policy->send_high_bytes;
}

int sally_conn_cork(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    int err = flow_need(conn);
    if (err) return err;
    conn_flow(conn)->corked = true;
    flow_flag(conn);
    return 0;
}

int sally_conn_uncork(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!conn_flow(conn) || !conn_flow(conn)->corked) return 0;
    conn_flow(conn)->corked = false;
    flow_flag(conn);
    conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    shard_mark_dirty(conn->shard, conn);
    return 0;
}

/* ---- Drops ---- */

int flow_count_drop(sally_conn *conn, size_t bytes)
{
    int err = flow_need(conn);
    if (err) return err;
    record_add(conn, RECORD_DROPPED);
    conn_flow(conn)->dropped++;
    conn_flow(conn)->dropped_bytes += bytes;
    return 0;
}

/* Offsets are of the stream as it goes out, so those behind the gap move. Who waited for the
 * dropped bytes themselves is told in turn, with what became of them. */
void flow_dropped(sally_conn *conn, uint32_t before, uint32_t bytes)
{
    uint64_t from = conn->bytes_out + before;
    for (struct note *note = conn_flow(conn) ? conn_flow(conn)->first : NULL; note;
         note = note->next) {
        if (note->at <= from) continue;
        if (note->at <= from + bytes) note->dropped = true;
        note->at = note->dropped ? from : note->at - bytes;
    }
}

uint64_t sally_conn_dropped(const sally_conn *conn, uint64_t *bytes)
{
    const struct flow *flow = conn ? conn_flow(conn) : NULL;
    if (bytes) *bytes = flow ? flow->dropped_bytes : 0;
    return flow ? flow->dropped : 0;
}

/* ---- Room ---- */

/* The system has been given what is at the front: also when it is through with that, and the event
 * which says how much of it went is one of those at hand. */
static bool flow__front_is_given(const sally_conn *conn)
{
    const struct shard *shard = conn->shard;
    if (conn_in_flight(conn, PORT_SEND)) return true;
    for (const struct port_event *event = shard->event_next; event < shard->event_end; event++)
        if (event->sock == &conn->sock && event->op == PORT_SEND) return true;
    return false;
}

/* The oldest send that the system is not looking at yet. */
static bool flow__drop_oldest(sally_conn *conn)
{
    uint32_t before;
    unsigned kept = flow__front_is_given(conn) ? SEND_SPANS_MAX : conn->out.front > 0;
    uint32_t bytes = sendq_drop_unit(&conn->out, &conn->shard->pools, kept, &before);
    if (!bytes) return false;
    flow_dropped(conn, before, bytes);
    conn_return_foreign(conn, bytes);
    return flow_count_drop(conn, bytes) == 0;
}

int flow_judge(const sally_conn *conn, size_t len)
{
    if (conn->out.bytes > conn->policy->send_bytes_max - len) return SALLY_EFULL;
    return budget_judge(conn, len);
}

/* The queue has no room for len bytes: what the options say. */
static int flow__full(sally_conn *conn, size_t len)
{
    int err;
    conn->flags |= CONN_DRAIN_DUE;
    record_add(conn, RECORD_FULL);
    switch (conn->policy->at_full) {
    case SALLY_FULL_FAIL: return SALLY_EFULL;
    case SALLY_FULL_CLOSE:
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_SEND_LIMIT, SALLY_EFULL, 0);
        return SALLY_ECLOSED;
    case SALLY_FULL_DROP_OLDEST: do { err = flow_judge(conn, len);
        } while (err == SALLY_EFULL && flow__drop_oldest(conn));
        if (err != SALLY_EFULL) return err;
        break;
    case SALLY_FULL_DROP_NEWEST: break;
    }
    err = flow_count_drop(conn, len);
    return err ? err : CONN_LET_GO;
}

/* 0 when a send that may become so many bytes finds room as it is. */
static int flow__may_send(const sally_conn *conn, size_t most)
{
    if (conn->state != CONN_OPEN || conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT))
        return SALLY_ECLOSED;
    if (produce_runs(conn)) return SALLY_ESTATE;
    if (most > conn->policy->send_bytes_max) return SALLY_ELIMIT;
    return flow_judge(conn, most);
}

int flow_make_room_for(sally_conn *conn, size_t len, size_t most)
{
    int err = flow__may_send(conn, most);
    if (err != SALLY_EFULL) return err;
    return flow__full(conn, len);
}

int flow_make_sure_of_room(sally_conn *conn, size_t len)
{
    size_t most = conn_chain(conn) ? chain_max(conn, len) : len;
    bool drops = conn->policy->at_full == SALLY_FULL_DROP_OLDEST;
    int err;
    do err = flow__may_send(conn, most);
    while (err == SALLY_EFULL && drops && flow__drop_oldest(conn));
    if (err == SALLY_EFULL) conn->flags |= CONN_DRAIN_DUE;
    return err;
}

int flow_make_room(sally_conn *conn, size_t len) { return flow_make_room_for(conn, len, len); }

/* How many bytes there is room for now. */
static size_t flow__room(const sally_conn *conn)
{
    uint32_t max = conn->policy->send_bytes_max;
    size_t room = conn->out.bytes < max ? max - conn->out.bytes : 0;
    size_t budget = budget_room(conn);
    return budget < room ? budget : room;
}

int64_t sally_conn_send_some(sally_conn *conn, const void *data, size_t len)
{
    if (!conn_here(conn) || (!data && len)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN || conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT))
        return SALLY_ECLOSED;
    if (produce_runs(conn)) return SALLY_ESTATE;
    size_t room = flow__room(conn), some = len < room ? len : room;
    if (conn_chain(conn))
        some = chain_fits(conn, len < SENDQ_BYTES_LIMIT ? len : SENDQ_BYTES_LIMIT, room);
    if (len && !some && !conn->out.bytes) return SALLY_ENOMEM; /* nothing would bring on_drain */
    int err = some ? conn_send(conn, data, some) : 0;
    if (err) return err;
    if (some < len) conn->flags |= CONN_DRAIN_DUE;
    return (int64_t)some;
}

/* ---- Time ---- */

uint64_t flow_due_ms(const sally_conn *conn)
{
    if (!conn_has(conn, CONN_FLOW)) return WHEEL_NEVER;
    uint64_t limits_ms = throttle_due_ms(conn), producer_ms = produce_due_ms(conn);
    return limits_ms < producer_ms ? limits_ms : producer_ms;
}

void flow_on_timer(sally_conn *conn)
{
    throttle_on_timer(conn);
    produce_on_timer(conn);
}

void flow_closing(sally_conn *conn)
{
    throttle_closing(conn);
    produce_closing(conn);
}

bool flow_drain_is_over(const sally_conn *conn)
{
    return throttle_drain_is_over(conn) || produce_is_over(conn);
}

/* ---- End ---- */

void flow_end(sally_conn *conn)
{
    struct flow *flow = conn_flow(conn);
    if (!flow) return;
    while (flow->first) flow__tell_first(conn, flow->first->at <= conn->bytes_out);
    produce_end(conn);
}

void flow_free(sally_conn *conn)
{
    struct flow *flow = conn_flow(conn);
    if (!flow) return;
    record_drop(conn);
    throttle_free(conn);
    files_free(conn);
    chain_free(conn);
    mem_free(flow__mem(conn), flow, sizeof *flow);
    conn->extra->flow = NULL;
}
