/* A storm of framed connections in a simulated world: good peers, peers that send what is no
 * message, that stop in the middle or go; a server that pauses, closes and aborts as it likes;
 * under faults drawn by the seed, and then in a calm in which every peer has to be treated as it
 * deserves. SALLY_SEEDS says how many (a tenth of them run here), SALLY_SEED runs one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/framing.h"
#include "sallyport/framing.h"
#include "sallyport/sim.h"
#include "sim/support/storm.h"

enum { GUESTS = 24, STREAM_MAX = 6000, MESSAGE_MS = 15000, LIMIT = 2000, SERVED_MS = 60000 };
#define SERVER "127.0.0.1:5002"

enum deed { GOOD, MALFORMED, TOO_LONG, STOPS, FINISHES, RESETS, DEEDS };
enum mode { ECHO, PAUSE, MODES_CALM, CLOSE = MODES_CALM, ABORT, MODES };

/* A scripted peer: what it sends, how much of that is whole messages, and what happened. */
struct guest {
    sally_sim_peer *peer;
    enum deed deed;
    unsigned char stream[STREAM_MAX];
    size_t len;  /* of all it sends */
    size_t good; /* of that, whole messages */
    size_t wrote;
    size_t got; /* of the echo */
    unsigned messages;
    bool finished;
    char address[64];
};

/* A connection of the server's. */
struct host {
    struct guest *guest; /* NULL: the address was lost */
    enum mode mode;
    unsigned messages;
    bool paused;
    bool ending;
    bool used;
    bool closed;
    sally_close_info info;
};

struct storm {
    sally_sim *sim;
    uint64_t seed;
    struct framing framing;
    bool calm;
    unsigned guests;
    unsigned hosts;
    struct guest guest[GUESTS];
    struct host host[GUESTS];
};

static struct storm *storm;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("SALLY_SEED=%llu: %s:%d: not so: %s", (unsigned long long)storm->seed,        \
                     __FILE__, __LINE__, #condition);                                              \
    } while (0)

static uint32_t draw(uint32_t below) { return sally_sim_random(storm->sim, below); }

/* ---- Framings ---- */

/* Two digits of length, then so many bytes; '!' is an error. */
static sally_decoded decode(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    const unsigned char *bytes = data;
    (void)user;
    if (*bytes == '!') return SALLY_DECODED_ERROR;
    if (len < 2) return SALLY_DECODED_MORE;
    uint32_t whole = 2u + bytes[0] + 256u * bytes[1];
    frame->bytes_wanted = whole;
    if (len < whole) return SALLY_DECODED_MORE;
    *frame =
        (sally_decoded_frame){.frame_bytes = whole, .payload_at = 2, .payload_bytes = whole - 2};
    return SALLY_DECODED_MESSAGE;
}

static int encode(void *user, const void *data, size_t len, sally_frame_edges *edges)
{
    (void)user;
    (void)data;
    edges->head[0] = (unsigned char)len;
    edges->head[1] = (unsigned char)(len >> 8);
    edges->head_bytes = 2;
    return edges->head[0] == '!' ? SALLY_EINVAL : 0;
}

