/* The turn of a shard; see shard.h. */
#include "net/shard.h"

#include <assert.h>
#include <string.h>

#include "filter/stack.h"
#include "net/bandwidth.h"
#include "net/budget.h"
#include "net/buf.h"
#include "net/cast.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/letter.h"
#include "net/listener.h"
#include "net/user_timer.h"

enum {
    TURN_LETTERS_MAX = 16384,
    TURN_TIMERS_MAX = 4096,
    LISTENER_SLOTS = SERVER_LISTENERS_MAX * 4,
    TRIM_MS = 1000,
    DIRTY_LINK_MAX = (1 << (SLOTS_INDEX_BITS + 1)) - 1,
};

/* Of what is called from two places and runs for every request. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
/* Of what is rare: registers that it needs would be saved for each request too. */
#define NEVER_INLINE __attribute__((noinline))

_Thread_local struct shard *shard_of_thread;

/* ---- Making and freeing ---- */

static int shard__port(struct shard *shard)
{
    const sally_engine *engine = shard->engine;
    struct port_config config = {
        .mem = &shard->engine->mem,
        .socks = &shard->slots,
        .buf_bytes = engine->options.recv_buf_bytes,
        .bufs_max = engine->options.recv_bufs,
        .features_off = engine->options.port_features_off,
        .world = engine->host.world,
    };
    return port_create(engine->host.ops, &config, &shard->port);
}

static void shard__release(struct shard *shard)
{
    struct mem *mem = &shard->engine->mem;
    port_destroy(shard->port);
    user_timers_free(shard);
    mem_free(mem, shard->filter_rooms, STACK_ROOMS_BYTES);
    if (shard->inbound)
        mem_free(mem, shard->inbound, shard->slots.capacity * sizeof *shard->inbound);
    sendq_pools_free(&shard->pools);
    slots_free(&shard->slots);
    mailbox_free(&shard->mailbox);
    mem_free(mem, shard, sizeof *shard);
}

int shard_create(struct shard **out, sally_engine *engine, unsigned index)
{
    const sally_engine_options *options = &engine->options;
    struct shard *shard = mem_zalloc(&engine->mem, sizeof *shard);
    if (!shard) return SALLY_ENOMEM;
    shard->engine = engine;
    shard->index = index;
    uint32_t capacity = engine->conns_max + LISTENER_SLOTS + ENGINE_GUESTS_MAX;
    if (capacity > 1u << SLOTS_INDEX_BITS) capacity = 1u << SLOTS_INDEX_BITS;
    int err = slots_init(&shard->slots, &engine->mem, sizeof(sally_conn), capacity, UINT32_MAX);
    if (err) {
        mem_free(&engine->mem, shard, sizeof *shard);
        return err;
    }
    err = sendq_pools_init(&shard->pools, &engine->mem, options->send_chunk_bytes,
                           options->send_chunks_max);
    if (err) {
        slots_free(&shard->slots);
        mem_free(&engine->mem, shard, sizeof *shard);
        return err;
    }
    mailbox_init(&shard->mailbox, &engine->mem, options->mailbox_letters_max,
                 options->mailbox_bytes_max);
    refusals_init(&shard->refusals);
    shard->inbound = mem_zalloc(&engine->mem, capacity * sizeof *shard->inbound);
    err = shard->inbound ? shard__port(shard) : SALLY_ENOMEM;
    if (err) {
        shard__release(shard);
        return err;
    }
    wheel_init(&shard->wheel, engine_now_ms(engine));
    shard->trim.kind = TIMER_TRIM;
    shard->now_ms = engine_now_ms(engine);
    *out = shard;
    return 0;
}

void shard_destroy(struct shard *shard)
{
    if (!shard) return;
    cast_abandon(shard);
    for (struct mail *mail; (mail = mailbox_take(&shard->mailbox));) letter_dispose(shard, mail);
    buf_take_back(shard);
    shard__release(shard);
}

