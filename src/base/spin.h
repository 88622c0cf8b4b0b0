/* Whether to look again instead of sleeping: adaptive spinning, for whom a wake-up by the system is
 * too slow. It pays when the next event comes before the system could have woken us, so the time
 * spent on it follows the gaps between events: while they are shorter than the limit it grows to
 * the limit, while they are longer it halves, and without events it ends. No clock: time is passed
 * in. One thread. */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum { SPIN_FIRST = 16 }; /* part of the limit that it begins with */

struct spin {
    uint64_t limit_ns; /* 0: never */
    uint64_t time_ns;  /* how long after an event it goes on now */
    uint64_t last_ns;  /* the last event; 0: none yet */
};

/* Something has come; called again for the same moment it grows faster, which a batch may. */
static inline void spin_event(struct spin *spin, uint64_t now_ns)
{
    if (!spin->limit_ns) return;
    bool soon = spin->last_ns && now_ns - spin->last_ns <= spin->limit_ns;
    uint64_t time_ns = soon ? 2 * spin->time_ns : spin->time_ns / 2;
    if (soon && time_ns < spin->limit_ns / SPIN_FIRST) time_ns = spin->limit_ns / SPIN_FIRST;
    spin->time_ns = time_ns < spin->limit_ns ? time_ns : spin->limit_ns;
    spin->last_ns = now_ns;
}

/* Whether to look again now. */
static inline bool spin_on(const struct spin *spin, uint64_t now_ns)
{
    return spin->time_ns && now_ns - spin->last_ns < spin->time_ns;
}

#endif
