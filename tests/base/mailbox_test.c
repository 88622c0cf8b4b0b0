/* The mailbox. E8: no letter is left lying while its consumer sleeps. */
#include "base/mailbox.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "os/thread.h"
#include "sallyport/error.h"

/* ---- One thread ---- */

static void only_the_post_into_an_empty_mailbox_asks_for_a_wake_up(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter letters[4] = {{0}};
    mailbox_init(&mailbox, 10, 1000);
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(mailbox_post(&mailbox, &letters[0], false), 1);
    assert_int_equal(mailbox_post(&mailbox, &letters[1], false), 0);
    assert_true(mailbox_has(&mailbox));
    assert_ptr_equal(mailbox_take(&mailbox), &letters[0]);
    assert_true(mailbox_has(&mailbox)); /* opened, not taken */
    assert_int_equal(mailbox_post(&mailbox, &letters[2], false), 1);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], true), 0);
    for (unsigned i = 1; i < 4; i++) {
        assert_true(mailbox_has(&mailbox));
        assert_ptr_equal(mailbox_take(&mailbox), &letters[i]);
        assert_null(letters[i].next);
    }
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(mailbox_post(&mailbox, &letters[0], false), 1);
    assert_ptr_equal(mailbox_take(&mailbox), &letters[0]);
}

static void letters_are_limited_and_must_passes(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter letters[6] = {{0}};
    mailbox_init(&mailbox, 3, SIZE_MAX);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(mailbox_post(&mailbox, &letters[i], false), i == 0);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &letters[4], true), 0);
    assert_ptr_equal(mailbox_take(&mailbox), &letters[0]);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), SALLY_EFULL); /* still three */
    assert_ptr_equal(mailbox_take(&mailbox), &letters[1]);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), 1);
    assert_ptr_equal(mailbox_take(&mailbox), &letters[2]);
    assert_ptr_equal(mailbox_take(&mailbox), &letters[4]);
    assert_ptr_equal(mailbox_take(&mailbox), &letters[3]);
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(atomic_load(&mailbox.letters), 0);
}

/* T12: the sum is never formed before it is compared. */
static void T12_bytes_are_limited_without_wrapping(void **state)
{
    (void)state;
    static const size_t maxes[] = {0, 1, 100, UINT32_MAX, SIZE_MAX};
    static const uint32_t sizes[] = {0, 1, 99, 100, 101, UINT32_MAX - 1, UINT32_MAX};
    for (unsigned m = 0; m < 5; m++) {
        for (unsigned a = 0; a < 7; a++) {
            for (unsigned b = 0; b < 7; b++) {
                struct mailbox mailbox;
                struct letter first = {.bytes = sizes[a]}, second = {.bytes = sizes[b]};
                bool first_fits = sizes[a] <= maxes[m];
                size_t used = first_fits ? sizes[a] : 0;
                bool second_fits = sizes[b] <= maxes[m] - used;
                mailbox_init(&mailbox, 5, maxes[m]);
                assert_int_equal(mailbox_post(&mailbox, &first, false),
                                 first_fits ? 1 : SALLY_EFULL);
                assert_int_equal(mailbox_post(&mailbox, &second, false),
                                 second_fits ? !first_fits : SALLY_EFULL);
                assert_int_equal(atomic_load(&mailbox.letters), first_fits + second_fits);
                while (mailbox_take(&mailbox)) continue;
                assert_int_equal(atomic_load(&mailbox.bytes), 0);
            }
        }
    }
}

static void T12_bytes_near_the_end_of_the_range_do_not_wrap(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter two = {.bytes = 2}, one = {.bytes = 1};
    mailbox_init(&mailbox, 5, SIZE_MAX);
    atomic_store(&mailbox.bytes, SIZE_MAX - 1);
    assert_int_equal(mailbox_post(&mailbox, &two, false), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &one, false), 1);
    assert_ptr_equal(mailbox_take(&mailbox), &one);
    assert_int_equal(atomic_load(&mailbox.bytes), SIZE_MAX - 1);
}

static void bytes_past_the_limit_by_must_keep_others_out(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter big = {.bytes = 500}, small = {.bytes = 1}, none = {.bytes = 0};
    mailbox_init(&mailbox, 10, 100);
    assert_int_equal(mailbox_post(&mailbox, &big, true), 1);
    assert_int_equal(mailbox_post(&mailbox, &small, false), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &none, false), SALLY_EFULL);
    assert_ptr_equal(mailbox_take(&mailbox), &big);
    assert_int_equal(mailbox_post(&mailbox, &small, false), 1);
    assert_ptr_equal(mailbox_take(&mailbox), &small);
}

/* ---- Eight producers ---- */

enum { PRODUCERS = 8, LETTERS = 40000, WAIT_S = 60 };

struct note {
    struct letter letter;
    uint32_t producer;
    uint32_t number;
};

