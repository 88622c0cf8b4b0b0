#include "admission/sources.h"

#include <assert.h>
#include <string.h>

enum { PLACES_MIN = 64, CHUNKS_MIN = 16 };

void sources_init(struct sources *sources, struct mem *mem, uint32_t idle_max,
                  struct hash_seed seed)
{
    *sources = (struct sources){.mem = mem, .idle_max = idle_max, .seed = seed};
}

void sources_free(struct sources *sources)
{
    struct mem *mem = sources->mem;
    for (uint32_t i = 0; i < sources->chunks; i++)
        mem_free(mem, sources->chunk[i], SOURCE_CHUNK * sizeof(struct source));
    if (sources->chunk)
        mem_free(mem, sources->chunk, sources->chunks_room * sizeof *sources->chunk);
    if (sources->place) mem_free(mem, sources->place, sources->places * sizeof *sources->place);
    sources->chunk = NULL;
    sources->place = NULL;
}

static struct source *source_at(const struct sources *sources, uint32_t number)
{
    number--;
    return &sources->chunk[number / SOURCE_CHUNK][number % SOURCE_CHUNK];
}

/* ---- Keys ---- */

/* What an address is counted as. */
struct place_key {
    struct key key;
    uint8_t family;
    uint8_t bits;
};

static struct place_key key_at(const struct addr *addr, unsigned bits)
{
    if (bits > cidr_bits_of(addr->family)) bits = cidr_bits_of(addr->family);
    return (struct place_key){.key = key_prefix(key_of(addr->family, addr->ip), bits),
                              .family = addr->family,
                              .bits = (uint8_t)bits};
}

static struct place_key key_of_source(const struct source *source)
{
    return (struct place_key){.key = source->key, .family = source->family, .bits = source->bits};
}

static bool key_is(const struct place_key *key, const struct source *source)
{
    return key->key.high == source->key.high && key->key.low == source->key.low &&
           key->family == source->family && key->bits == source->bits;
}

/* ---- Places ---- */

static uint32_t sources__home(const struct sources *sources, const struct place_key *key)
{
    uint32_t what = (uint32_t)key->family << 8 | key->bits;
    return hash_key(&sources->seed, key->key, what) & (sources->places - 1);
}

/* Where it is, or where it would be. */
static uint32_t sources__place(const struct sources *sources, const struct place_key *key)
{
    uint32_t at = sources__home(sources, key);
    while (sources->place[at] && !key_is(key, source_at(sources, sources->place[at])))
        at = (at + 1) & (sources->places - 1);
    return at;
}

static uint32_t sources__find(const struct sources *sources, const struct place_key *key)
{
    return sources->places ? sources->place[sources__place(sources, key)] : 0;
}

/* Twice as many places, half of them empty at most. */
static bool sources__more_places(struct sources *sources)
{
    if (sources->places / 2 > sources->count) return true;
    uint32_t before = sources->places, *old = sources->place;
    uint32_t places = before ? before * 2 : PLACES_MIN;
    uint32_t *place = mem_zalloc(sources->mem, places * sizeof *place);
    if (!place) return false;
    sources->place = place;
    sources->places = places;
    for (uint32_t i = 0; i < before; i++) {
        if (!old[i]) continue;
        struct place_key key = key_of_source(source_at(sources, old[i]));
        place[sources__place(sources, &key)] = old[i];
    }
    if (old) mem_free(sources->mem, old, before * sizeof *old);
    return true;
}

static void sources__clear(struct sources *sources, uint32_t hole)
{
    uint32_t mask = sources->places - 1;
    for (uint32_t at = (hole + 1) & mask; sources->place[at]; at = (at + 1) & mask) {
        struct place_key key = key_of_source(source_at(sources, sources->place[at]));
        uint32_t home = sources__home(sources, &key);
        if (((at - home) & mask) < ((at - hole) & mask)) continue; /* would be before its home */
        sources->place[hole] = sources->place[at];
        hole = at;
    }
    sources->place[hole] = 0;
}

/* ---- Idle ones, in the order in which they became so ---- */

