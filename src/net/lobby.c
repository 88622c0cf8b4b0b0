#include "net/lobby.h"

#include <string.h>

struct lobby_seat {
    struct newcomer newcomer;
    struct lobby_seat *next;
    unsigned char first[];
};

static size_t seat_bytes(const struct newcomer *newcomer)
{
    return sizeof(struct lobby_seat) + newcomer->first.len;
}

bool lobby_put(struct lobby *lobby, struct mem *mem, const struct newcomer *newcomer)
{
    struct lobby_seat *seat = mem_zalloc(mem, seat_bytes(newcomer));
    if (!seat) return false;
    seat->newcomer = *newcomer;
    if (newcomer->first.len) memcpy(seat->first, newcomer->first.data, newcomer->first.len);
    seat->newcomer.first.data = seat->first;
    if (lobby->last)
        lobby->last->next = seat;
    else
        lobby->first = seat;
    lobby->last = seat;
    return true;
}

const struct newcomer *lobby_first(const struct lobby *lobby)
{
    return lobby->first ? &lobby->first->newcomer : NULL;
}

struct lobby_seat *lobby_take(struct lobby *lobby)
{
    struct lobby_seat *seat = lobby->first;
    if (!seat) return NULL;
    lobby->first = seat->next;
    if (!lobby->first) lobby->last = NULL;
    return seat;
}

struct newcomer *lobby_newcomer(struct lobby_seat *seat) { return &seat->newcomer; }

void lobby_free(struct lobby_seat *seat, struct mem *mem)
{
    mem_free(mem, seat, seat_bytes(&seat->newcomer));
}
