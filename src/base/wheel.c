/* The timing wheel. The memory is the wheel's owner's, each timer its own owner's. One thread.
 *
 * Level 0 has a slot for each of the 64 ms of the present block; a slot of level n covers 64^n ms.
 * Where a timer is depends on nothing but `now_ms` and `due_ms`: on the level of the highest 6-bit
 * digit in which the two differ, in the slot of due_ms' digit. Time moves from one occupied slot's
 * beginning to the next, and a slot is spread over the levels below at the moment it begins, while
 * those are empty. So timers due at one tick are at all times in one list, each appended behind
 * those set before it, and a cascade, which walks from the head, keeps that order. That is all that
 * ties need: no sequence number.
 *
 * From level 1 up, only slots after now's digit can be occupied, so slot 0 never is by that rule.
 * Slot 0 of the top level therefore takes what is due after the block that all the levels cover
 * (2^36 ms, two years), and is spread when the next such block begins. */
#include "base/wheel.h"

#include <assert.h>

enum { WHEEL_DIGIT = WHEEL_SLOTS - 1, WHEEL_TOP = WHEEL_LEVELS - 1 };
#define WHEEL_MS_MAX ((UINT64_C(1) << 56) - 1)

/* ---- Lists ---- */

static void list_init(struct timer *head) { head->prev = head->next = head; }

static bool list_is_empty(const struct timer *head) { return head->next == head; }

static void list_append(struct timer *head, struct timer *timer)
{
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
}

/* All of `from` behind what `to` has. */
static void list_splice(struct timer *to, struct timer *from)
{
    if (list_is_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* ---- Slots ---- */

static unsigned digit_of(uint64_t ms, unsigned level)
{
    return (unsigned)(ms >> (level * WHEEL_BITS)) & WHEEL_DIGIT;
}

static unsigned lowest_bit(uint64_t bits) { return (unsigned)__builtin_ctzll(bits); }

/* The slot's number, counted through all levels. */
static unsigned wheel__place(uint64_t now_ms, uint64_t due_ms)
{
    uint64_t differing = now_ms ^ due_ms;
    if (!differing) return digit_of(now_ms, 0);
    unsigned level = (63 - (unsigned)__builtin_clzll(differing)) / WHEEL_BITS;
    if (level > WHEEL_TOP) return WHEEL_TOP * WHEEL_SLOTS;
    return level * WHEEL_SLOTS + digit_of(due_ms, level);
}

/* True when its slot was empty. */
static bool wheel__link(struct wheel *wheel, struct timer *timer)
{
    unsigned place = wheel__place(wheel->now_ms, timer->due_ms);
    unsigned level = place / WHEEL_SLOTS, slot = place % WHEEL_SLOTS;
    bool first = !(wheel->occupied[level] >> slot & 1);
    list_append(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= UINT64_C(1) << slot;
    return first;
}

/* True when its list is empty now. */
static bool wheel__unlink(struct wheel *wheel, struct timer *timer)
{
    struct timer *head = timer->prev;
    bool last = head == timer->next;
    head->next = timer->next;
    timer->next->prev = head;
    timer->prev = timer->next = NULL;
    if (!last || head == &wheel->due) return last;
    unsigned place = (unsigned)(head - &wheel->slots[0][0]);
    wheel->occupied[place / WHEEL_SLOTS] &= ~(UINT64_C(1) << place % WHEEL_SLOTS);
    return true;
}

/* When the first occupied slot begins: a slot of a level begins before any of the next level. */
static uint64_t wheel__next_slot_ms(const struct wheel *wheel)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t occupied = wheel->occupied[level];
        if (!occupied) continue;
        unsigned shift = level * WHEEL_BITS;
        uint64_t block_ms = wheel->now_ms >> shift >> WHEEL_BITS << WHEEL_BITS << shift;
        uint64_t slot = lowest_bit(occupied);
        if (level == WHEEL_TOP) {
            occupied &= ~UINT64_C(1);
            slot = occupied ? lowest_bit(occupied) : WHEEL_SLOTS;
        }
        return block_ms + (slot << shift);
    }
    return WHEEL_NEVER;
}

/* Whenever a list was filled or emptied: it is asked for in every turn of a shard, and changes
 * seldom. */
static void wheel__refresh(struct wheel *wheel)
{
    /* somebody stopped handing out half-way: there is something to do now */
    wheel->next_ms = list_is_empty(&wheel->due) ? wheel__next_slot_ms(wheel) : wheel->now_ms;
}

/* ---- The wheel ---- */

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
    assert(now_ms <= WHEEL_MS_MAX);
    *wheel = (struct wheel){.now_ms = now_ms};
    list_init(&wheel->due);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++) list_init(&wheel->slots[level][slot]);
    }
    wheel__refresh(wheel);
}

