/* See audience.h. */
#include "sim/support/audience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

unsigned char audience_byte(uint64_t at) { return (unsigned char)(at * 41 + at / 253); }

void audience_come(struct audience *audience, sally_sim *sim, const char *address)
{
    sally_sim_faults faults;
    *audience = (struct audience){.sim = sim};
    for (int i = 0; i < AUDIENCE_PEERS; i++) audience->peers[i] = sally_sim_dial(sim, address);
    sally_sim_draw_faults(sim, &faults);
    if (sally_sim_seed(sim) % 2) sally_sim_set_faults(sim, &faults);
}

/* All that it has is the stream's next bytes. */
static void peer_reads(sally_sim_peer *peer, uint64_t *read)
{
    size_t len;
    const unsigned char *bytes = sally_sim_peer_received(peer, &len);
    for (size_t i = 0; i < len; i++) assert_int_equal(bytes[i], audience_byte((*read)++));
    sally_sim_peer_consume(peer, len);
}

void audience_act(struct audience *audience)
{
    uint32_t i = sally_sim_random(audience->sim, AUDIENCE_PEERS);
    sally_sim_peer *peer = audience->peers[i];
    switch (sally_sim_random(audience->sim, 120)) {
    case 0: sally_sim_peer_finish(peer); break;
    case 1: sally_sim_peer_reset(peer); break;
    case 2:
    case 3: sally_sim_peer_stop_reading(peer); break;
    default:
        sally_sim_peer_read(peer);
        peer_reads(peer, &audience->read[i]);
        break;
    }
    sally_sim_run(audience->sim, sally_sim_random(audience->sim, 50));
}

void audience_calm(struct audience *audience)
{
    sally_sim_set_faults(audience->sim, NULL);
    for (int i = 0; i < AUDIENCE_PEERS; i++) sally_sim_peer_read(audience->peers[i]);
}

void audience_cut(struct audience *audience, const sally_conn *conn)
{
    assert_true(audience->cut_count < AUDIENCE_PEERS);
    char *address = audience->cut[audience->cut_count++];
    (void)sally_conn_peer(conn, address, sizeof audience->cut[0]);
}

static void was_not_cut(const struct audience *audience, const sally_sim_peer *peer)
{
    char address[64];
    (void)sally_sim_peer_address(peer, address, sizeof address);
    for (unsigned i = 0; i < audience->cut_count; i++)
        assert_string_not_equal(address, audience->cut[i]);
}

unsigned audience_read_to_end(struct audience *audience)
{
    unsigned finished = 0;
    for (int round = 0; round < 100; round++) {
        sally_sim_run(audience->sim, 300);
        for (int i = 0; i < AUDIENCE_PEERS; i++) peer_reads(audience->peers[i], &audience->read[i]);
    }
    for (int i = 0; i < AUDIENCE_PEERS; i++) {
        if (!sally_sim_peer_finished(audience->peers[i])) continue;
        was_not_cut(audience, audience->peers[i]);
        finished++;
    }
    return finished;
}