/* splitmix64 from one number of the system's: asking it each time would be a call for each. */
uint64_t shard_random(struct shard *shard, uint64_t below)
{
    const struct host *host = &shard->engine->host;
    if (!shard->random && host->random) shard->random = host->random(host->ctx);
    uint64_t z = shard->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return below ? (z ^ z >> 31) % below : 0;
}

/* ---- From other threads ---- */

void shard_wake(struct shard *shard) { port_wake(shard->port); }

bool shard_promise(struct shard *shard)
{
    /* promised first and looked at then: a shard that ends says so first and looks at this then */
    atomic_fetch_add(&shard->conns, 1);
    if (!atomic_load(&shard->ended)) return true;
    shard_withdraw(shard);
    return false;
}

void shard_withdraw(struct shard *shard)
{
    atomic_fetch_sub(&shard->conns, 1);
    if (engine_stopping(shard->engine)) shard_wake(shard); /* it may have waited for it */
}

int shard_post(struct shard *shard, struct letter *letter, bool must)
{
    int posted = mailbox_post(&shard->mailbox, letter, must);
    if (posted == SALLY_EFULL) shard_refused(shard);
    if (posted > 0) shard_posted(shard);
    return posted < 0 ? posted : 0;
}

void shard_posted(struct shard *shard)
{
    if (shard_current() != shard) shard_wake(shard);
}

void shard_refused(struct shard *shard)
{
    atomic_fetch_add_explicit(&shard->letters_refused, 1, memory_order_relaxed);
}

/* ---- The parts of a turn ---- */

void shard_mark_dirty_slow(struct shard *shard, sally_conn *conn)
{
    conn->flags |= CONN_DIRTY;
    conn->dirty_next = 0;
    if (shard->dirty_tail)
        shard->dirty_tail->dirty_next = (conn->sock.slot.index + 1) & DIRTY_LINK_MAX;
    else
        shard->dirty_head = conn;
    shard->dirty_tail = conn;
}

/* What is marked while this runs waits for the next call, which the turn makes before it sleeps. */
static ALWAYS_INLINE void shard__progress(struct shard *shard)
{
    sally_conn *conn = shard->dirty_head;
    shard->dirty_head = shard->dirty_tail = NULL;
    for (sally_conn *next; conn; conn = next) {
        next = conn->dirty_next ? slots_at(&shard->slots, conn->dirty_next - 1) : NULL;
        conn->flags &= (uint16_t)~CONN_DIRTY;
        if (conn->state == CONN_GONE)
            conn_release(conn);
        else
            conn_progress(conn);
    }
}

static ALWAYS_INLINE void shard__dispatch(struct shard *shard, const struct port_event *event)
{
    if (port_event_is_bytes(event)) {
        conn_on_bytes((sally_conn *)event->sock, event);
        return;
    }
    port_count(shard->port, event);
    if (event->sock->role == ROLE_CONN)
        conn_on_event((sally_conn *)event->sock, event);
    else
        listener_on_event((struct listener *)(void *)event->sock, event);
}

static ALWAYS_INLINE void shard__events(struct shard *shard)
{
    struct port_event *events = shard->events;
    struct port *port = shard->port;
    uint32_t left = shard->engine->options.turn_events_max;
    shard->events_left = false;
    for (;;) {
        unsigned count = port_take_uncounted(port, events, left < SHARD_BATCH ? left : SHARD_BATCH);
        if (!count) return;
        shard->event_end = events + count;
        for (unsigned i = 0; i < count; i++) {
            shard->event_next = &events[i + 1];
            shard__dispatch(shard, &events[i]);
        }
        if (shard->dirty_head) shard__progress(shard);
        if (shard->spin.limit_ns) spin_event(&shard->spin, shard->now_ns);
        if (port->emptied) return;
        left -= count;
        if (!left) break;
        if (count == SHARD_BATCH) port_flush(port);
    }
    shard->events_left = true;
}

