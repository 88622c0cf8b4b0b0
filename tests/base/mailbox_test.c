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
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "os/thread.h"
#include "sallyport/error.h"

/* ---- One thread ---- */

/* Memory of which the next `fail` allocations fail. */
struct purse {
    struct mem mem;
    unsigned fail;
    unsigned allocs;
};

static void *purse_alloc(void *user, size_t bytes)
{
    struct purse *purse = user;
    if (purse->fail) {
        purse->fail--;
        return NULL;
    }
    purse->allocs++;
    return malloc(bytes);
}

static void purse_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

static void purse_init(struct purse *purse)
{
    *purse = (struct purse){.mem = {.alloc = purse_alloc, .free = purse_free, .user = purse}};
}

/* Everything comes back. */
static void box_free(struct mailbox *mailbox, struct purse *purse)
{
    mailbox_free(mailbox);
    assert_int_equal(mem_in_use(&purse->mem), 0);
}

static struct letter *take_letter(struct mailbox *mailbox)
{
    return (struct letter *)mailbox_take(mailbox);
}

static unsigned letters_waiting(struct mailbox *mailbox)
{
    return mailbox->letters_posted - atomic_load(&mailbox->letters_taken);
}

static size_t bytes_waiting(struct mailbox *mailbox)
{
    return mailbox->bytes_posted - atomic_load(&mailbox->bytes_taken);
}

struct record {
    struct mail mail;
    uint64_t number;
    unsigned char fill[];
};

/* Of so many bytes with its header; what mailbox_commit says, or why there is none. */
static int record_post(struct mailbox *mailbox, uint32_t number, uint32_t bytes)
{
    int err = 1;
    struct record *record = mailbox_begin(mailbox, bytes, &err);
    if (!record) return err;
    assert_int_equal(err, 0);
    record->number = number;
    memset(record->fill, (int)number, bytes - sizeof *record);
    return mailbox_commit(mailbox, number, bytes);
}

static void record_check(const struct mail *mail, uint32_t number, uint32_t bytes)
{
    assert_non_null(mail);
    const struct record *record = (const struct record *)mail;
    assert_int_equal(mail->kind, number);
    assert_int_equal(mail->bytes, bytes);
    assert_int_equal(record->number, number);
    for (uint32_t i = 0; i < bytes - sizeof *record; i++)
        assert_int_equal(record->fill[i], (unsigned char)number);
}

static void only_the_post_into_an_empty_mailbox_asks_for_a_wake_up(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter letters[4] = {0};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 10, 1000);
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(mailbox_post(&mailbox, &letters[0], false), 1);
    assert_int_equal(mailbox_post(&mailbox, &letters[1], false), 0);
    assert_true(mailbox_has(&mailbox));
    assert_ptr_equal(take_letter(&mailbox), &letters[0]);
    assert_true(mailbox_has(&mailbox)); /* opened, not taken */
    assert_int_equal(mailbox_post(&mailbox, &letters[2], false), 1);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], true), 0);
    for (unsigned i = 1; i < 4; i++) {
        assert_true(mailbox_has(&mailbox));
        assert_ptr_equal(take_letter(&mailbox), &letters[i]);
        assert_null(letters[i].next);
    }
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(mailbox_post(&mailbox, &letters[0], false), 1);
    assert_ptr_equal(take_letter(&mailbox), &letters[0]);
    assert_int_equal(purse.allocs, 0); /* letters need no memory */
    box_free(&mailbox, &purse);
}

static void only_the_record_into_an_empty_mailbox_asks_for_a_wake_up(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    int err;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 10, 1000);
    assert_non_null(mailbox_begin(&mailbox, 100, &err)); /* thought better of: nobody was woken */
    mailbox_cancel(&mailbox);
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(record_post(&mailbox, 1, 16), 1);
    assert_true(mailbox_has(&mailbox));
    assert_int_equal(record_post(&mailbox, 2, 17), 0);
    record_check(mailbox_take(&mailbox), 1, 16);
    assert_int_equal(record_post(&mailbox, 3, 50), 1); /* not behind what is being read */
    assert_int_equal(record_post(&mailbox, 4, 51), 0);
    assert_non_null(mailbox_begin(&mailbox, 100, &err));
    mailbox_cancel(&mailbox);
    record_check(mailbox_take(&mailbox), 2, 17);
    record_check(mailbox_take(&mailbox), 3, 50);
    record_check(mailbox_take(&mailbox), 4, 51);
    assert_false(mailbox_has(&mailbox));
    assert_null(mailbox_take(&mailbox));
    box_free(&mailbox, &purse);
}