static void idle__append(struct sources *sources, uint32_t number)
{
    struct source *source = source_at(sources, number);
    source->newer = 0;
    source->older = sources->newest;
    if (sources->newest)
        source_at(sources, sources->newest)->newer = number;
    else
        sources->oldest = number;
    sources->newest = number;
    sources->idle++;
}

static void idle__remove(struct sources *sources, uint32_t number)
{
    struct source *source = source_at(sources, number);
    if (source->older)
        source_at(sources, source->older)->newer = source->newer;
    else
        sources->oldest = source->newer;
    if (source->newer)
        source_at(sources, source->newer)->older = source->older;
    else
        sources->newest = source->older;
    sources->idle--;
}

static void sources__forget(struct sources *sources, uint32_t number)
{
    struct source *source = source_at(sources, number);
    struct place_key key = key_of_source(source);
    idle__remove(sources, number);
    sources__clear(sources, sources__place(sources, &key));
    *source = (struct source){.newer = sources->unused};
    sources->unused = number;
    sources->count--;
}

static void idle__trim(struct sources *sources)
{
    while (sources->idle > sources->idle_max) sources__forget(sources, sources->oldest);
}

/* ---- Making ---- */

static bool sources__more_chunks(struct sources *sources)
{
    if (sources->chunks == sources->chunks_room) {
        uint32_t room = sources->chunks_room ? sources->chunks_room * 2 : CHUNKS_MIN;
        struct source **chunk = mem_zalloc(sources->mem, room * sizeof(struct source *));
        if (!chunk) return false;
        if (sources->chunk) {
            memcpy(chunk, sources->chunk, sources->chunks * sizeof *chunk);
            mem_free(sources->mem, sources->chunk, sources->chunks_room * sizeof *chunk);
        }
        sources->chunk = chunk;
        sources->chunks_room = room;
    }
    struct source *more = mem_zalloc(sources->mem, SOURCE_CHUNK * sizeof *more);
    if (more) sources->chunk[sources->chunks++] = more;
    return more != NULL;
}

static uint32_t sources__take(struct sources *sources)
{
    uint32_t number = sources->unused;
    if (number) {
        sources->unused = source_at(sources, number)->newer;
        return number;
    }
    if (sources->made == sources->chunks * SOURCE_CHUNK && !sources__more_chunks(sources)) return 0;
    return ++sources->made;
}

/* The entry of that key, made when there is none: idle at first. 0 without memory. */
static uint32_t sources__get(struct sources *sources, const struct place_key *key)
{
    uint32_t number = sources__find(sources, key);
    if (number) return number;
    if (!sources__more_places(sources)) return 0;
    number = sources__take(sources);
    if (!number) return 0;
    *source_at(sources, number) =
        (struct source){.key = key->key, .family = key->family, .bits = key->bits};
    sources->place[sources__place(sources, key)] = number;
    sources->count++;
    idle__append(sources, number);
    return number;
}

/* ---- Coming and going ---- */

static bool is_address(const struct source *source) { return source->bits != SOURCE_SITE_BITS; }

static void source__count(struct sources *sources, uint32_t number)
{
    struct source *source = source_at(sources, number);
    if (source->live++) return;
    idle__remove(sources, number);
    sources->live += is_address(source);
}

static void source__uncount(struct sources *sources, uint32_t number)
{
    struct source *source = source_at(sources, number);
    assert(source->live > 0);
    if (--source->live) return;
    sources->live -= is_address(source);
    idle__append(sources, number);
}

static enum source_answer source__judge(const struct source *source, uint32_t live_max,
                                        const struct rate *rate, uint64_t now_ns)
{
    if (source->live >= live_max) return SOURCE_TOO_MANY;
    return rate_wait_ns(rate, source->used_ns, now_ns) ? SOURCE_TOO_FAST : SOURCE_IN;
}

static void source__enter(struct sources *sources, uint32_t number, const struct rate *rate,
                          uint64_t now_ns)
{
    source__count(sources, number);
    (void)rate_take(rate, &source_at(sources, number)->used_ns, now_ns);
}

