/* Shared limits and those who wait for them; see bandwidth.h. */
#include "net/bandwidth.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/bucket.h"
#include "net/conn.h"
#include "net/engine.h"
#include "net/shard.h"
#include "net/throttle.h"
#include "os/lock.h"

enum {
    TURNS_MAX = 1024,       /* of one wake-up */
    TURN_BYTES_MAX = 65536, /* of one turn */
    TURN_MS = 10,           /* between two wake-ups of a line, at least */
    TURN_MS_MAX = 1000,     /* and at most: the limits may have been changed */
    FIRST_BURST_MIN = 1500, /* of a default: a segment */
};

/* Those of one shard that wait for one way; its thread's alone. */
struct lane {
    struct timer timer; /* set while somebody waits */
    struct shard *shard;
    sally_bandwidth *bandwidth;
    struct seat *head;
    struct seat *tail;
    enum way way;
    bool serving;       /* the timer is set at the end */
    uint64_t served_ms; /* the last turn */
};

struct pipe {
    struct os_lock lock;
    struct bucket bucket; /* under the lock */
    uint64_t bytes;       /* that passed; under the lock */
    /* Who waits, on whatever shard, has a ticket. How many were given out, and how many of those
     * have had their turn or left: what lies between says how many stand before one, or nearly so,
     * which costs no list that shards share. */
    _Atomic uint64_t tickets;
    _Atomic uint64_t gone;
};

struct sally_bandwidth {
    sally_engine *engine;
    atomic_uint refs; /* its owner's, and one each policy and connection */
    atomic_uint conns;
    sally_bandwidth *next; /* of the engine's, under its lock */
    sally_bandwidth *prev;
    struct pipe pipes[WAYS];
    struct lane lanes[]; /* WAYS for each shard */
};

int rate_fill(sally_rate *filled, const sally_rate *plain)
{
    *filled = *plain;
    if (!plain->bytes_s) return plain->burst_bytes ? SALLY_EINVAL : 0;
    if (!plain->burst_bytes) {
        uint32_t second = plain->bytes_s;
        filled->burst_bytes = second / 4 ? second / 4 : 1;
        if (filled->burst_bytes < FIRST_BURST_MIN)
            filled->burst_bytes = second < FIRST_BURST_MIN ? second : FIRST_BURST_MIN;
    }
    return filled->burst_bytes < plain->bytes_s / BUCKET_PARTS ? SALLY_EINVAL : 0;
}

/* ---- Life ---- */

static size_t bandwidth__bytes(const sally_engine *engine)
{
    return sizeof(sally_bandwidth) + engine->shard_count * WAYS * sizeof(struct lane);
}

sally_engine *bandwidth_engine(const sally_bandwidth *bandwidth) { return bandwidth->engine; }

sally_bandwidth *bandwidth_ref(sally_bandwidth *bandwidth)
{
    atomic_fetch_add_explicit(&bandwidth->refs, 1, memory_order_relaxed);
    return bandwidth;
}

void bandwidth_unref(sally_bandwidth *bandwidth)
{
    if (atomic_fetch_sub_explicit(&bandwidth->refs, 1, memory_order_acq_rel) != 1) return;
    sally_engine *engine = bandwidth->engine;
    for (unsigned way = 0; way < WAYS; way++) os_lock_free(&bandwidth->pipes[way].lock);
    mem_free(&engine->mem, bandwidth, bandwidth__bytes(engine));
}

void bandwidth_join(sally_bandwidth *bandwidth)
{
    atomic_fetch_add_explicit(&bandwidth_ref(bandwidth)->conns, 1, memory_order_relaxed);
}

void bandwidth_leave(sally_bandwidth *bandwidth)
{
    atomic_fetch_sub_explicit(&bandwidth->conns, 1, memory_order_relaxed);
    bandwidth_unref(bandwidth);
}

