/* Numbers that follow from a seed: a counter whose bits are mixed by multiplying and shifting, so
 * that any seed will do, and neighbours have nothing in common. */
#ifndef TESTS_SUPPORT_LOT_H
#define TESTS_SUPPORT_LOT_H

#include <stdint.h>

struct lot {
    uint64_t state;
};

static inline uint64_t lot_draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t lot_next(struct lot *lot) { return lot_draw(&lot->state); }

/* Below `below`; 0 for 0. */
static inline uint32_t lot_below(struct lot *lot, uint32_t below)
{
    return below ? (uint32_t)(lot_next(lot) % below) : 0;
}

#endif