static NEVER_INLINE void shard__letters(struct shard *shard)
{
    cast_new_turn(shard);
    uint64_t handled = letters_handle(shard, TURN_LETTERS_MAX);
    if (!handled) return;
    counter_add(&shard->counters.letters, handled);
    spin_event(&shard->spin, shard->now_ns);
    if (!timer_is_set(&shard->trim))
        wheel_set(&shard->wheel, &shard->trim, shard->now_ms + TRIM_MS);
}

static void shard__trim(struct shard *shard)
{
    if (mailbox_trim(&shard->mailbox))
        wheel_set(&shard->wheel, &shard->trim, shard->now_ms + TRIM_MS);
}

static NEVER_INLINE void shard__timers(struct shard *shard)
{
    wheel_advance(&shard->wheel, shard->now_ms);
    struct timer *timer;
    for (int fired = 0; fired < TURN_TIMERS_MAX && (timer = wheel_pop_due(&shard->wheel));
         fired++) {
        unsigned char *base = (unsigned char *)timer;
        if (timer->kind == TIMER_CONN)
            conn_on_timer((sally_conn *)(void *)(base - offsetof(sally_conn, timer)));
        else if (timer->kind == TIMER_TRIM)
            shard__trim(shard);
        else if (timer->kind == TIMER_LANE)
            lane_on_timer(timer);
        else if (timer->kind == TIMER_CLIENT)
            client_on_timer((sally_client *)(void *)(base - offsetof(sally_client, timer)));
        else if (timer->kind == TIMER_USER)
            user_timer_on_timer(
                shard, (struct user_timer *)(void *)(base - offsetof(struct user_timer, timer)));
        else if (timer->kind == TIMER_LISTENER)
            listener_on_timer((struct listener *)(void *)(base - offsetof(struct listener, timer)));
    }
}

static void shard__retry(struct shard *shard)
{
    for (struct listener *listener = shard->listeners, *next; listener; listener = next) {
        next = listener->next;
        listener_on_release(listener);
    }
}

/* ---- The end ---- */

void shard_each_conn(struct shard *shard, void (*fn)(sally_conn *conn, void *arg), void *arg)
{
    for (uint32_t i = 0; i < shard->slots.capacity; i++) {
        struct port_sock *sock = slots_at(&shard->slots, i);
        if (!sock) break;
        /* a name that another thread has just taken is seen with nothing in it */
        bool taken = atomic_load_explicit(&sock->slot.generation, memory_order_acquire) & 1;
        if (taken && sock->role == ROLE_CONN) fn((sally_conn *)sock, arg);
    }
}

static void stop__gently(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn->state == CONN_NEW) return;
    if (conn_jobs(conn)) atomic_fetch_add(&conn->shard->engine->stop_jobs, conn_jobs(conn));
    conn_close_after_jobs(conn);
}

static void stop__cut(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn->state == CONN_NEW || conn->state >= CONN_ENDING) return;
    sally_engine *engine = conn->shard->engine;
    bool drained = atomic_load(&engine->stop_deadline_ms) != 0;
    if (conn_jobs(conn)) atomic_fetch_add(&engine->stop_jobs_cut, conn_jobs(conn));
    if (conn_jobs(conn) && conn->shard->stop_seen == STOP_NO)
        atomic_fetch_add(&engine->stop_jobs, conn_jobs(conn));
    if (!conn_is_unknown(conn)) conn->cut = true;
    conn_end(conn, conn->out.bytes ? PORT_CLOSE_RST : PORT_CLOSE_FIN,
             drained ? SALLY_CLOSE_DRAIN_TIMEOUT : SALLY_CLOSE_SHUTDOWN, SALLY_ECANCELED, 0);
}

