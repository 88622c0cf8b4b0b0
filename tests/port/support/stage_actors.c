/* Actors: starting operations with a look at what must hold when the call returns, and what they do
 * about events. See stage.h. */
#include <stdlib.h>
#include <string.h>

#include "port/support/stage_own.h"
#include "sallyport/error.h"

/* --- what they do about events --- */

static uint64_t sum_of(const unsigned char *bytes, uint32_t len)
{
    uint64_t sum = len;
    for (uint32_t i = 0; i < len; i++) sum = sum * 31 + bytes[i];
    return sum;
}

static void hold(struct stage *stage, const struct port_event *event)
{
    if (stage->held_len == STAGE_HELD_MAX) abort();
    stage->held[stage->held_len].buf = event->buf;
    stage->held[stage->held_len].bytes = event->bytes;
    stage->held[stage->held_len].data = event->data;
    stage->held[stage->held_len].sum = sum_of(event->data, event->bytes);
    stage->held_len++;
}

void stage_release_held(struct stage *stage)
{
    for (unsigned i = 0; i < stage->held_len; i++) {
        const void *data = stage->held[i].data;
        if (sum_of(data, stage->held[i].bytes) != stage->held[i].sum)
            trial_fail("P5", __FILE__, __LINE__, "lent bytes changed before they were released");
        port_buf_release(stage->port, stage->held[i].buf, data);
    }
    stage->held_len = 0;
}

static void start_send(struct stage *stage, struct actor *actor, const struct span *spans,
                       unsigned count)
{
    actor->flying |= PORT_BIT(PORT_SEND);
    port_send(stage->port, &actor->sock, spans, count);
    stage_check_bits(actor, "P3", "when port_send returns");
}

static void echo(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (actor_flies(actor, PORT_SEND)) abort(); /* echo peers wait for their answer */
    actor->out = malloc(event->bytes);
    if (!actor->out) abort();
    memcpy(actor->out, event->data, event->bytes);
    actor->out_len = actor->asked = event->bytes;
    struct span span = {actor->out, event->bytes};
    start_send(stage, actor, &span, 1);
}

static void play_recv(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (event->error) return;
    if (!event->bytes) {
        actor->ended = true;
        return;
    }
    size_t at = 0;
    if (actor->tag_in && !pattern_equal(actor->tag_in, actor->got, event->data, event->bytes, &at))
        trial_fail(actor->tag_in & TAG_OF_REUSE ? "P12" : "P5", __FILE__, __LINE__,
                   "byte %llu is not what the peer sent", (unsigned long long)(actor->got + at));
    actor->got += event->bytes;
    if (actor->echo && !actor_flies(actor, PORT_CLOSE)) echo(stage, actor, event);
    if (actor->hold) {
        hold(stage, event);
    } else {
        port_buf_release(stage->port, event->buf, event->data);
    }
}

static void send_more(struct stage *stage, struct actor *actor)
{
    uint64_t bytes = actor->send_left;
    if (actor->chunk && bytes > actor->chunk) bytes = actor->chunk;
    if (bytes > 1024 * 1024) bytes = 1024 * 1024;
    stage_send(stage, actor, (uint32_t)bytes);
}

/* The struct was lent, as the bytes of other sends are. */
static void play_send_file(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    const struct port_file sent = *actor->file;
    memset(actor->file, 0xDD, sizeof *actor->file);
    free(actor->file);
    actor->file = NULL;
    if (event->error) {
        actor->file_left = 0;
        return;
    }
    actor->sent += event->bytes;
    if (!actor->file_left) return;
    actor->file_left -= event->bytes;
    if (actor->file_left && !actor_flies(actor, PORT_CLOSE))
        stage_send_file(stage, actor, sent.handle, sent.offset + event->bytes, actor->file_left);
}

static void play_send(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (actor->file) {
        play_send_file(stage, actor, event);
        return;
    }
    memset(actor->out, 0xDD, actor->out_len); /* a port that still reads them sends nonsense */
    free(actor->out);
    actor->out = NULL;
    if (event->error) {
        actor->send_left = 0;
        return;
    }
    actor->sent += event->bytes;
    if (!actor->send_left) return;
    actor->send_left -= event->bytes;
    if (actor->send_left && !actor_flies(actor, PORT_CLOSE)) send_more(stage, actor);
}

