/* Peers: the other ends, with patterns in both directions. See stage.h. */
#include <stdlib.h>
#include <string.h>

#include "port/support/stage.h"

/* A simulated network's buffers may be tiny, and most of a piece would be made in vain. */
enum { PEER_PIECE = STAGE_PIECE_BYTES, PEER_PIECE_SIM = 512 };

struct peer *stage_peer(struct stage *stage)
{
    /* closed ones are used again, from the end: rules keep theirs only while open */
    struct peer *peer = NULL;
    if (stage->peers_len < STAGE_PEERS_MAX) {
        peer = &stage->peers[stage->peers_len++];
    } else {
        for (unsigned i = 0; i < STAGE_PEERS_MAX && !peer; i++)
            if (!stage->peers[i].open) peer = &stage->peers[i];
    }
    if (!peer) abort();
    memset(peer, 0, sizeof *peer);
    peer->stage = stage;
    return peer;
}

struct peer *peer_connect(struct stage *stage, const struct address *to)
{
    struct peer *peer = stage_peer(stage);
    CHECK_EQUAL(stage->ground->connect(stage->world, to, &peer->id), 0);
    peer->open = true;
    return peer;
}

struct peer *peer_accept(struct stage *stage, intptr_t listener)
{
    intptr_t id;
    if (!stage->ground->accept(stage->world, listener, &id)) return NULL;
    struct peer *peer = stage_peer(stage);
    peer->id = id;
    peer->open = true;
    return peer;
}

/* Linux queues one more than the backlog says, and some more in the handshake. */
intptr_t stage_hole(struct stage *stage, struct address *at)
{
    enum { CROWD = 4 };
    struct address loopback = stage_loopback();
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 0, &listener, at), 0);
    for (unsigned i = 0; i < CROWD; i++) peer_connect(stage, at);
    stage_settle(stage);
    return listener;
}

bool peer_wrote(struct peer *peer, uint64_t total)
{
    struct stage *stage = peer->stage;
    unsigned char *piece = stage->piece;
    while (peer->wrote < total) {
        size_t len = stage->ground->real ? PEER_PIECE : PEER_PIECE_SIM;
        if (len > total - peer->wrote) len = (size_t)(total - peer->wrote);
        pattern_fill(peer->tag_out, peer->wrote, piece, len);
        int64_t n = stage->ground->write(stage->world, peer->id, piece, len);
        if (n == PEER_RESET) peer->reset = true;
        if (n <= 0) return peer->reset;
        peer->wrote += (uint64_t)n;
    }
    return true;
}

void peer_write(struct peer *peer, uint64_t total)
{
    struct stage *stage = peer->stage;
    UNTIL(stage, peer_wrote(peer, total));
    CHECK(!peer->reset);
}

uint64_t peer_read(struct peer *peer, uint64_t max)
{
    struct stage *stage = peer->stage;
    unsigned char *piece = stage->piece;
    uint64_t done = 0;
    while (done < max && !peer->ended && !peer->reset) {
        size_t len = max - done < PEER_PIECE ? (size_t)(max - done) : PEER_PIECE;
        int64_t n = stage->ground->read(stage->world, peer->id, piece, len);
        peer->ended = n == PEER_END;
        peer->reset = n == PEER_RESET;
        if (n <= 0) break;
        size_t at = 0;
        if (peer->tag_in && !pattern_equal(peer->tag_in, peer->got, piece, (size_t)n, &at))
            trial_fail("P6", __FILE__, __LINE__, "byte %llu came out wrong at the peer",
                       (unsigned long long)(peer->got + at));
        peer->got += (uint64_t)n;
        done += (uint64_t)n;
    }
    return done;
}

bool peer_got(struct peer *peer, uint64_t total)
{
    if (peer->got < total) peer_read(peer, total - peer->got);
    return peer->got >= total || peer->ended || peer->reset;
}

bool peer_ended(struct peer *peer)
{
    peer_read(peer, UINT64_MAX);
    return peer->ended;
}

bool peer_was_reset(struct peer *peer)
{
    peer_read(peer, UINT64_MAX);
    return peer->reset;
}

void peer_finish(struct peer *peer)
{
    peer->stage->ground->finish(peer->stage->world, peer->id);
    peer->finished = true;
}

void peer_stray(struct peer *peer, uint32_t bytes_max)
{
    struct stage *stage = peer->stage;
    switch (stage_random(stage, 40)) {
    case 0: peer_close(peer, PORT_CLOSE_RST); break;
    case 1: peer_close(peer, PORT_CLOSE_FIN); break;
    case 2:
        if (!peer->finished) peer_finish(peer);
        break;
    default:
        if (!peer->finished && !peer->reset && stage_random(stage, 2))
            peer_wrote(peer, peer->wrote + 1 + stage_random(stage, bytes_max));
        else
            peer_read(peer, stage_random(stage, 200000));
    }
}

void peer_close(struct peer *peer, enum port_close_mode mode)
{
    if (!peer->open) abort();
    peer->stage->ground->close(peer->stage->world, peer->id, mode);
    peer->open = false;
}