static bool engine__link(sally_engine *engine, sally_bandwidth *bandwidth)
{
    os_lock_take(&engine->lock);
    bool room = engine->bandwidth_count < BANDWIDTHS_MAX;
    if (room) {
        bandwidth->next = engine->bandwidths;
        if (engine->bandwidths) engine->bandwidths->prev = bandwidth;
        engine->bandwidths = bandwidth;
        engine->bandwidth_count++;
    }
    os_lock_give(&engine->lock);
    return room;
}

static void engine__unlink(sally_engine *engine, sally_bandwidth *bandwidth)
{
    os_lock_take(&engine->lock);
    if (bandwidth->prev)
        bandwidth->prev->next = bandwidth->next;
    else
        engine->bandwidths = bandwidth->next;
    if (bandwidth->next) bandwidth->next->prev = bandwidth->prev;
    engine->bandwidth_count--;
    os_lock_give(&engine->lock);
}

static void pipe__init(struct pipe *pipe, const sally_rate *rate, uint64_t now_ms)
{
    os_lock_init(&pipe->lock);
    bucket_init(&pipe->bucket, rate->bytes_s, rate->burst_bytes, now_ms);
}

int sally_bandwidth_create(sally_bandwidth **out, sally_engine *engine, sally_rate recv,
                           sally_rate send)
{
    if (!out || !engine) return SALLY_EINVAL;
    if (rate_fill(&recv, &recv) || rate_fill(&send, &send)) return SALLY_EINVAL;
    sally_bandwidth *bandwidth = mem_zalloc(&engine->mem, bandwidth__bytes(engine));
    if (!bandwidth) return SALLY_ENOMEM;
    bandwidth->engine = engine;
    atomic_init(&bandwidth->refs, 1);
    pipe__init(&bandwidth->pipes[WAY_RECV], &recv, engine_now_ms(engine));
    pipe__init(&bandwidth->pipes[WAY_SEND], &send, engine_now_ms(engine));
    for (unsigned i = 0; i < engine->shard_count * WAYS; i++)
        bandwidth->lanes[i] = (struct lane){.timer.kind = TIMER_LANE,
                                            .shard = engine->shards[i / WAYS],
                                            .bandwidth = bandwidth,
                                            .way = (enum way)(i % WAYS)};
    if (!engine__link(engine, bandwidth)) {
        bandwidth_unref(bandwidth);
        return SALLY_ELIMIT;
    }
    *out = bandwidth;
    return 0;
}

void sally_bandwidth_destroy(sally_bandwidth *bandwidth)
{
    if (!bandwidth) return;
    engine__unlink(bandwidth->engine, bandwidth);
    bandwidth_unref(bandwidth);
}

void bandwidth_free_all(sally_engine *engine)
{
    while (engine->bandwidths) {
        assert(atomic_load(&engine->bandwidths->refs) == 1);
        sally_bandwidth_destroy(engine->bandwidths);
    }
}

/* ---- The bucket ---- */

static void pipe__change(struct pipe *pipe, const sally_rate *rate, uint64_t now_ms)
{
    os_lock_take(&pipe->lock);
    bucket_change(&pipe->bucket, rate->bytes_s, rate->burst_bytes, now_ms);
    os_lock_give(&pipe->lock);
}

/* All of at most `want` that is there, or nothing when that is not worth it. */
static uint32_t pipe__take(struct pipe *pipe, uint32_t want, uint64_t now_ms)
{
    os_lock_take(&pipe->lock);
    uint32_t level = bucket_level(&pipe->bucket, now_ms);
    uint32_t share = bucket_share(&pipe->bucket);
    uint32_t bytes = level < want ? level : want;
    if (bytes < want && bytes < share) bytes = 0;
    bucket_take(&pipe->bucket, bytes);
    pipe->bytes += bytes;
    os_lock_give(&pipe->lock);
    return bytes;
}

static void pipe__give(struct pipe *pipe, uint32_t bytes)
{
    if (!bytes) return;
    os_lock_take(&pipe->lock);
    bucket_give(&pipe->bucket, bytes);
    pipe->bytes -= bytes;
    os_lock_give(&pipe->lock);
}

