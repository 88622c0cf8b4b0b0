/* Tools of the tests of base: numbers from a seed that is printed, and an allocator that fails on
 * demand and checks what is given back. One thread each. */
#ifndef BASE_SUPPORT_BASE_TOOLS_H
#define BASE_SUPPORT_BASE_TOOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct dice {
    uint64_t state;
};

/* A new seed in each run, or the one in the environment's SALLY_SEED; printed with `name`. */
void dice_init(struct dice *dice, const char *name);

uint64_t dice_roll(struct dice *dice);

/* 0 to bound - 1. */
uint64_t dice_below(struct dice *dice, uint64_t bound);

/* Of any magnitude: every number of bits is equally likely. */
uint64_t dice_any_size(struct dice *dice, unsigned bits_max);

struct ledger {
    struct mem mem;   /* what is tested takes this */
    size_t allocs;    /* asked for so far, from 1 */
    size_t fail_at;   /* the one that fails; 0: none */
    size_t fail_from; /* all from this one on fail; 0: none */
    size_t blocks;    /* out */
};

/* Blocks are filled with rubbish, so that nothing can count on zeroes, and each is checked when it
 * comes back: the size must be the one that was asked for. */
void ledger_init(struct ledger *ledger);

/* Asserts that all is back, by the ledger's count and by mem's. */
void ledger_check_empty(const struct ledger *ledger);

#endif
