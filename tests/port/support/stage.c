/* The stage's life, its turning, and the checks at each event. See stage.h. */
#include "port/support/stage.h"

#include <stdlib.h>
#include <string.h>

#include "port/support/guard_pages.h"
#include "port/support/stage_own.h"
#include "sallyport/error.h"

enum { SLOTS_DEFAULT = 4096, BUFS_DEFAULT = 64, BUF_BYTES_DEFAULT = 4096, SETTLED_TURNS = 4 };

/* --- memory that counts and can fail --- */

static void *hook_alloc(void *user, size_t bytes)
{
    struct stage *stage = user;
    int left = atomic_load(&stage->allocs_until);
    if (left == 0) return NULL;
    if (left > 0) atomic_fetch_sub(&stage->allocs_until, 1);
    void *block = stage->config.guarded ? guard_alloc(bytes) : malloc(bytes);
    if (!block) abort();
    memset(block, 0xA5, bytes);
    atomic_fetch_add(&stage->blocks, 1);
    return block;
}

static void hook_free(void *user, void *block, size_t bytes)
{
    struct stage *stage = user;
    memset(block, 0x5A, bytes);
    atomic_fetch_sub(&stage->blocks, 1);
    if (stage->config.guarded)
        guard_free(block, bytes);
    else
        free(block);
}

/* --- life --- */

void stage_port_config(struct stage *stage, struct port_config *config)
{
    const struct stage_config *from = &stage->config;
    *config = (struct port_config){
        .mem = &stage->mem,
        .socks = &stage->socks,
        .buf_bytes = from->buf_bytes ? from->buf_bytes : BUF_BYTES_DEFAULT,
        .bufs_max = from->bufs_max ? from->bufs_max : BUFS_DEFAULT,
        .sq_entries = from->sq_entries,
        .cq_entries = from->cq_entries,
        .features_off = from->features_off,
        .world = stage->world,
    };
}

void stage_open_bare(struct stage *stage, const struct stage_config *config)
{
    memset(stage, 0, sizeof *stage);
    stage->config = *config;
    stage->ground = config->ground;
    stage->take_max = STAGE_BATCH_MAX;
    stage->random = UINT64_C(0x5eed);
    if (stage->ground->open(&stage->world) != 0) abort();
    mem_init(&stage->mem);
    stage->mem.alloc = hook_alloc;
    stage->mem.free = hook_free;
    stage->mem.user = stage;
    atomic_init(&stage->allocs_until, -1);
    uint32_t slots_max = config->slots_max ? config->slots_max : SLOTS_DEFAULT;
    if (slots_init(&stage->socks, &stage->mem, sizeof(struct actor), slots_max, UINT32_MAX) != 0)
        abort();
    stage->descriptors_before = stage->ground->descriptors(stage->world);
}

void stage_open(struct stage *stage, const struct stage_config *config)
{
    stage_open_bare(stage, config);
    struct port_config port_config;
    stage_port_config(stage, &port_config);
    int err = port_create(config->ops, &port_config, &stage->port);
    if (err == SALLY_ENOPORT) trial_skip("%s can't be used here", config->ops->name);
    CHECK_EQUAL(err, 0);
    CHECK_EQUAL(port_own(stage->port), 0);
}

static void close_all(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->socks.capacity; i++) {
        struct actor *actor = slots_at(&stage->socks, i);
        if (!actor) break;
        if (!(slot_generation(&actor->sock.slot) & 1)) continue;
        actor->on_event = NULL;
        actor->send_left = actor->file_left = 0;
        actor->echo = false;
        if (!actor->closed && !actor_flies(actor, PORT_CLOSE))
            stage_close(stage, actor, PORT_CLOSE_RST);
    }
}

static bool all_closed(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->socks.capacity; i++) {
        struct actor *actor = slots_at(&stage->socks, i);
        if (!actor) break;
        if ((slot_generation(&actor->sock.slot) & 1) && !actor->closed) return false;
    }
    return true;
}

/* Started = completed + cancelled + failed for each kind: every operation ended, and once. */
static void check_counters(struct stage *stage)
{
    const struct port_counters *counters = &stage->port->counters;
    for (unsigned op = 0; op < PORT_OPS; op++) {
        uint64_t started = counter_get(&counters->started[op]);
        uint64_t ended = counter_get(&counters->completed[op]) +
                         counter_get(&counters->cancelled[op]) + counter_get(&counters->failed[op]);
        if (started != ended)
            trial_fail("P1", __FILE__, __LINE__, "%llu of operation %u started, %llu ended",
                       (unsigned long long)started, op, (unsigned long long)ended);
    }
}