static void play_accept(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    if (event->error && actor->sock.hears &&
        (event->error == SALLY_ETIMEDOUT || event->error == SALLY_ERESET)) {
        actor->silent++;
        return;
    }
    if (event->error) {
        actor->accept_errors++;
        return;
    }
    actor->newcomers++;
    unsigned char *first = NULL;
    if (event->data) {
        if (!actor->sock.hears || !event->bytes)
            trial_fail("P14", __FILE__, __LINE__, "bytes came with an accept that wants none");
        if (!actor->refuse) first = memcpy(malloc(event->bytes), event->data, event->bytes);
        port_buf_release(stage->port, event->buf, event->data);
    }
    if (actor->refuse) {
        port_refuse(stage->port, event->accepted, PORT_CLOSE_FIN);
        return;
    }
    if (stage->arrivals_len == STAGE_ARRIVALS_MAX) abort();
    unsigned at = (stage->arrivals_head + stage->arrivals_len++) % STAGE_ARRIVALS_MAX;
    stage->arrivals[at].handle = event->accepted;
    stage->arrivals[at].peer = event->peer;
    stage->arrivals[at].first = first;
    stage->arrivals[at].first_len = first ? event->bytes : 0;
}

void stage_play(struct stage *stage, struct actor *actor, const struct port_event *event)
{
    actor->events[event->op]++;
    switch ((enum port_op)event->op) {
    case PORT_ACCEPT: play_accept(stage, actor, event); break;
    case PORT_RECV: play_recv(stage, actor, event); break;
    case PORT_SEND: play_send(stage, actor, event); break;
    case PORT_CONNECT:
    case PORT_CLOSE:
    case PORT_OPS: break;
    }
    if (actor->on_event) actor->on_event(stage, actor, event);
}

/* --- life --- */

struct actor *stage_actor(struct stage *stage)
{
    struct actor *actor = slots_take(&stage->socks);
    CHECK(actor);
    actor->sock.handle = PORT_NO_HANDLE;
    actor->number = ++stage->number_last;
    return actor;
}

void stage_give(struct stage *stage, struct actor *actor)
{
    if (!actor->closed || actor->flying) abort();
    memset(actor->sock.own, 0xEE, sizeof actor->sock.own);
    actor->sock.handle = (port_handle)0x6b6b6b6b;
    actor->sock.in_flight = actor->sock.state = actor->sock.marks = 0xEE;
    slots_give(&stage->socks, actor);
}

void stage_renew(struct stage *stage, struct actor *actor)
{
    if (!actor->closed || actor->flying) abort();
    unsigned char *bytes = (unsigned char *)actor;
    memset(bytes + sizeof actor->sock.slot, 0, sizeof *actor - sizeof actor->sock.slot);
    actor->sock.handle = PORT_NO_HANDLE;
    actor->number = ++stage->number_last;
}

void stage_drop(struct stage *stage, struct actor *actor, enum port_close_mode mode)
{
    stage_close(stage, actor, mode);
    AWAIT(stage, actor->closed);
    stage_give(stage, actor);
}

/* --- operations --- */

void stage_attach(struct stage *stage, struct actor *actor, port_handle handle)
{
    port_attach(stage->port, &actor->sock, handle, NULL);
    stage_check_bits(actor, "P3", "when port_attach returns");
}

void stage_accept(struct stage *stage, struct actor *actor)
{
    actor->flying |= PORT_BIT(PORT_ACCEPT);
    port_accept(stage->port, &actor->sock);
    stage_check_bits(actor, "P3", "when port_accept returns");
}

void stage_accept_stop(struct stage *stage, struct actor *actor)
{
    port_accept_stop(stage->port, &actor->sock);
    stage_check_bits(actor, "P3", "when port_accept_stop returns");
}

void stage_connect(struct stage *stage, struct actor *actor, const struct address *to,
                   const struct addr *from)
{
    struct address *copy = malloc(sizeof *copy); /* gone when the call returns */
    if (!copy) abort();
    *copy = *to;
    actor->flying |= PORT_BIT(PORT_CONNECT);
    port_connect(stage->port, &actor->sock, copy, from, NULL);
    memset(copy, 0xCC, sizeof *copy);
    free(copy);
    stage_check_bits(actor, "P3", "when port_connect returns");
}