static void shard__stop_level(struct shard *shard, int level)
{
    if (level == STOP_DRAIN && shard->now_ms >= atomic_load(&shard->engine->stop_deadline_ms)) {
        atomic_store(&shard->engine->stop_level, STOP_NOW);
        level = STOP_NOW;
    }
    if (shard->stop_seen < level) {
        if (shard->stop_seen == STOP_NO) {
            shard__retry(shard); /* listeners end */
            clients_on_stopping(shard);
        }
        shard_each_conn(shard, level == STOP_DRAIN ? stop__gently : stop__cut, NULL);
        shard->stop_seen = (uint8_t)level;
    }
}

static bool shard__has_conns(struct shard *shard)
{
    return slots_taken(&shard->slots) || atomic_load(&shard->conns) ||
           mailbox_has(&shard->mailbox) || shard->clients;
}

static bool shard__has_work(struct shard *shard)
{
    return shard__has_conns(shard) || user_timers_count(shard);
}

/* True when nothing is left: connections, promised ones among them, listeners, letters; timers,
 * which end when all those have. */
static bool shard__at_end(struct shard *shard)
{
    if (shard->dirty_head || shard__has_conns(shard)) return false;
    user_timers_end(shard);
    if (shard->dirty_head || shard__has_work(shard)) return false;
    /* said first and looked at then: who brings something promises it first and asks then */
    atomic_store(&shard->ended, true);
    if (shard__has_work(shard)) {
        atomic_store(&shard->ended, false);
        return false;
    }
    engine_shard_ended(shard->engine);
    return true;
}

/* ---- The turn ---- */

static ALWAYS_INLINE uint64_t shard__next_ms(const struct shard *shard)
{
    uint64_t next = wheel_next_ms(&shard->wheel);
    int level = atomic_load_explicit(&shard->engine->stop_level, memory_order_relaxed);
    if (level != STOP_DRAIN) return next;
    uint64_t deadline = atomic_load(&shard->engine->stop_deadline_ms);
    return deadline < next ? deadline : next;
}

uint64_t shard_next_ms(const struct shard *shard) { return shard__next_ms(shard); }

/* What a turn seldom finds, in one test: mail, the rest of a message to many, connections that were
 * marked meanwhile, listeners that wait, buffers that other threads released, a budget, the end of
 * the engine. */
static ALWAYS_INLINE bool shard__has_more(const struct shard *shard)
{
    const sally_engine *engine = shard->engine;
    return mailbox_waits(&shard->mailbox) | (uintptr_t)shard->cast | (uintptr_t)shard->dirty_head |
           (uintptr_t)atomic_load_explicit(&shard->returned, memory_order_relaxed) |
           atomic_load_explicit(&shard->retry, memory_order_relaxed) |
           (uintptr_t)atomic_load_explicit(&engine->stop_level, memory_order_relaxed) |
           atomic_load_explicit(&engine->has_budget, memory_order_relaxed);
}

/* How long it may sleep, seen from a moment; 0 when something is to be done that no event
 * announces. */
static uint32_t shard__patience_ms(const struct shard *shard, uint64_t now_ms)
{
    if (shard->events_left || mailbox_has(&shard->mailbox) || shard->dirty_head) return 0;
    if (shard->cast) return 0;
    if (atomic_load_explicit(&shard->retry, memory_order_relaxed)) return 0;
    uint64_t next = shard__next_ms(shard);
    if (next <= now_ms) return 0;
    return next - now_ms < SALLY_FOREVER ? (uint32_t)(next - now_ms) : SALLY_FOREVER;
}

uint32_t shard_patience_ms(const struct shard *shard)
{
    return shard__patience_ms(shard, engine_now_ms(shard->engine));
}

/* Whether the port ends the wait in time by itself. */
static bool shard__alarm(struct shard *shard, uint32_t delay_ms)
{
    uint64_t due_ms = shard->now_ms + delay_ms;
    if (shard->alarm_ms > shard->now_ms && shard->alarm_ms <= due_ms) return true;
    if (!port_alarm(shard->port, delay_ms)) return false;
    shard->alarm_ms = due_ms;
    return true;
}

/* Nearly always: nothing is left to do, and the port's alarm rings before the next timer is due.
 * What others have brought since the last turn has woken the port. */
