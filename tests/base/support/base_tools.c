#include "base/support/base_tools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/clock.h"
#include "support/lot.h"

/* ---- Dice ---- */

void dice_init(struct dice *dice, const char *name)
{
    const char *given = getenv("SALLY_SEED");
    dice->state = given ? strtoull(given, NULL, 0) : os_clock_ns();
    print_message("%s: SALLY_SEED=%llu\n", name, (unsigned long long)dice->state);
}

uint64_t dice_roll(struct dice *dice) { return lot_draw(&dice->state); }

uint64_t dice_below(struct dice *dice, uint64_t bound) { return dice_roll(dice) % bound; }

uint64_t dice_any_size(struct dice *dice, unsigned bits_max)
{
    uint64_t bits = dice_below(dice, bits_max + 1);
    return bits ? dice_roll(dice) >> (64 - bits) : 0;
}

/* ---- Ledger ---- */

struct stub {
    size_t bytes;
    size_t check; /* and keeps what follows aligned for any type */
};

static void *ledger__alloc(void *user, size_t bytes)
{
    struct ledger *ledger = user;
    size_t number = ++ledger->allocs;
    if (number == ledger->fail_at) return NULL;
    if (ledger->fail_from && number >= ledger->fail_from) return NULL;
    struct stub *stub = malloc(sizeof *stub + bytes);
    assert_non_null(stub);
    *stub = (struct stub){bytes, ~bytes};
    memset(stub + 1, 0xA5, bytes);
    ledger->blocks++;
    return stub + 1;
}

static void ledger__free(void *user, void *block, size_t bytes)
{
    struct ledger *ledger = user;
    struct stub *stub = (struct stub *)block - 1;
    assert_int_equal(stub->bytes, bytes);
    assert_int_equal(stub->check, ~bytes);
    assert_true(ledger->blocks > 0);
    ledger->blocks--;
    stub->check = 0;
    free(stub);
}

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){0};
    mem_init(&ledger->mem);
    ledger->mem.alloc = ledger__alloc;
    ledger->mem.free = ledger__free;
    ledger->mem.user = ledger;
}

void ledger_check_empty(const struct ledger *ledger)
{
    assert_int_equal(ledger->blocks, 0);
    assert_int_equal(mem_in_use(&ledger->mem), 0);
}
