/* Connections whose filters aren't ready yet, among all that may happen to them meanwhile: sends by
 * id and for many, drains, stops, bans, and the books that are kept of them (P-54). */
#include <stdlib.h>
#include <string.h>

#include "net/support/mill.h"
#include "sallyport/admission.h"
#include "sallyport/group.h"
#include "sallyport/upstream.h"

enum { EARLY = 1000 };

#define ASKS   "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
#define AGREES "HTTP/1.1 200 Connection established\r\n\r\n"

/* ---- wait: nothing is said before the peer's first byte, and then all goes as it is ---- */

static bool wait_ready(const void *state) { return *(const bool *)state; }

static int wait_in(void *state, sally_filter_io *io)
{
    if (*(bool *)state) return pass_on(state, io);
    io->used = io->len > 0;
    *(bool *)state = io->used;
    return SALLY_FILTERED_ALL;
}

static const sally_filter wait_filter = {.name = "wait",
                                         .state_bytes = sizeof(bool),
                                         .ready = wait_ready,
                                         .in = wait_in,
                                         .out = pass_on};

/* ---- Sends ---- */

static void note_post(sally_conn *conn, void *arg)
{
    if (!conn) atomic_store((atomic_bool *)arg, true); /* it is not open */
}

/* What is sent by id before the proxy has agreed is more than the high mark: that pauses reading
 * once it is on its way, and not the handshake that it waits for. */
static void what_waits_for_a_handshake_does_not_hold_it_up(const struct stage_way *way)
{
    char sent[EARLY], got[EARLY], address[64];
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_ignore, .no_server = true});
    int door = raw_listen(address, sizeof address, 5);
    const sally_upstream upstream = {.kind = SALLY_UPSTREAM_HTTP, .address = address};
    const sally_connect_options options = {.upstream = &upstream,
                                           .conn = {.filters = &wait_filter,
                                                    .filter_count = 1,
                                                    .first_byte_ms = 3000,
                                                    .send_bytes_max = 2 * EARLY,
                                                    .send_high_bytes = EARLY / 2}};
    sally_id id;
    atomic_bool arrived = false;
    assert_int_equal(stage_connect(stage, "a.example:443", &options, &id), 0);
    int fd = raw_accept(door);
    assert_true(raw_read(fd, got, sizeof ASKS - 1));
    memset(sent, 'e', sizeof sent);
    assert_int_equal(sally_send(stage->engine, id, sent, sizeof sent), 0);
    assert_int_equal(sally_post(stage->engine, id, note_post, &arrived), 0);
    STAGE_WAIT(atomic_load(&arrived));
    assert_true(raw_send(fd, AGREES, sizeof AGREES - 1));
    assert_true(raw_send(fd, "!", 1));
    assert_true(raw_read(fd, got, sizeof got));
    assert_memory_equal(got, sent, sizeof sent);
    assert_true(raw_send(fd, "and on", 6));
    struct actor *actor = stage_actor(stage, 0);
    STAGE_WAIT(atomic_load(&actor->bytes_in) == 6);
    raw_close(fd);
    (void)actor_wait_closed(actor);
    raw_close(door);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(what_waits_for_a_handshake_does_not_hold_it_up, 1),
};

int main(int argc, char **argv)
{
    return stage_run("filter_handshake", tests, sizeof tests / sizeof *tests, argc, argv);
}