static void give_all(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->socks.capacity; i++) {
        struct actor *actor = slots_at(&stage->socks, i);
        if (!actor) break;
        if (slot_generation(&actor->sock.slot) & 1) stage_give(stage, actor);
    }
}

void stage_shut_port(struct stage *stage)
{
    while (stage->arrivals_len) {
        port_refuse(stage->port, stage->arrivals[stage->arrivals_head].handle, PORT_CLOSE_RST);
        free(stage->arrivals[stage->arrivals_head].first);
        stage->arrivals_head = (stage->arrivals_head + 1) % STAGE_ARRIVALS_MAX;
        stage->arrivals_len--;
    }
    stage->door = NULL;
    close_all(stage);
    UNTIL(stage, all_closed(stage));
    while (stage->arrivals_len) { /* they came while their listener was closed */
        port_refuse(stage->port, stage->arrivals[stage->arrivals_head].handle, PORT_CLOSE_RST);
        free(stage->arrivals[stage->arrivals_head].first);
        stage->arrivals_head = (stage->arrivals_head + 1) % STAGE_ARRIVALS_MAX;
        stage->arrivals_len--;
    }
    give_all(stage);
    stage_settle(stage); /* a late event would now reach a slot that has been given back */
    check_counters(stage);
    if (stage->config.no_strays) CHECK_EQUAL(counter_get(&stage->port->counters.stray_events), 0);
    stage_release_held(stage);
    CHECK_EQUAL(stage->port->bufs_lent, 0);
    port_destroy(stage->port);
    stage->port = NULL;
}

void stage_shut(struct stage *stage)
{
    if (stage->port) stage_shut_port(stage);
    for (unsigned i = 0; i < stage->peers_len; i++)
        if (stage->peers[i].open) peer_close(&stage->peers[i], PORT_CLOSE_RST);
    CHECK_EQUAL(stage->ground->descriptors(stage->world), stage->descriptors_before);
    slots_free(&stage->socks);
    CHECK_EQUAL(mem_in_use(&stage->mem), 0);
    CHECK_EQUAL(atomic_load(&stage->blocks), 0);
    stage->ground->shut(stage->world);
}

/* --- checks --- */

/* What the port says is in flight and what we know to be. */
void stage_check_bits(const struct actor *actor, const char *rule, const char *when)
{
    if (actor->sock.in_flight == actor->flying) return;
    trial_fail(rule, __FILE__, __LINE__, "in_flight is %#x %s, not %#x", actor->sock.in_flight,
               when, actor->flying);
}

/* The event's actor, which must be there and have the operation in flight. */
static struct actor *check_target(struct stage *stage, const struct port_event *event)
{
    if (event->op >= PORT_OPS) trial_fail("P1", __FILE__, __LINE__, "operation %u", event->op);
    struct actor *actor = NULL;
    for (uint32_t i = 0; i < stage->socks.capacity && !actor; i += SLOTS_CHUNK) {
        unsigned char *chunk = slots_at(&stage->socks, i);
        if (!chunk) break;
        size_t at = (size_t)((unsigned char *)event->sock - chunk);
        if ((unsigned char *)event->sock >= chunk && at < SLOTS_CHUNK * sizeof(struct actor) &&
            at % sizeof(struct actor) == 0)
            actor = (struct actor *)event->sock;
    }
    if (!actor) trial_fail("P12", __FILE__, __LINE__, "the event's socket is none of ours");
    if (!(slot_generation(&actor->sock.slot) & 1))
        trial_fail("P4", __FILE__, __LINE__,
                   "an event for a slot that was given back, operation %u", event->op);
    if (actor->closed)
        trial_fail("P4", __FILE__, __LINE__, "an event after PORT_CLOSE, operation %u", event->op);
    if (!actor_flies(actor, event->op))
        trial_fail("P1", __FILE__, __LINE__, "an event for operation %u, which is not in flight",
                   event->op);
    return actor;
}

static const char *recv_flaw(const struct port_event *event)
{
    if (event->error) {
        if (event->more) return "a failed receive goes on";
        return event->bytes ? "an error with bytes" : NULL;
    }
    if (!event->bytes) return event->more ? "the end of the stream with `more`" : NULL;
    if (!event->more) return "bytes in the last event of a receive";
    return event->data ? NULL : "bytes without data";
}

