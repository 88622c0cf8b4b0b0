/* Steps, and waiting for what they bring about; see play.h. */
#include "trace/support/play.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "os/clock.h"

enum { REST_TURNS = 4, LOOKS_MIN = 20000, LOOKS_A_NAP = 4 };

/* Of real time, for one step; SALLY_STEP_MS for who expects failures. */
static uint64_t limit_ns(void)
{
    const char *given = getenv("SALLY_STEP_MS");
    return (given ? strtoull(given, NULL, 10) : 20000) * 1000000;
}

void play_wrong(struct play *play, const char *format, ...)
{
    if (play->wrong[0]) return;
    int len = snprintf(play->wrong, sizeof play->wrong,
                       "step of line %u: ", play->step ? play->step->line : 0);
    va_list args;
    va_start(args, format);
    vsnprintf(play->wrong + len, sizeof play->wrong - (size_t)len, format, args);
    va_end(args);
}

/* ---- Names and numbers ---- */

static struct party *find_party(struct play *play, const char *name)
{
    for (unsigned i = 0; i < play->parties; i++)
        if (strcmp(play->party[i].name, name) == 0) return &play->party[i];
    return NULL;
}

struct party *play_party(struct play *play, const char *name)
{
    struct party *party = find_party(play, name);
    if (!party) play_wrong(play, "nobody is called %s", name);
    return party;
}

struct party *play_new_party(struct play *play, const char *name)
{
    struct party *party = find_party(play, name);
    if (party && !party->begun && !party->wire) return party; /* known from a hook only */
    if (party || play->parties == PARTIES_MAX || strlen(name) >= NAME_BYTES) {
        play_wrong(play, "%s can't be a new name", name);
        return NULL;
    }
    party = &play->party[play->parties];
    *party = (struct party){.kind = KIND_PARTY, .play = play, .index = play->parties++};
    snprintf(party->name, sizeof party->name, "%s", name);
    snprintf(party->peer_name, sizeof party->peer_name, "peer %s", name);
    return party;
}

bool play_is(const struct words *words, unsigned at, const char *word)
{
    return at < words->count && strcmp(words->word[at], word) == 0;
}

uint32_t play_number(struct play *play, const struct words *words, unsigned at)
{
    char *end = NULL;
    const char *text = at < words->count ? words->word[at] : "";
    unsigned long number = strtoul(text, &end, 10);
    if (*text && !*end && number <= UINT32_MAX) return (uint32_t)number;
    play_wrong(play, "line %u: a number is missing", words->line);
    return 0;
}

/* ---- Bytes ---- */

static uint64_t stream_of(const struct party *party, unsigned side)
{
    return party->index * 2 + side;
}

const void *play_pattern(struct play *play, const struct party *party, unsigned side,
                         uint64_t offset, size_t len)
{
    if (len > PATTERN_BYTES_MAX) {
        play_wrong(play, "more than %d bytes at once", PATTERN_BYTES_MAX);
        len = PATTERN_BYTES_MAX;
    }
    pattern_fill(play->pattern, stream_of(party, side), offset, len);
    return play->pattern;
}

bool play_is_pattern(const struct party *party, unsigned side, uint64_t offset, const void *data,
                     size_t len)
{
    return pattern_check(data, stream_of(party, side), offset, len) == len;
}

/* ---- Turns ---- */

void play_turn(struct play *play)
{
    play->world->ops->turn(play->world);
    hands_pump(play);
}

static void nap(const struct play *play)
{
    if (play->world->ops->nap) play->world->ops->nap();
}

/* Rises with whatever happens, also where no callback tells of it. */
static uint64_t moved(const struct play *play)
{
    uint64_t total = play->journal.total;
    for (unsigned i = 0; i < play->parties; i++) total += play->party[i].peer_out;
    return total;
}

void play_rest(struct play *play)
{
    uint64_t before;
    do {
        before = moved(play);
        for (int i = 0; i < REST_TURNS; i++) play_turn(play);
        nap(play);
        play_turn(play);
    } while (before != moved(play));
}

/* ---- Steps ---- */

/* Until what has to come has, something else came, or it takes too long. */
static void wait_for_events(struct play *play)
{
    char why[300] = "";
    uint64_t until = os_clock_ns() + limit_ns();
    uint64_t total = play->journal.total;
    for (int looks = 0;;) {
        enum journal_verdict verdict = journal_compare(&play->journal, play->step, why, sizeof why);
        if (play->wrong[0] || verdict == JOURNAL_MATCHES) return;
        bool late = looks++ > LOOKS_MIN && (play->world->sim || os_clock_ns() > until);
        if (verdict == JOURNAL_DIFFERS || late) {
            play_wrong(play, "%s%s", why, late ? " (in time)" : "");
            return;
        }
        play_turn(play);
        if (looks % LOOKS_A_NAP == 0) nap(play);
        if (total != play->journal.total) looks = 0;
        total = play->journal.total;
    }
}

