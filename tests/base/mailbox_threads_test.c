/* The mailbox between threads. E8: no letter is left lying while its consumer sleeps. */
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

static unsigned letters_waiting(struct mailbox *mailbox)
{
    return mailbox->letters_posted - atomic_load(&mailbox->letters_taken);
}

static size_t bytes_waiting(struct mailbox *mailbox)
{
    return mailbox->bytes_posted - atomic_load(&mailbox->bytes_taken);
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
        cmocka_unit_test(E8_eight_producers_lose_nothing_and_keep_their_order),
        cmocka_unit_test(E8_full_mailbox_refuses_and_loses_nothing),
    };
    return cmocka_run_group_tests_name("mailbox_threads", tests, NULL, NULL);
}