static void check_first(struct actor *actor)
{
    size_t at = 0;
    if (actor->tag_in &&
        !pattern_equal(actor->tag_in, actor->got, actor->first, actor->first_len, &at))
        trial_fail("P14", __FILE__, __LINE__, "the first bytes are not what the peer sent");
    actor->got += actor->first_len;
    free(actor->first);
    actor->first = NULL;
}

void stage_recv(struct stage *stage, struct actor *actor)
{
    if (actor->first) check_first(actor);
    actor->flying |= PORT_BIT(PORT_RECV);
    port_recv(stage->port, &actor->sock);
    stage_check_bits(actor, "P3", "when port_recv returns");
}

void stage_recv_stop(struct stage *stage, struct actor *actor)
{
    port_recv_stop(stage->port, &actor->sock);
    stage_check_bits(actor, "P3", "when port_recv_stop returns");
}

void stage_send_spans(struct stage *stage, struct actor *actor, uint32_t bytes,
                      const uint32_t *sizes, unsigned count)
{
    struct span *spans = malloc(STAGE_SPANS_MAX * sizeof *spans);
    actor->out = malloc(bytes);
    if (!spans || !actor->out) abort();
    pattern_fill(actor->tag_out, actor->sent, actor->out, bytes);
    unsigned used = 0;
    uint32_t done = 0;
    while (done < bytes && used < STAGE_SPANS_MAX) {
        uint32_t len = sizes[used % count];
        if (len > bytes - done) len = bytes - done;
        spans[used++] = (struct span){actor->out + done, len};
        done += len;
    }
    actor->out_len = bytes;
    actor->asked = done;
    start_send(stage, actor, spans, used);
    memset(spans, 0xCC, STAGE_SPANS_MAX * sizeof *spans); /* the array is not kept */
    free(spans);
}

void stage_send(struct stage *stage, struct actor *actor, uint32_t bytes)
{
    stage_send_spans(stage, actor, bytes, &bytes, 1);
}

void stage_send_all(struct stage *stage, struct actor *actor, uint64_t bytes)
{
    actor->send_left = bytes;
    send_more(stage, actor);
}

void stage_send_file(struct stage *stage, struct actor *actor, os_file file, uint64_t offset,
                     uint64_t bytes)
{
    if (!(stage->port->abilities & PORT_CAN_SEND_FILE)) trial_skip("this port can't send files");
    if (actor->chunk && bytes > actor->chunk) bytes = actor->chunk;
    actor->file = malloc(sizeof *actor->file);
    if (!actor->file) abort();
    *actor->file = (struct port_file){file, offset, bytes};
    actor->asked = bytes < PORT_FILE_BYTES_MAX ? (uint32_t)bytes : PORT_FILE_BYTES_MAX;
    actor->flying |= PORT_BIT(PORT_SEND);
    port_send_file(stage->port, &actor->sock, actor->file);
    stage_check_bits(actor, "P3", "when port_send_file returns");
}

void stage_send_file_all(struct stage *stage, struct actor *actor, os_file file, uint64_t offset,
                         uint64_t bytes)
{
    actor->file_left = bytes;
    stage_send_file(stage, actor, file, offset, bytes);
}

void stage_fill(struct stage *stage, struct actor *actor)
{
    stage_send_all(stage, actor, UINT64_C(1) << 30);
    stage_settle(stage);
    CHECK(actor_flies(actor, PORT_SEND));
}

int64_t stage_send_now(struct stage *stage, struct actor *actor, uint32_t bytes)
{
    unsigned char *out = malloc(bytes);
    if (!out) abort();
    pattern_fill(actor->tag_out, actor->sent, out, bytes);
    struct span spans[2] = {{out, bytes / 2 + 1}, {out + bytes / 2 + 1, bytes - bytes / 2 - 1}};
    int sys_error = 0;
    int64_t taken =
        port_send_now(stage->port, &actor->sock, spans, spans[1].len ? 2 : 1, &sys_error);
    memset(out, 0xDD, bytes);
    free(out);
    stage_check_bits(actor, "P3", "when port_send_now returns");
    if (taken > bytes)
        trial_fail("P6", __FILE__, __LINE__, "port_send_now took %lld of %u bytes",
                   (long long)taken, bytes);
    if (taken > 0) actor->sent += (uint64_t)taken;
    return taken;
}