static const char *event_flaw(const struct actor *actor, const struct port_event *event)
{
    switch ((enum port_op)event->op) {
    case PORT_ACCEPT:
        if (event->error) return NULL;
        if (!event->more) return "accepting ended without a cause";
        return event->accepted == PORT_NO_HANDLE ? "a newcomer without a handle" : NULL;
    case PORT_CONNECT:
        if (event->more) return "a connect with `more`";
        if (event->error)
            return actor->sock.handle != PORT_NO_HANDLE && !(actor->flying & PORT_BIT(PORT_CLOSE))
                       ? "a failed connect left a handle"
                       : NULL;
        return actor->sock.handle == PORT_NO_HANDLE && !(actor->flying & PORT_BIT(PORT_CLOSE))
                   ? "connected without a handle"
                   : NULL;
    case PORT_RECV: return recv_flaw(event);
    case PORT_SEND:
        if (event->more) return "a send with `more`";
        if (event->error) return NULL;
        return event->bytes < 1 || event->bytes > actor->asked ? "a send took none or too much"
                                                               : NULL;
    case PORT_CLOSE:
        if (event->more || event->error) return "a close that did not just end";
        return actor->flying != PORT_BIT(PORT_CLOSE) ? "a close that did not come last" : NULL;
    default: return "unknown operation";
    }
}

static const char *const rule_of[PORT_OPS] = {"P8", "P1", "P5", "P6", "P4"};

/* First the whole batch is judged, before anything is done about it: each ending clears its bit. */
static void check_batch(struct stage *stage, const struct port_event *events, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct port_event *event = &events[i];
        struct actor *actor = check_target(stage, event);
        const char *flaw = event_flaw(actor, event);
        if (flaw)
            trial_fail(rule_of[event->op], __FILE__, __LINE__, "%s (error %d, bytes %u)", flaw,
                       event->error, event->bytes);
        if (event->more) continue;
        actor->flying &= (uint8_t)~PORT_BIT(event->op);
        actor->endings[event->op]++;
        actor->error[event->op] = event->error;
        actor->closed = event->op == PORT_CLOSE;
    }
    for (unsigned i = 0; i < count; i++)
        stage_check_bits((struct actor *)events[i].sock, "P1", "after its events were taken");
}

/* --- turning --- */

unsigned stage_take(struct stage *stage)
{
    struct port_event events[STAGE_BATCH_MAX];
    memset(events, 0x77, sizeof events); /* what the port leaves unset must not look right */
    uint64_t numbers[STAGE_BATCH_MAX];
    unsigned count = port_take(stage->port, events, stage->take_max);
    bool emptied = stage->port->emptied;
    check_batch(stage, events, count);
    struct port_event behind;
    if (emptied) CHECK_EQUAL(port_take(stage->port, &behind, 1), 0);
    for (unsigned i = 0; i < count; i++) numbers[i] = ((struct actor *)events[i].sock)->number;
    for (unsigned i = 0; i < count; i++) {
        struct actor *actor = (struct actor *)events[i].sock;
        if (actor->number != numbers[i]) abort(); /* a rule gave back a slot that had events */
        stage->events++;
        stage_play(stage, actor, &events[i]);
    }
    return count;
}

unsigned stage_turn(struct stage *stage, uint32_t timeout_ms)
{
    CHECK_EQUAL(port_wait(stage->port, timeout_ms), 0);
    unsigned total = 0;
    for (unsigned count; (count = stage_take(stage)) > 0;) total += count;
    return total;
}

void stage_settle(struct stage *stage)
{
    for (unsigned quiet = 0; quiet < SETTLED_TURNS;)
        quiet = stage_turn(stage, stage->ground->real ? 1 : 500) ? 0 : quiet + 1;
}

uint32_t stage_random(struct stage *stage, uint32_t below)
{
    stage->random ^= stage->random << 13;
    stage->random ^= stage->random >> 7;
    stage->random ^= stage->random << 17;
    return below ? (uint32_t)(stage->random % below) : 0;
}

/* --- patterns --- */

void pattern_fill(uint32_t tag, uint64_t offset, void *to, size_t len)
{
    unsigned char *bytes = to;
    for (size_t i = 0; i < len; i++) bytes[i] = pattern_at(tag, offset + i);
}

bool pattern_equal(uint32_t tag, uint64_t offset, const void *is, size_t len, size_t *at)
{
    const unsigned char *bytes = is;
    for (size_t i = 0; i < len; i++) {
        *at = i;
        if (bytes[i] != pattern_at(tag, offset + i)) return false;
    }
    return true;
}