/* Over many blocks, with letters that find room in one and such that don't. */
static void letters_and_records_come_in_the_order_of_posting(void **state)
{
    (void)state;
    enum { ALL = 3000 };
    static struct letter letters[ALL];
    struct purse purse;
    struct mailbox mailbox;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, ALL, SIZE_MAX);
    uint32_t lot = 1;
    static uint32_t sizes[ALL]; /* 0: a letter */
    for (uint32_t i = 0; i < ALL; i++) {
        lot = lot * 1664525 + 1013904223;
        sizes[i] = lot >> 16 & 7 ? 16 + (lot >> 8) % (MAIL_RECORD_MAX - 15) : 0;
        if (i % 100 > 90) sizes[i] = 0; /* letters in a row */
        letters[i] = (struct letter){.mail = {.kind = i}};
        int posted = sizes[i] ? record_post(&mailbox, i, sizes[i])
                              : mailbox_post(&mailbox, &letters[i], false);
        assert_int_equal(posted, i == 0);
    }
    assert_int_equal(letters_waiting(&mailbox), ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        struct mail *mail = mailbox_take(&mailbox);
        if (sizes[i])
            record_check(mail, i, sizes[i]);
        else
            assert_ptr_equal(mail, &letters[i].mail);
    }
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(letters_waiting(&mailbox), 0);
    assert_int_equal(bytes_waiting(&mailbox), 0);
    box_free(&mailbox, &purse);
}

/* Else a program that connects and sends in turn would fill the memory with beginnings of blocks.
 */
static void a_letter_between_two_records_does_not_cost_a_block(void **state)
{
    (void)state;
    enum { PAIRS = 300 };
    static struct letter letters[PAIRS];
    struct purse purse;
    struct mailbox mailbox;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, UINT32_MAX, SIZE_MAX);
    for (uint32_t i = 0; i < PAIRS; i++) {
        assert_int_equal(record_post(&mailbox, i, 16), i == 0);
        assert_int_equal(mailbox_post(&mailbox, &letters[i], false), 0);
    }
    assert_int_equal(purse.allocs, 1);
    for (uint32_t i = 0; i < PAIRS; i++) {
        record_check(mailbox_take(&mailbox), i, 16);
        assert_ptr_equal(take_letter(&mailbox), &letters[i]);
    }
    assert_null(mailbox_take(&mailbox));
    box_free(&mailbox, &purse);
}

static void without_memory_a_record_is_refused_and_a_letter_is_not(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter letter = {0};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 10, 1000);
    purse.fail = 1;
    assert_int_equal(record_post(&mailbox, 1, 100), SALLY_ENOMEM);
    assert_int_equal(letters_waiting(&mailbox), 0);
    assert_int_equal(bytes_waiting(&mailbox), 0);
    purse.fail = 1;
    assert_int_equal(mailbox_post(&mailbox, &letter, false), 1);
    assert_int_equal(record_post(&mailbox, 2, 100), SALLY_ENOMEM);
    assert_int_equal(record_post(&mailbox, 3, 100), 0);
    assert_ptr_equal(take_letter(&mailbox), &letter);
    record_check(mailbox_take(&mailbox), 3, 100);
    assert_null(mailbox_take(&mailbox));
    box_free(&mailbox, &purse);
}

static void blocks_are_used_again_and_go_when_nobody_needs_them(void **state)
{
    (void)state;
    enum { RECORDS = 100, LITTLE = 10 };
    struct purse purse;
    struct mailbox mailbox;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, UINT32_MAX, SIZE_MAX);
    unsigned allocs = 0;
    for (int burst = 0; burst < 5; burst++) {
        for (uint32_t i = 0; i < RECORDS; i++)
            assert_int_equal(record_post(&mailbox, i, MAIL_RECORD_MAX), i == 0);
        for (uint32_t i = 0; i < RECORDS; i++)
            record_check(mailbox_take(&mailbox), i, MAIL_RECORD_MAX);
        assert_null(mailbox_take(&mailbox));
        if (burst == 0) allocs = purse.allocs;
    }
    assert_true(allocs >= RECORDS * MAIL_RECORD_MAX / MAIL_BLOCK_BYTES);