void stage_close(struct stage *stage, struct actor *actor, enum port_close_mode mode)
{
    actor->flying |= PORT_BIT(PORT_CLOSE);
    port_close(stage->port, &actor->sock, mode);
    stage_check_bits(actor, "P3", "when port_close returns");
}

/* --- connections --- */

struct address stage_loopback(void)
{
    struct address at = {.kind = ADDRESS_IP, .ip = {.family = ADDR_V4, .ip = {127, 0, 0, 1}}};
    return at;
}

struct address stage_loopback6(void)
{
    struct address at = {.kind = ADDRESS_IP, .ip = {.family = ADDR_V6}};
    at.ip.ip[15] = 1;
    return at;
}

struct actor *stage_listener(struct stage *stage, const struct address *at,
                             const struct port_listen_options *options, struct address *bound)
{
    port_handle handle;
    int sys_error = 0;
    int err = port_listen(stage->port, at, options, &handle, &sys_error);
    if (err) trial_fail(NULL, __FILE__, __LINE__, "port_listen: %d, system %d", err, sys_error);
    *bound = *at;
    if (at->kind != ADDRESS_PATH) CHECK_EQUAL(port_local(stage->port, handle, &bound->ip), 0);
    if (at->kind == ADDRESS_IP) CHECK(bound->ip.port != 0);
    struct actor *actor = stage_actor(stage);
    stage_attach(stage, actor, handle);
    return actor;
}

struct actor *stage_listener_for_data(struct stage *stage, uint32_t data_ms, uint32_t held_max,
                                      struct address *bound)
{
    struct address at = stage_loopback();
    struct port_sock_options options = {.accept_data_ms = data_ms, .accept_held_max = held_max};
    port_handle handle;
    CHECK_EQUAL(port_listen(stage->port, &at, NULL, &handle, NULL), 0);
    *bound = at;
    CHECK_EQUAL(port_local(stage->port, handle, &bound->ip), 0);
    struct actor *actor = stage_actor(stage);
    port_attach(stage->port, &actor->sock, handle, &options);
    stage_check_bits(actor, "P3", "when port_attach returns");
    return actor;
}

bool stage_has_newcomer(const struct stage *stage) { return stage->arrivals_len > 0; }

struct actor *stage_next(struct stage *stage)
{
    if (!stage->arrivals_len) abort();
    struct actor *actor = stage_actor(stage);
    const struct arrival *arrival = &stage->arrivals[stage->arrivals_head];
    stage_attach(stage, actor, arrival->handle);
    actor->first = arrival->first;
    actor->first_len = arrival->first_len;
    stage->arrivals_head = (stage->arrivals_head + 1) % STAGE_ARRIVALS_MAX;
    stage->arrivals_len--;
    return actor;
}

static void give_tags(struct stage *stage, struct actor *actor, struct peer *peer)
{
    uint32_t tag = (uint32_t)++stage->number_last * 2;
    actor->tag_in = peer->tag_out = tag;
    actor->tag_out = peer->tag_in = tag + 1;
}

void stage_open_door(struct stage *stage)
{
    struct address loopback = stage_loopback();
    if (stage->door) return;
    stage->door = stage_listener(stage, &loopback, NULL, &stage->door_at);
    stage_accept(stage, stage->door);
}

struct actor *stage_pair(struct stage *stage, struct peer **peer)
{
    stage_open_door(stage);
    struct peer *other = peer_connect(stage, &stage->door_at);
    UNTIL(stage,
          stage_has_newcomer(stage) && stage->ground->connected(stage->world, other->id) == 1);
    struct actor *actor = stage_next(stage);
    give_tags(stage, actor, other);
    *peer = other;
    return actor;
}

struct actor *stage_pair_out(struct stage *stage, struct peer **peer)
{
    struct address loopback = stage_loopback(), bound;
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 8, &listener, &bound), 0);
    struct actor *actor = stage_actor(stage);
    stage_connect(stage, actor, &bound, NULL);
    struct peer *other = NULL;
    AWAIT(stage, actor->endings[PORT_CONNECT]);
    CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
    UNTIL(stage, (other = peer_accept(stage, listener)) != NULL);
    stage->ground->close_listener(stage->world, listener);
    give_tags(stage, actor, other);
    *peer = other;
    return actor;
}