/* Each with what it can't read, and with what is too long for it. */
static const struct {
    sally_framing plain;
    const char *malformed;
    size_t malformed_len;
    const char *too_long;
    size_t too_long_len;
} kinds[] = {
    {{.kind = SALLY_FRAMING_LENGTH, .length_bytes = 2, .length_adjust = -2},
     "\0\1",
     2,
     "\xff\xff",
     2},
    {{.kind = SALLY_FRAMING_LENGTH, .length_varint = true},
     "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
     10,
     "\x80\x80\4",
     3},
    {{.kind = SALLY_FRAMING_LENGTH, .little_endian = true, .length_bits = 22, .length_tag = 5},
     "\1\0\0\0",
     4,
     "\0\x40\x40\1",
     4},
    {{.kind = SALLY_FRAMING_LINE, .refuse_empty = true}, "\r\n", 2, NULL, LIMIT},
    {{.kind = SALLY_FRAMING_DELIMITER, .end = "xxy", .end_bytes = 3, .refuse_empty = true},
     "xxy",
     3,
     NULL,
     LIMIT},
    {{.kind = SALLY_FRAMING_MARKS, .begin = "<", .begin_bytes = 1, .end = "\n>", .end_bytes = 2},
     "?",
     1,
     NULL,
     LIMIT},
    {{.kind = SALLY_FRAMING_CUSTOM, .decode = decode, .encode = encode}, "!", 1, "\xff\xff", 2},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static sally_framing plain_of(unsigned kind)
{
    sally_framing plain = kinds[kind].plain;
    plain.message_bytes_max = LIMIT;
    return plain;
}

/* ---- The server ---- */

static struct host *host_of(sally_conn *conn)
{
    struct host *host = sally_conn_user(conn);
    CHECK(host->used && !host->closed);
    return host;
}

static void on_open(sally_conn *conn)
{
    char address[64];
    CHECK(storm->hosts < GUESTS);
    struct host *host = &storm->host[storm->hosts++];
    *host = (struct host){.used = true, .mode = (enum mode)draw(storm->calm ? MODES_CALM : MODES)};
    sally_conn_set_user(conn, host);
    sally_conn_peer(conn, address, sizeof address);
    for (unsigned i = 0; i < storm->guests; i++) {
        if (strcmp(storm->guest[i].address, address) == 0) host->guest = &storm->guest[i];
    }
}

static void end(sally_conn *conn, struct host *host, int (*call)(sally_conn *conn))
{
    host->ending = true;
    CHECK(call(conn) == 0);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    struct host *host = host_of(conn);
    unsigned number = 0;
    CHECK(!host->paused && !host->ending);
    CHECK(len >= 6);
    for (int i = 0; i < 6; i++) number = number * 10 + (((const unsigned char *)data)[i] - '0');
    if (host->guest) CHECK(number == host->messages);
    host->messages++;
    int err = sally_conn_send_message(conn, data, len);
    if (err) end(conn, host, sally_conn_abort); /* no memory */
    if (err || draw(4)) return;
    if (host->mode == CLOSE) end(conn, host, sally_conn_close);
    if (host->mode == ABORT) end(conn, host, sally_conn_abort);
    if (host->mode != PAUSE) return;
    host->paused = true;
    CHECK(sally_conn_pause(conn) == 0);
    CHECK(sally_conn_timer(conn, 1 + draw(300)) == 0);
}

static void on_timer(sally_conn *conn)
{
    struct host *host = host_of(conn);
    host->paused = false;
    CHECK(sally_conn_resume(conn) == 0);
}

static void on_eof(sally_conn *conn)
{
    struct host *host = host_of(conn);
    CHECK(!host->paused && !host->ending);
    if (storm->calm && host->guest)
        CHECK(sally_conn_message_bytes(conn) == host->guest->len - host->guest->good);
    end(conn, host, sally_conn_close);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct host *host = host_of(conn);
    host->closed = true;
    host->info = *info;
    if (!host->guest) return;
    enum deed deed = host->guest->deed;
    CHECK(host->messages <= host->guest->messages);
    if (info->reason == SALLY_CLOSE_MALFORMED) CHECK(deed == MALFORMED);
    if (info->reason == SALLY_CLOSE_MESSAGE_TOO_LONG) CHECK(deed == TOO_LONG);
}

/* ---- Guests ---- */

static void add(struct guest *guest, const void *data, size_t len)
{
    CHECK(guest->len + len <= STREAM_MAX);
    memcpy(guest->stream + guest->len, data, len);
    guest->len += len;
}

/* Its number, and then anything that is no mark. */
static bool add_message(struct guest *guest)
{
    char payload[600];
    sally_frame_edges edges;
    size_t len = 7 + draw(draw(3) ? 40 : 500);
    memset(payload, 'a' + (int)draw(20), sizeof payload);
    snprintf(payload, sizeof payload, "%06u", guest->messages);
    payload[6] = '.';
    if (framing_wrap(&storm->framing, payload, len, &edges)) return false;
    if (guest->len + len + sizeof edges > STREAM_MAX - LIMIT) return false;
    add(guest, edges.head, edges.head_bytes);
    add(guest, payload, len);
    add(guest, edges.tail, edges.tail_bytes);
    guest->good = guest->len;
    guest->messages++;
    return true;
}

static void add_end(struct guest *guest, unsigned kind)
{
    static const char endless[LIMIT] = "<"; /* and zeros */
    if (guest->deed == MALFORMED) {
        add(guest, kinds[kind].malformed, kinds[kind].malformed_len);
    } else if (guest->deed == TOO_LONG) {
        add(guest, kinds[kind].too_long ? kinds[kind].too_long : endless, kinds[kind].too_long_len);
    } else if (guest->deed == STOPS || guest->deed == FINISHES) {
        size_t good = guest->good, messages = guest->messages;
        if (!add_message(guest)) return;
        guest->good = good;
        guest->messages = (unsigned)messages;
        guest->len -= 1 + draw((uint32_t)(guest->len - good - 1));
    }
}

static void invite(unsigned kind)
{
    if (storm->guests == GUESTS) return;
    struct guest *guest = &storm->guest[storm->guests++];
    *guest = (struct guest){.deed = (enum deed)draw(DEEDS)};
    for (uint32_t left = draw(20); left; left--) (void)add_message(guest);
    add_end(guest, kind);
    guest->peer = sally_sim_dial(storm->sim, SERVER);
    CHECK(guest->peer);
    sally_sim_peer_address(guest->peer, guest->address, sizeof guest->address);
}

static void act(struct guest *guest)
{
    size_t left = guest->len - guest->wrote, len;
    if (sally_sim_peer_get_state(guest->peer) == SALLY_SIM_CONNECTING) return;
    if (left) {
        size_t piece = 1 + draw((uint32_t)(storm->calm || draw(2) ? left : left / 8));
        guest->wrote += sally_sim_peer_write(guest->peer, guest->stream + guest->wrote, piece);
    } else if (!guest->finished && guest->deed == FINISHES) {
        sally_sim_peer_finish(guest->peer);
        guest->finished = true;
    } else if (!guest->finished && guest->deed == RESETS && draw(3) == 0) {
        sally_sim_peer_reset(guest->peer);
        guest->finished = true;
    }
    const void *bytes = sally_sim_peer_received(guest->peer, &len);
    CHECK(len <= guest->good - guest->got);
    if (len) CHECK(memcmp(bytes, guest->stream + guest->got, len) == 0);
    guest->got += len;
    sally_sim_peer_consume(guest->peer, len);
    if (sally_sim_peer_get_state(guest->peer) == SALLY_SIM_FINISHED)
        sally_sim_peer_close(guest->peer);
}

/* ---- A run ---- */

static void act_for(uint32_t virtual_ms)
{
    uint64_t until = sally_sim_now_ms(storm->sim) + virtual_ms;
    while (sally_sim_now_ms(storm->sim) < until) {
        for (unsigned i = 0; i < storm->guests; i++) act(&storm->guest[i]);
        if (sally_sim_run(storm->sim, 1 + draw(100)) == 1 && draw(8) == 0) break;
    }
}

/* What each deed deserves when nothing fails. */
static void judge(const struct host *host)
{
    const struct guest *guest = host->guest;
    static const sally_close_reason deserved[] = {
        [GOOD] = SALLY_CLOSE_PEER_CLOSED,          [MALFORMED] = SALLY_CLOSE_MALFORMED,
        [TOO_LONG] = SALLY_CLOSE_MESSAGE_TOO_LONG, [STOPS] = SALLY_CLOSE_MESSAGE_TIMEOUT,
        [FINISHES] = SALLY_CLOSE_PEER_CLOSED,
    };
    bool whole = guest->len == guest->good;
    CHECK(host->messages == guest->messages);
    CHECK(guest->got == guest->good);
    if (guest->deed == GOOD || (guest->deed == STOPS && whole)) {
        CHECK(!host->closed);
        return;
    }
    CHECK(host->closed);
    CHECK(host->info.reason == deserved[guest->deed]);
    bool cut = guest->deed == STOPS || guest->deed == FINISHES;
    CHECK(host->info.bytes_truncated == (cut ? guest->len - guest->good : 0));
}

/* Each guest from here on has been a connection; but one that resets may have gone before. */
static unsigned judge_from(const struct guest *first)
{
    unsigned judged = 0, wanted = 0;
    for (unsigned i = 0; i < storm->hosts; i++) {
        const struct guest *guest = storm->host[i].guest;
        if (!guest || guest < first || guest->deed == RESETS) continue;
        judge(&storm->host[i]);
        judged++;
    }
    for (const struct guest *guest = first; guest < storm->guest + storm->guests; guest++)
        wanted += guest->deed != RESETS;
    CHECK(judged == wanted);
    return judged;
}

static uint64_t run(uint64_t seed, uint64_t *served)
{
    struct storm here = {.seed = seed};
    storm = &here;
    assert_int_equal(sally_sim_create(&storm->sim, seed, NULL), 0);
    unsigned kind = draw(KINDS);
    sally_framing plain = plain_of(kind);
    CHECK(framing_init(&storm->framing, &plain) == 0);
    sally_engine *engine;
    sally_engine_options options = {.shards = 1 + draw(3), .recv_buf_bytes = 64 + draw(3000)};
    CHECK(sally_sim_engine(storm->sim, &options, &engine) == 0);
    sally_handler handler = {.on_open = on_open,
                             .on_message = on_message,
                             .on_timer = on_timer,
                             .on_eof = on_eof,
                             .on_close = on_close};
    sally_server_options server = {
        .conn = {.framing = &plain, .message_ms = MESSAGE_MS, .first_byte_ms = SALLY_FOREVER}};
    if (draw(2)) server.conn.send_bytes_max = 4096;
    CHECK(sally_listen(engine, SERVER, &handler, &server, NULL) == 0);
    sally_sim_faults faults;
    sally_sim_draw_faults(storm->sim, &faults);
    sally_sim_set_faults(storm->sim, &faults);
    for (unsigned i = 0; i < GUESTS / 2; i++) {
        invite(kind);
        act_for(draw(300));
    }
    act_for(3000);
    sally_sim_set_faults(storm->sim, NULL);
    act_for(20000); /* what had begun ends */
    const struct guest *first = &storm->guest[storm->guests];
    storm->calm = true;
    while (storm->guests < GUESTS) invite(kind);
    act_for(SERVED_MS);
    unsigned judged = judge_from(first);
    *served += judged;
    uint64_t hash = sally_sim_hash(storm->sim);
    CHECK(sally_engine_destroy(engine) == 0);
    sally_sim_destroy(storm->sim);
    return hash;
}

static void every_peer_is_treated_as_it_deserves(void **state)
{
    (void)state;
    uint64_t only = storm_only_seed(), seeds = (storm_seeds(3000) + 9) / 10, served = 0;
    for (uint64_t i = 0; i < (only ? 1 : seeds); i++) (void)run(only ? only : i + 1, &served);
    printf("%llu seeds, %llu peers judged\n", (unsigned long long)seeds,
           (unsigned long long)served);
    assert_true(served > 0);
}

static void a_seed_is_one_run(void **state)
{
    (void)state;
    uint64_t served = 0;
    for (uint64_t seed = 1; seed <= 10; seed++)
        assert_true(run(seed, &served) == run(seed, &served));
    assert_true(run(1, &served) != run(2, &served));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_peer_is_treated_as_it_deserves),
        cmocka_unit_test(a_seed_is_one_run),
    };
    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}