#if defined(SALLY_POOLS_OFF)
    assert_int_equal(purse.allocs, 5 * allocs);
    assert_false(mailbox_trim(&mailbox));
#else
    assert_int_equal(purse.allocs, allocs);
    assert_true(mailbox_trim(&mailbox)); /* the bursts had use for all */
    assert_int_equal(mem_in_use(&purse.mem), allocs * MAIL_BLOCK_BYTES);
    for (uint32_t i = 0; i < LITTLE; i++) (void)record_post(&mailbox, i, MAIL_RECORD_MAX);
    for (uint32_t i = 0; i < LITTLE; i++) assert_non_null(mailbox_take(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_true(mailbox_trim(&mailbox)); /* what had use since stays */
    assert_int_equal(mem_in_use(&purse.mem), 2 * MAIL_BLOCK_BYTES);
    assert_false(mailbox_trim(&mailbox));
#endif
    assert_int_equal(mem_in_use(&purse.mem), 0);
    box_free(&mailbox, &purse);
}

static void letters_are_limited_and_must_passes(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter letters[6] = {0};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 3, SIZE_MAX);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(mailbox_post(&mailbox, &letters[i], false), i == 0);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), SALLY_EFULL);
    assert_int_equal(record_post(&mailbox, 1, 16), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &letters[4], true), 0);
    assert_ptr_equal(take_letter(&mailbox), &letters[0]);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), SALLY_EFULL); /* still three */
    assert_int_equal(record_post(&mailbox, 1, 16), SALLY_EFULL);
    assert_ptr_equal(take_letter(&mailbox), &letters[1]);
    assert_int_equal(record_post(&mailbox, 1, 16), 1);
    assert_ptr_equal(take_letter(&mailbox), &letters[2]);
    assert_ptr_equal(take_letter(&mailbox), &letters[4]);
    assert_int_equal(mailbox_post(&mailbox, &letters[3], false), 0);
    record_check(mailbox_take(&mailbox), 1, 16);
    assert_ptr_equal(take_letter(&mailbox), &letters[3]);
    assert_null(mailbox_take(&mailbox));
    assert_int_equal(letters_waiting(&mailbox), 0);
    box_free(&mailbox, &purse);
}

/* T12: the sum is never formed before it is compared. */
static void T12_bytes_are_limited_without_wrapping(void **state)
{
    (void)state;
    static const size_t maxes[] = {0, 1, 100, UINT32_MAX, SIZE_MAX};
    static const uint32_t sizes[] = {0, 1, 99, 100, 101, UINT32_MAX - 1, UINT32_MAX};
    struct purse purse;
    purse_init(&purse);
    for (unsigned m = 0; m < 5; m++) {
        for (unsigned a = 0; a < 7; a++) {
            for (unsigned b = 0; b < 7; b++) {
                struct mailbox mailbox;
                struct letter first = {.mail.bytes = sizes[a]}, second = {.mail.bytes = sizes[b]};
                bool first_fits = sizes[a] <= maxes[m];
                size_t used = first_fits ? sizes[a] : 0;
                bool second_fits = sizes[b] <= maxes[m] - used;
                mailbox_init(&mailbox, &purse.mem, 5, maxes[m]);
                assert_int_equal(mailbox_post(&mailbox, &first, false),
                                 first_fits ? 1 : SALLY_EFULL);
                assert_int_equal(mailbox_post(&mailbox, &second, false),
                                 second_fits ? !first_fits : SALLY_EFULL);
                assert_int_equal(letters_waiting(&mailbox), first_fits + second_fits);
                while (mailbox_take(&mailbox)) continue;
                assert_int_equal(bytes_waiting(&mailbox), 0);
                box_free(&mailbox, &purse);
            }
        }
    }
}

static void T12_bytes_near_the_end_of_the_range_do_not_wrap(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter two = {.mail.bytes = 2}, one = {.mail.bytes = 1};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 5, SIZE_MAX);
    mailbox.bytes_posted = SIZE_MAX - 1;
    assert_int_equal(mailbox_post(&mailbox, &two, false), SALLY_EFULL);
    assert_int_equal(record_post(&mailbox, 1, 16), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &one, false), 1);
    assert_ptr_equal(take_letter(&mailbox), &one);
    assert_int_equal(bytes_waiting(&mailbox), SIZE_MAX - 1);
    box_free(&mailbox, &purse);
}