struct office {
    struct mailbox mailbox;
    sem_t wake;
    struct note *notes; /* LETTERS of each producer */
    unsigned letters_max;
    atomic_uint wakes;   /* posts that answered 1 */
    atomic_uint refused; /* posts that answered SALLY_EFULL */
    atomic_uint wrong;
    struct os_gate begin;
    /* the consumer's */
    unsigned opens; /* times at which it found the stack not empty */
    unsigned taken;
    uint32_t next[PRODUCERS];
};

struct producer {
    struct office *office;
    uint32_t number;
};

static void producer_run(void *arg)
{
    struct producer *producer = arg;
    struct office *office = producer->office;
    os_gate_wait(&office->begin);
    for (uint32_t i = 0; i < LETTERS; i++) {
        struct note *note = &office->notes[producer->number * LETTERS + i];
        *note = (struct note){{.bytes = 1 + i % 3, .kind = i}, producer->number, i};
        int posted = mailbox_post(&office->mailbox, &note->letter, false);
        while (posted == SALLY_EFULL) { /* the same one again: order stays */
            atomic_fetch_add(&office->refused, 1);
            sched_yield();
            posted = mailbox_post(&office->mailbox, &note->letter, false);
        }
        if (posted < 0) atomic_fetch_add(&office->wrong, 1);
        if (posted != 1) continue;
        atomic_fetch_add(&office->wakes, 1);
        sem_post(&office->wake);
    }
}

/* Everything that is there. */
static void office_drain(struct office *office)
{
    for (;;) {
        bool opened = office->mailbox.opened != NULL;
        struct letter *letter = mailbox_take(&office->mailbox);
        if (!letter) return;
        if (!opened) office->opens++;
        const struct note *note = (const struct note *)letter;
        assert_int_equal(note->number, office->next[note->producer]);
        assert_int_equal(letter->kind, note->number);
        office->next[note->producer]++;
        office->taken++;
        assert_true(atomic_load(&office->mailbox.letters) <= office->letters_max);
    }
}

/* Sleeps only after an empty check, and clears the wake-up before it takes: as a shard does. False
 * when none came: then a wake-up was lost. */
static bool office_sleep(struct office *office)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    while (sem_timedwait(&office->wake, &until) != 0) {
        if (errno != EINTR) return false;
    }
    while (sem_trywait(&office->wake) == 0) continue;
    return true;
}

static void office_run(unsigned letters_max, size_t bytes_max)
{
    static struct office office;
    struct os_thread threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    office = (struct office){.letters_max = letters_max};
    office.notes = calloc(PRODUCERS * LETTERS, sizeof *office.notes);
    assert_non_null(office.notes);
    assert_int_equal(sem_init(&office.wake, 0, 0), 0);
    os_gate_init(&office.begin);
    mailbox_init(&office.mailbox, letters_max, bytes_max);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&office, i};
        assert_int_equal(os_thread_start(&threads[i], "producer", producer_run, &producers[i]), 0);
    }
    os_gate_open(&office.begin);
    while (office.taken < PRODUCERS * LETTERS) {
        office_drain(&office);
        if (office.taken == PRODUCERS * LETTERS) break;
        if (!mailbox_has(&office.mailbox)) assert_true(office_sleep(&office));
    }
    for (unsigned i = 0; i < PRODUCERS; i++) os_thread_join(&threads[i]);
    assert_false(mailbox_has(&office.mailbox));
    assert_null(mailbox_take(&office.mailbox));
    for (unsigned i = 0; i < PRODUCERS; i++) assert_int_equal(office.next[i], LETTERS);
    assert_int_equal(atomic_load(&office.wrong), 0);
    assert_int_equal(atomic_load(&office.wakes), office.opens);
    assert_int_equal(atomic_load(&office.mailbox.letters), 0);
    assert_int_equal(atomic_load(&office.mailbox.bytes), 0);
    print_message("%u letters, %u wake-ups, %u refused\n", office.taken, office.opens,
                  atomic_load(&office.refused));
    if (letters_max == UINT32_MAX) assert_int_equal(atomic_load(&office.refused), 0);
    os_gate_free(&office.begin);
    sem_destroy(&office.wake);
    free(office.notes);
}

static void E8_eight_producers_lose_nothing_and_keep_their_order(void **state)
{
    (void)state;
    office_run(UINT32_MAX, SIZE_MAX);
}

static void E8_full_mailbox_refuses_and_loses_nothing(void **state)
{
    (void)state;
    office_run(5, SIZE_MAX);
    office_run(1000, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_post_into_an_empty_mailbox_asks_for_a_wake_up),
        cmocka_unit_test(letters_are_limited_and_must_passes),
        cmocka_unit_test(T12_bytes_are_limited_without_wrapping),
        cmocka_unit_test(T12_bytes_near_the_end_of_the_range_do_not_wrap),
        cmocka_unit_test(bytes_past_the_limit_by_must_keep_others_out),
        cmocka_unit_test(E8_eight_producers_lose_nothing_and_keep_their_order),
        cmocka_unit_test(E8_full_mailbox_refuses_and_loses_nothing),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