static void print_step(const struct play *play)
{
    for (unsigned c = 0; c < play->step->commands; c++) {
        const struct words *words = &play->step->command[c];
        if (c) printf(" ;");
        for (unsigned i = 0; i < words->count; i++)
            printf("%s%s", (c || i) && strcmp(words->word[i], ",") ? " " : "", words->word[i]);
    }
    printf("\n");
    journal_print(&play->journal, stdout);
}

/* What came after the last look is this step's own fault. */
static void begin_step(struct play *play, const struct step *step)
{
    char why[300] = "";
    if (play->step && !play->record &&
        journal_compare(&play->journal, play->step, why, sizeof why) != JOURNAL_MATCHES)
        play_wrong(play, "%s", why);
    journal_clear(&play->journal);
    play->step = step;
}

static void do_step(struct play *play, const struct step *step)
{
    begin_step(play, step);
    for (unsigned i = 0; i < step->commands && !play->wrong[0]; i++)
        if (script_meant_for(step->command[i].ports, play->world->column->name))
            hands_do(play, &step->command[i]);
    if (!play->wrong[0] && !play->record) wait_for_events(play);
    if (play->record) {
        for (int i = 0; i < 5; i++) play_rest(play);
        print_step(play);
    }
}

/* ---- The end ---- */

static void judge_counts(struct play *play)
{
    sally_engine_stats stats;
    if (!play->engine || sally_engine_get_stats(play->engine, &stats)) return;
    if (stats.conns) play_wrong(play, "%u connections are counted at the end", stats.conns);
    if (stats.ops_started != stats.ops_completed + stats.ops_cancelled + stats.ops_failed)
        play_wrong(play, "operations: %llu started, %llu + %llu + %llu ended",
                   (unsigned long long)stats.ops_started, (unsigned long long)stats.ops_completed,
                   (unsigned long long)stats.ops_cancelled, (unsigned long long)stats.ops_failed);
    if (stats.closed != play->closes)
        play_wrong(play, "%llu closed, %u times told", (unsigned long long)stats.closed,
                   play->closes);
}

static void judge_parties(struct play *play)
{
    for (unsigned i = 0; i < play->parties; i++) {
        const struct party *party = &play->party[i];
        if (party->opened && !party->closed) play_wrong(play, "%s never closed", party->name);
    }
}

/* The last step's wait is over; whatever comes now was not foretold. */
static void finish(struct play *play)
{
    static const struct step nothing = {0};
    if (!play->wrong[0]) play_rest(play);
    begin_step(play, &nothing);
    if (!play->ended && play->engine) {
        hands_stop(play);
        if (play->record) print_step(play);
        begin_step(play, &nothing);
    }
    judge_counts(play);
    judge_parties(play);
    if (play->engine) (void)sally_engine_destroy(play->engine);
    play->engine = play->world->engine = NULL;
    begin_step(play, &nothing);
    for (unsigned i = 0; i < play->parties; i++)
        if (play->party[i].wire) play->world->ops->free(play->party[i].wire);
    for (unsigned i = 0; i < play->listeners; i++)
        if (play->listener[i].wire) play->world->ops->free(play->listener[i].wire);
    if (play->memory_bytes)
        play_wrong(play, "%llu bytes are left", (unsigned long long)play->memory_bytes);
}

/* ---- Memory: what is freed was allocated, with that size ---- */

static void *count_alloc(void *user, size_t bytes)
{
    size_t *block = malloc(bytes + 16);
    if (!block) return NULL;
    *block = bytes;
    ((struct play *)user)->memory_bytes += bytes;
    return block + 2;
}

static void count_free(void *user, void *data, size_t bytes)
{
    size_t *block = (size_t *)data - 2;
    if (*block != bytes) play_wrong(user, "freed %zu bytes of %zu", bytes, *block);
    ((struct play *)user)->memory_bytes -= bytes;
    free(block);
}

static void no_log(void *user, sally_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

bool play_script(struct world *world, struct script *script, bool record, char *why, size_t size)
{
    struct play *play = calloc(1, sizeof *play);
    if (play) play->pattern = malloc(PATTERN_BYTES_MAX);
    if (!play || !play->pattern) abort();
    play->kind = KIND_PLAY;
    play->world = world;
    play->script = script;
    play->record = record;
    play->absent = NO_SENT | NO_LIMIT;
    play->journal.port = world->column->name;
    play->options = (sally_engine_options){
        .conns_max = 64,
        .log = no_log,
        .allocator = {.alloc = count_alloc, .free = count_free, .user = play}};
    if (record) printf("proves %s\n", script->proves);
    for (unsigned i = 0; i < script->steps && !play->wrong[0]; i++) do_step(play, &script->step[i]);
    finish(play);
    bool right = !play->wrong[0];
    snprintf(why, size, "%s", play->wrong);
    free(play->pattern);
    free(play);
    return right;
}