/* The sums of all time wrap; what waits doesn't. */
static void T12_limits_hold_when_the_sums_wrap(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 3, 100);
    mailbox.letters_posted = UINT32_MAX - 1;
    atomic_store(&mailbox.letters_taken, UINT32_MAX - 1);
    mailbox.bytes_posted = SIZE_MAX - 50;
    atomic_store(&mailbox.bytes_taken, SIZE_MAX - 50);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(record_post(&mailbox, 1, 40), 1);
        assert_int_equal(record_post(&mailbox, 2, 40), 0);
        assert_int_equal(record_post(&mailbox, 3, 21), SALLY_EFULL);
        assert_int_equal(record_post(&mailbox, 3, 20), 0);
        assert_int_equal(letters_waiting(&mailbox), 3);
        for (uint32_t i = 1; i < 4; i++) assert_int_equal(mailbox_take(&mailbox)->kind, i);
        assert_null(mailbox_take(&mailbox));
    }
    box_free(&mailbox, &purse);
}

static void bytes_past_the_limit_by_must_keep_others_out(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter big = {.mail.bytes = 500}, small = {.mail.bytes = 1}, none = {.mail.bytes = 0};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 10, 100);
    assert_int_equal(mailbox_post(&mailbox, &big, true), 1);
    assert_int_equal(mailbox_post(&mailbox, &small, false), SALLY_EFULL);
    assert_int_equal(mailbox_post(&mailbox, &none, false), SALLY_EFULL);
    assert_ptr_equal(take_letter(&mailbox), &big);
    assert_int_equal(mailbox_post(&mailbox, &small, false), 1);
    assert_ptr_equal(take_letter(&mailbox), &small);
    box_free(&mailbox, &purse);
}

/* ---- Eight producers ---- */

enum { PRODUCERS = 8, LETTERS = 40000, WAIT_S = 60 };

/* What a letter and a record have alike; a record ends before the link. */
struct note {
    struct letter letter;
    uint32_t producer;
    uint32_t number;
};

struct slip {
    struct mail mail;
    uint32_t producer;
    uint32_t number;
    unsigned char fill[32];
};

struct office {
    struct mailbox mailbox;
    struct mem mem;
    sem_t wake;
    struct note *notes;  /* LETTERS of each producer */
    atomic_uint wakes;   /* posts that answered 1 */
    atomic_uint refused; /* posts that answered SALLY_EFULL */
    atomic_uint wrong;
    struct os_gate begin;
    /* the consumer's */
    unsigned opens; /* times at which it found the list not empty */
    unsigned taken;
    uint32_t next[PRODUCERS];
};

struct producer {
    struct office *office;
    uint32_t number;
};

enum { NOTE = 1, SLIP = 2 }; /* kinds */

static int office_post(struct office *office, uint32_t producer, uint32_t number)
{
    if (number % 7 == 0) {
        struct note *note = &office->notes[producer * LETTERS + number];
        *note = (struct note){{.mail = {.bytes = 1 + number % 3, .kind = NOTE}}, producer, number};
        return mailbox_post(&office->mailbox, &note->letter, false);
    }
    int err = 0;
    uint32_t bytes = (uint32_t)offsetof(struct slip, fill) + number % 33;
    struct slip *slip = mailbox_begin(&office->mailbox, bytes, &err);
    if (slip && number % 11 == 0) { /* thought better of, and posted after all */
        mailbox_cancel(&office->mailbox);
        slip = mailbox_begin(&office->mailbox, bytes, &err);
    }
    if (!slip) return err;
    slip->producer = producer;
    slip->number = number;
    memset(slip->fill, (int)number, number % 33);
    return mailbox_commit(&office->mailbox, SLIP, bytes);
}

static void producer_run(void *arg)
{
    struct producer *producer = arg;
    struct office *office = producer->office;
    os_gate_wait(&office->begin);
    for (uint32_t i = 0; i < LETTERS; i++) {
        int posted = office_post(office, producer->number, i);
        while (posted == SALLY_EFULL) { /* the same one again: order stays */
            atomic_fetch_add(&office->refused, 1);
            sched_yield();
            posted = office_post(office, producer->number, i);
        }
        if (posted < 0) atomic_fetch_add(&office->wrong, 1);
        if (posted != 1) continue;
        atomic_fetch_add(&office->wakes, 1);
        sem_post(&office->wake);
    }
}