/* The bucket as it is at a moment: to calculate with outside the lock. */
static struct bucket pipe__look(struct pipe *pipe, uint64_t now_ms)
{
    os_lock_take(&pipe->lock);
    (void)bucket_level(&pipe->bucket, now_ms);
    struct bucket bucket = pipe->bucket;
    os_lock_give(&pipe->lock);
    return bucket;
}

void bandwidth_give(sally_bandwidth *bandwidth, enum way way, uint32_t bytes)
{
    pipe__give(&bandwidth->pipes[way], bytes);
}

/* ---- Waiting ---- */

static struct pipe *lane__pipe(const struct lane *lane)
{
    return &lane->bandwidth->pipes[lane->way];
}

static uint32_t pipe__waiting(const struct pipe *pipe)
{
    uint64_t gone = atomic_load_explicit(&pipe->gone, memory_order_relaxed);
    return (uint32_t)(atomic_load_explicit(&pipe->tickets, memory_order_relaxed) - gone);
}

/* How much one turn brings. */
static uint32_t turn_bytes(const struct bucket *bucket)
{
    uint32_t share = bucket_share(bucket);
    return bucket->bytes_s && share < TURN_BYTES_MAX ? share : TURN_BYTES_MAX;
}

/* What has to be there for the line's first: a turn for each that stands before it in all lines,
 * and its own. So who wakes up late or has nothing to move is waited for no longer than that. */
static uint32_t lane__needs(const struct lane *lane, const struct bucket *bucket)
{
    uint64_t gone = atomic_load_explicit(&lane__pipe(lane)->gone, memory_order_relaxed);
    uint64_t before = lane->head->ticket > gone ? lane->head->ticket - gone : 0;
    uint64_t bytes = (before + 1) * turn_bytes(bucket);
    uint32_t most = bucket->burst - bucket->burst / 4; /* a full bucket runs over */
    return bytes < most ? (uint32_t)bytes : most;
}

/* The line's next turns: when there is enough, and so much later that several may have theirs. Not
 * so late that half of the bucket would come meanwhile. */
static void lane__arm(struct lane *lane)
{
    uint64_t now = lane->shard->now_ms, due = now + 1;
    struct bucket bucket = pipe__look(lane__pipe(lane), now);
    if (bucket.bytes_s) {
        uint64_t half_ms = (uint64_t)bucket.burst * BUCKET_MILLI / bucket.bytes_s / 2;
        uint64_t turn_ms = half_ms < TURN_MS ? half_ms : TURN_MS;
        due = now + bucket_wait_ms(&bucket, lane__needs(lane, &bucket), now);
        if (due < lane->served_ms + turn_ms) due = lane->served_ms + turn_ms;
    }
    if (due <= now) due = now + 1;
    if (due > now + TURN_MS_MAX) due = now + TURN_MS_MAX;
    wheel_set(&lane->shard->wheel, &lane->timer, due);
}

static void lane__append(struct lane *lane, struct seat *seat)
{
    struct pipe *pipe = lane__pipe(lane);
    seat->lane = lane;
    seat->ticket = atomic_fetch_add_explicit(&pipe->tickets, 1, memory_order_relaxed);
    seat->next = NULL;
    seat->prev = lane->tail;
    if (lane->tail)
        lane->tail->next = seat;
    else
        lane->head = seat;
    lane->tail = seat;
    if (lane->head == seat && !lane->serving) lane__arm(lane);
}

void seat_leave(struct seat *seat)
{
    struct lane *lane = seat->lane;
    if (!lane) return;
    seat->lane = NULL;
    if (seat->prev)
        seat->prev->next = seat->next;
    else
        lane->head = seat->next;
    if (seat->next)
        seat->next->prev = seat->prev;
    else
        lane->tail = seat->prev;
    atomic_fetch_add_explicit(&lane__pipe(lane)->gone, 1, memory_order_relaxed);
    if (!lane->head) wheel_cancel(&lane->shard->wheel, &lane->timer);
}