void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due_ms)
{
    wheel_cancel(wheel, timer);
    if (due_ms < wheel->now_ms) due_ms = wheel->now_ms;
    timer->due_ms = (due_ms < WHEEL_MS_MAX ? due_ms : WHEEL_MS_MAX) & WHEEL_MS_MAX;
    wheel->count++;
    if (wheel__link(wheel, timer)) wheel__refresh(wheel);
}

void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
    if (!timer_is_set(timer)) return;
    wheel->count--;
    if (wheel__unlink(wheel, timer)) wheel__refresh(wheel);
}

/* Spreads a slot over the levels below, from its head. What still lies past the top level's reach
 * goes back into the slot it came from. */
static void wheel__cascade(struct wheel *wheel, unsigned level, unsigned slot)
{
    struct timer spread;
    list_init(&spread);
    list_splice(&spread, &wheel->slots[level][slot]);
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    while (!list_is_empty(&spread)) {
        struct timer *timer = spread.next;
        spread.next = timer->next;
        timer->next->prev = &spread;
        (void)wheel__link(wheel, timer);
    }
}

/* A slot of a level begins where all digits below are 0. (Without that test the top level's slot 0
 * would be spread, in vain, all through the first 64th of each block.) */
static void wheel__begin_slots(struct wheel *wheel)
{
    for (unsigned level = 1; level < WHEEL_LEVELS; level++) {
        if (digit_of(wheel->now_ms, level - 1) != 0) break;
        unsigned slot = digit_of(wheel->now_ms, level);
        if (wheel->occupied[level] >> slot & 1) wheel__cascade(wheel, level, slot);
    }
}

static void wheel__collect(struct wheel *wheel)
{
    unsigned slot = digit_of(wheel->now_ms, 0);
    list_splice(&wheel->due, &wheel->slots[0][slot]);
    wheel->occupied[0] &= ~(UINT64_C(1) << slot);
}

void wheel_advance(struct wheel *wheel, uint64_t now_ms)
{
    if (now_ms > WHEEL_MS_MAX) now_ms = WHEEL_MS_MAX;
    if (now_ms < wheel->now_ms) now_ms = wheel->now_ms;
    for (;;) { /* beginning with now, where those wait that were due when they were set */
        uint64_t next_ms = wheel__next_slot_ms(wheel);
        if (next_ms > now_ms) break;
        wheel->now_ms = next_ms;
        wheel__begin_slots(wheel);
        wheel__collect(wheel);
    }
    wheel->now_ms = now_ms;
    wheel__refresh(wheel);
}

struct timer *wheel_pop_due(struct wheel *wheel)
{
    if (list_is_empty(&wheel->due)) return NULL;
    struct timer *timer = wheel->due.next;
    wheel_cancel(wheel, timer);
    return timer;
}

/* ---- Checking ---- */

static size_t list_check(const struct timer *head)
{
    size_t count = 0;
    const struct timer *before = head;
    for (const struct timer *timer = head->next; timer != head; timer = timer->next) {
        assert(timer && timer->prev == before);
        before = timer;
        count++;
    }
    assert(head->prev == before);
    return count;
}

static size_t wheel__check_slot(const struct wheel *wheel, unsigned level, unsigned slot)
{
    const struct timer *head = &wheel->slots[level][slot];
    assert((wheel->occupied[level] >> slot & 1) == !list_is_empty(head));
    for (const struct timer *timer = head->next; timer != head; timer = timer->next) {
        assert(timer->due_ms >= wheel->now_ms);
        assert(wheel__place(wheel->now_ms, timer->due_ms) == level * WHEEL_SLOTS + slot);
    }
    return list_check(head);
}

void wheel_check(const struct wheel *wheel)
{
    size_t count = list_check(&wheel->due);
    for (const struct timer *timer = wheel->due.next; timer != &wheel->due; timer = timer->next)
        assert(timer->due_ms <= wheel->now_ms);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            count += wheel__check_slot(wheel, level, slot);
    }
    assert(count == wheel->count);
    assert(wheel->next_ms ==
           (list_is_empty(&wheel->due) ? wheel__next_slot_ms(wheel) : wheel->now_ms));
    assert(count > 0 || wheel_next_ms(wheel) == WHEEL_NEVER);
}