static void office_read(struct office *office, const struct mail *mail)
{
    uint32_t producer, number;
    if (mail->kind == NOTE) {
        const struct note *note = (const struct note *)mail;
        producer = note->producer;
        number = note->number;
        assert_int_equal(mail->bytes, 1 + number % 3);
    } else {
        const struct slip *slip = (const struct slip *)mail;
        assert_int_equal(mail->kind, SLIP);
        producer = slip->producer;
        number = slip->number;
        assert_int_equal(mail->bytes, offsetof(struct slip, fill) + number % 33);
        for (uint32_t i = 0; i < number % 33; i++)
            if (slip->fill[i] != (unsigned char)number) fail_msg("a torn record");
    }
    assert_true(producer < PRODUCERS);
    assert_int_equal(number, office->next[producer]);
    office->next[producer]++;
    office->taken++;
}

/* Everything that is there. */
static void office_drain(struct office *office)
{
    for (;;) {
        struct mailbox *mailbox = &office->mailbox;
        bool opened = mailbox->opened || mailbox->at != mailbox->end;
        struct mail *mail = mailbox_take(mailbox);
        if (!mail) return;
        if (!opened) office->opens++;
        office_read(office, mail);
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
    office = (struct office){0};
    office.notes = calloc(PRODUCERS * LETTERS, sizeof *office.notes);
    assert_non_null(office.notes);
    assert_int_equal(sem_init(&office.wake, 0, 0), 0);
    os_gate_init(&office.begin);
    mem_init(&office.mem);
    mailbox_init(&office.mailbox, &office.mem, letters_max, bytes_max);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&office, i};
        assert_int_equal(os_thread_start(&threads[i], "producer", producer_run, &producers[i]), 0);
    }
    os_gate_open(&office.begin);
    while (office.taken < PRODUCERS * LETTERS) {
        office_drain(&office);
        if (office.taken % 5 == 0) (void)mailbox_trim(&office.mailbox);
        if (office.taken == PRODUCERS * LETTERS) break;
        os_lock_take(&office.mailbox.lock);
        assert_true(letters_waiting(&office.mailbox) <= letters_max);
        assert_true(bytes_waiting(&office.mailbox) <= bytes_max);
        os_lock_give(&office.mailbox.lock);
        if (!mailbox_has(&office.mailbox)) assert_true(office_sleep(&office));
    }
    for (unsigned i = 0; i < PRODUCERS; i++) os_thread_join(&threads[i]);
    assert_false(mailbox_has(&office.mailbox));
    assert_null(mailbox_take(&office.mailbox));
    for (unsigned i = 0; i < PRODUCERS; i++) assert_int_equal(office.next[i], LETTERS);
    assert_int_equal(atomic_load(&office.wrong), 0);
    assert_int_equal(atomic_load(&office.wakes), office.opens);
    assert_int_equal(letters_waiting(&office.mailbox), 0);
    assert_int_equal(bytes_waiting(&office.mailbox), 0);
    print_message("%u letters, %u wake-ups, %u refused\n", office.taken, office.opens,
                  atomic_load(&office.refused));
    if (letters_max == UINT32_MAX) assert_int_equal(atomic_load(&office.refused), 0);
    mailbox_free(&office.mailbox);
    assert_int_equal(mem_in_use(&office.mem), 0);
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
    office_run(1000, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_post_into_an_empty_mailbox_asks_for_a_wake_up),
        cmocka_unit_test(only_the_record_into_an_empty_mailbox_asks_for_a_wake_up),
        cmocka_unit_test(letters_and_records_come_in_the_order_of_posting),
        cmocka_unit_test(a_letter_between_two_records_does_not_cost_a_block),
        cmocka_unit_test(without_memory_a_record_is_refused_and_a_letter_is_not),
        cmocka_unit_test(blocks_are_used_again_and_go_when_nobody_needs_them),
        cmocka_unit_test(letters_are_limited_and_must_passes),
        cmocka_unit_test(T12_bytes_are_limited_without_wrapping),
        cmocka_unit_test(T12_bytes_near_the_end_of_the_range_do_not_wrap),
        cmocka_unit_test(T12_limits_hold_when_the_sums_wrap),
        cmocka_unit_test(bytes_past_the_limit_by_must_keep_others_out),
        cmocka_unit_test(E8_eight_producers_lose_nothing_and_keep_their_order),
        cmocka_unit_test(E8_full_mailbox_refuses_and_loses_nothing),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