static enum source_answer sources__enter(struct sources *sources, uint32_t number, uint32_t site,
                                         const struct source_limits *limits, uint64_t now_ns)
{
    enum source_answer answer =
        source__judge(source_at(sources, number), limits->live_max, &limits->rate, now_ns);
    if (!answer && site)
        answer =
            source__judge(source_at(sources, site), limits->site_max, &limits->site_rate, now_ns);
    if (answer) return answer;
    source__enter(sources, number, &limits->rate, now_ns);
    if (site) source__enter(sources, site, &limits->site_rate, now_ns);
    source_at(sources, number)->site = site;
    return SOURCE_IN;
}

/* What was made for nothing is the newest of the idle ones: trimming takes older ones first, so
 * both are there while they are looked at. */
enum source_answer sources_enter(struct sources *sources, const struct addr *addr,
                                 const struct source_limits *limits, uint64_t now_ns, uint32_t *out)
{
    struct place_key key = key_at(addr, SOURCE_SUBSCRIBER_BITS);
    uint32_t number = sources__get(sources, &key);
    uint32_t site = 0;
    if (number && addr->family == ADDR_V6) {
        struct place_key above = key_at(addr, SOURCE_SITE_BITS);
        site = sources__get(sources, &above);
        if (!site) number = 0;
    }
    enum source_answer answer =
        number ? sources__enter(sources, number, site, limits, now_ns) : SOURCE_NO_MEMORY;
    *out = answer == SOURCE_IN ? number : 0;
    idle__trim(sources);
    return answer;
}

void sources_leave(struct sources *sources, uint32_t number)
{
    uint32_t site = source_at(sources, number)->site;
    source__uncount(sources, number);
    if (site) source__uncount(sources, site);
    idle__trim(sources);
}

uint32_t sources_live(const struct sources *sources, const struct addr *addr)
{
    struct place_key key = key_at(addr, SOURCE_SUBSCRIBER_BITS);
    uint32_t number = sources__find(sources, &key);
    return number ? source_at(sources, number)->live : 0;
}

/* ---- Strikes ---- */

bool sources_strike(struct sources *sources, const struct addr *addr, uint32_t weight, uint32_t max,
                    uint64_t within_ms, uint64_t now_ms, uint32_t *bans)
{
    struct place_key key = key_at(addr, SOURCE_SUBSCRIBER_BITS);
    uint32_t number = sources__get(sources, &key);
    if (!number) return false;
    struct source *source = source_at(sources, number);
    bool over = now_ms > source->strikes_ms && now_ms - source->strikes_ms >= within_ms;
    if (!source->strikes || over) {
        source->strikes = 0;
        source->strikes_ms = now_ms;
    }
    uint32_t left = max - source->strikes;
    bool reached = weight >= left;
    source->strikes = reached ? 0 : source->strikes + weight;
    if (reached && source->bans < UINT8_MAX) source->bans++;
    *bans = source->bans;
    if (!source->live) { /* what it did now counts as news */
        idle__remove(sources, number);
        idle__append(sources, number);
    }
    idle__trim(sources);
    return reached;
}

/* ---- Checking ---- */

static void sources__check_idle(const struct sources *sources)
{
    uint32_t idle = 0, last = 0;
    for (uint32_t n = sources->oldest; n; last = n, n = source_at(sources, n)->newer) {
        assert(source_at(sources, n)->live == 0 && source_at(sources, n)->older == last);
        idle++;
    }
    assert(last == sources->newest && idle == sources->idle && idle <= sources->idle_max);
}

void sources_check(const struct sources *sources, uint32_t live_sum)
{
    uint32_t used = 0, live = 0, sum = 0, sites = 0, below = 0, placed = 0;
    for (uint32_t n = 1; n <= sources->made; n++) {
        const struct source *source = source_at(sources, n);
        if (source->family == ADDR_NONE) continue;
        struct place_key key = key_of_source(source);
        used++;
        live += source->live && is_address(source);
        *(is_address(source) ? &sum : &sites) += source->live;
        if (source->site) below += source->live;
        assert(sources__find(sources, &key) == n);
    }
    for (uint32_t at = 0; at < sources->places; at++) placed += sources->place[at] != 0;
    assert(used == sources->count && placed == used && live == sources->live);
    assert(sum == live_sum && sites == below);
    sources__check_idle(sources);
}