static ALWAYS_INLINE bool shard__sleeps_on(const struct shard *shard)
{
    return shard->alarm_ms > shard->now_ms && shard->alarm_ms <= wheel_next_ms(&shard->wheel) &&
           !shard->found_more && !shard->dirty_head && !shard->spin.time_ns;
}

static NEVER_INLINE uint32_t shard__choose_ms(struct shard *shard, uint32_t timeout_ms)
{
    /* the last turn's time: a turn is short, and reading the clock twice in each is not free */
    uint32_t patience_ms = shard__patience_ms(shard, shard->now_ms);
    if (timeout_ms < patience_ms) {
        patience_ms = timeout_ms;
    } else if (patience_ms && patience_ms != PORT_FOREVER && shard__alarm(shard, patience_ms)) {
        patience_ms = PORT_FOREVER;
    }
    if (patience_ms && spin_on(&shard->spin, shard->now_ns)) {
        patience_ms = 0;
        counter_add(&shard->counters.spins, 1);
    }
    return patience_ms;
}

static ALWAYS_INLINE void shard__wait(struct shard *shard, uint32_t timeout_ms)
{
    if (shard->events_left) {
        port_flush(shard->port);
        return;
    }
    if (timeout_ms != PORT_FOREVER || !shard__sleeps_on(shard))
        timeout_ms = shard__choose_ms(shard, timeout_ms);
    int err = port_wait(shard->port, timeout_ms);
    if (err)
        engine_log(shard->engine, SALLY_LOG_ERROR, "shard %u: the port failed: %s", shard->index,
                   sally_strerror(err));
}

static NEVER_INLINE void shard__mail(struct shard *shard)
{
    if (mailbox_has(&shard->mailbox) || shard->cast) shard__letters(shard);
    if (atomic_load_explicit(&shard->returned, memory_order_relaxed)) buf_take_back(shard);
    if (atomic_load_explicit(&shard->retry, memory_order_relaxed) &&
        atomic_exchange(&shard->retry, false))
        shard__retry(shard);
}

/* The end of a turn that found more than events. */
static NEVER_INLINE bool shard__close_turn(struct shard *shard)
{
    int level = atomic_load_explicit(&shard->engine->stop_level, memory_order_relaxed);
    if (level) shard__stop_level(shard, level);
    if (shard->dirty_head) shard__progress(shard);
    if (atomic_load_explicit(&shard->engine->has_budget, memory_order_relaxed)) budget_turn(shard);
    return level && shard__at_end(shard);
}

bool shard_turn(struct shard *shard, uint32_t timeout_ms)
{
    struct shard *outer = shard_current();
    if (atomic_load_explicit(&shard->ended, memory_order_relaxed)) return true;
    shard_of_thread = shard;
    shard__wait(shard, timeout_ms);
    shard->now_ns = engine_now_ns(shard->engine);
    shard->now_ms = shard->now_ns / 1000000;
    shard__events(shard);
    bool ended = false;
    shard->found_more = shard__has_more(shard);
    if (shard->found_more) shard__mail(shard);
    if (shard->now_ms >= wheel_next_ms(&shard->wheel)) {
        shard__timers(shard);
        shard->found_more = true;
    }
    if (shard->found_more) ended = shard__close_turn(shard);
    counter_add(&shard->counters.turns, 1);
    shard_of_thread = outer;
    return ended;
}

void shard_thread(void *arg)
{
    struct shard *shard = arg;
    shard->owner = os_thread_self();
    shard->spin.limit_ns = shard->engine->options.spin_us * 1000ull;
    int err = port_own(shard->port);
    if (err)
        engine_log(shard->engine, SALLY_LOG_ERROR, "shard %u: %s", shard->index,
                   sally_strerror(err));
    while (!shard_turn(shard, PORT_FOREVER)) {
    }
    port_disown(shard->port); /* others may wake it until nobody has the engine */
}
