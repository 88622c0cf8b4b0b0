#include "net/lobby.h"

struct lobby_seat {
    struct newcomer newcomer;
    struct lobby_seat *next;
};

bool lobby_put(struct lobby *lobby, struct mem *mem, const struct newcomer *newcomer)
{
    struct lobby_seat *seat = mem_zalloc(mem, sizeof *seat);
    if (!seat) return false;
    seat->newcomer = *newcomer;
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

bool lobby_take(struct lobby *lobby, struct mem *mem, struct newcomer *newcomer)
{
    struct lobby_seat *seat = lobby->first;
    if (!seat) return false;
    *newcomer = seat->newcomer;
    lobby->first = seat->next;
    if (!lobby->first) lobby->last = NULL;
    mem_free(mem, seat, sizeof *seat);
    return true;
}