uint32_t bandwidth_take(sally_bandwidth *bandwidth, struct seat *seat, uint32_t want)
{
    struct pipe *pipe = &bandwidth->pipes[seat->way];
    struct shard *shard = seat->conn->shard;
    if (seat->lane) return 0;
    if (seat->granted) {
        uint32_t bytes = want < seat->granted ? want : seat->granted;
        seat->granted -= bytes; /* the line puts the rest back */
        return bytes;
    }
    if (!pipe__waiting(pipe)) {
        uint32_t bytes = pipe__take(pipe, want, shard->now_ms);
        if (bytes) return bytes;
    }
    lane__append(&bandwidth->lanes[shard->index * WAYS + seat->way], seat);
    return 0;
}

/* ---- Turns ---- */

/* What the line's first may have now, taken for it; 0: it waits on. Who waits alone has no turns to
 * leave to others. */
static uint32_t lane__grant(const struct lane *lane)
{
    struct pipe *pipe = lane__pipe(lane);
    struct bucket bucket = pipe__look(pipe, lane->shard->now_ms);
    uint32_t level = bucket_level(&bucket, lane->shard->now_ms);
    if (level < lane__needs(lane, &bucket)) return 0;
    bool alone = pipe__waiting(pipe) == 1;
    return pipe__take(pipe, alone ? level : turn_bytes(&bucket), lane->shard->now_ms);
}

static void lane__serve(const struct lane *lane, uint32_t granted)
{
    struct seat *seat = lane->head;
    seat_leave(seat);
    seat->granted = granted;
    throttle_granted(seat->conn, (enum way)seat->way);
    pipe__give(lane__pipe(lane), seat->granted);
    seat->granted = 0;
}

/* Those that wait have their turns, again and again, while there is enough. Handlers run, and the
 * line may change meanwhile; the last in it may let the bandwidth go. */
void lane_on_timer(struct timer *timer)
{
    struct lane *lane = (struct lane *)(void *)timer;
    sally_bandwidth *bandwidth = bandwidth_ref(lane->bandwidth);
    uint32_t granted;
    lane->serving = true;
    for (int turns = 0; turns < TURNS_MAX && lane->head && (granted = lane__grant(lane)); turns++) {
        lane->served_ms = lane->shard->now_ms;
        lane__serve(lane, granted);
    }
    lane->serving = false;
    if (lane->head) lane__arm(lane);
    bandwidth_unref(bandwidth);
}

/* ---- Asking ---- */

int sally_bandwidth_set(sally_bandwidth *bandwidth, sally_rate recv, sally_rate send)
{
    if (!bandwidth || rate_fill(&recv, &recv) || rate_fill(&send, &send)) return SALLY_EINVAL;
    uint64_t now = engine_now_ms(bandwidth->engine);
    pipe__change(&bandwidth->pipes[WAY_RECV], &recv, now);
    pipe__change(&bandwidth->pipes[WAY_SEND], &send, now);
    return 0;
}

static uint64_t pipe__bytes(struct pipe *pipe)
{
    os_lock_take(&pipe->lock);
    uint64_t bytes = pipe->bytes;
    os_lock_give(&pipe->lock);
    return bytes;
}

int sally_bandwidth_get_stats(sally_bandwidth *bandwidth, sally_bandwidth_stats *stats)
{
    if (!bandwidth || !stats) return SALLY_EINVAL;
    struct pipe *recv = &bandwidth->pipes[WAY_RECV], *send = &bandwidth->pipes[WAY_SEND];
    *stats = (sally_bandwidth_stats){
        .conns = atomic_load_explicit(&bandwidth->conns, memory_order_relaxed),
        .recv_waiting = pipe__waiting(recv),
        .send_waiting = pipe__waiting(send),
        .recv_bytes = pipe__bytes(recv),
        .send_bytes = pipe__bytes(send),
    };
    return 0;
}
