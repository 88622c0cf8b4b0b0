/* The mailbox, on one thread. */
#include "base/mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    *purse = (struct purse){
        .mem = {.alloc = purse_alloc, .free = purse_free, .user = purse, .bytes_max = SIZE_MAX}};
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

/* Where a block's end has room for the shortest record and not for a letter. */
static void a_record_does_not_overtake_a_letter_into_the_rest_of_a_block(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter letter = {0};
    int err;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, UINT32_MAX, SIZE_MAX);
    uint32_t room = sizeof((struct mail_block *)0)->records, count = 0;
    for (; room > MAIL_RECORD_MAX; room -= MAIL_RECORD_MAX)
        (void)record_post(&mailbox, count++, MAIL_RECORD_MAX);
    (void)record_post(&mailbox, count++, room - 8);
    assert_int_equal(mailbox_post(&mailbox, &letter, false), 0);
    assert_non_null(mailbox_begin(&mailbox, 8, &err));
    assert_int_equal(mailbox_commit(&mailbox, 77, 8), 0);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(mailbox_take(&mailbox)->kind, i);
    assert_ptr_equal(take_letter(&mailbox), &letter);
    assert_int_equal(mailbox_take(&mailbox)->kind, 77);
    assert_null(mailbox_take(&mailbox));
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

static void records_are_kept_out_by_letters_past_the_limit(void **state)
{
    (void)state;
    struct purse purse;
    struct mailbox mailbox;
    struct letter letters[3] = {0};
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, 3, 1000);
    assert_int_equal(record_post(&mailbox, 1, 16), 1);
    for (int i = 0; i < 3; i++) assert_int_equal(mailbox_post(&mailbox, &letters[i], true), 0);
    assert_int_equal(record_post(&mailbox, 2, 16), SALLY_EFULL); /* there is room in the block */
    record_check(mailbox_take(&mailbox), 1, 16);
    assert_int_equal(record_post(&mailbox, 2, 16), SALLY_EFULL);
    assert_ptr_equal(take_letter(&mailbox), &letters[0]);
    assert_int_equal(record_post(&mailbox, 2, 16), 1);
    assert_ptr_equal(take_letter(&mailbox), &letters[1]);
    assert_ptr_equal(take_letter(&mailbox), &letters[2]);
    record_check(mailbox_take(&mailbox), 2, 16);
    assert_null(mailbox_take(&mailbox));
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

/* How many records of so many bytes are taken one after the other. */
static unsigned records_taken(struct mailbox *mailbox, uint32_t bytes)
{
    unsigned taken = 0;
    while (record_post(mailbox, taken + 1, bytes) >= 0) taken++;
    return taken;
}

static void take_all(struct mailbox *mailbox)
{
    while (mailbox_take(mailbox)) continue;
}

static void limit_records(unsigned letters_max, uint32_t bytes_max)
{
    struct purse purse;
    struct mailbox mailbox;
    int err;
    purse_init(&purse);
    mailbox_init(&mailbox, &purse.mem, letters_max, bytes_max);
    for (uint32_t bytes = 16; bytes <= 300; bytes += 7) {
        unsigned fit = bytes_max / bytes < letters_max ? bytes_max / bytes : letters_max;
        /* room that was found for a big one and not used is not room for many small ones */
        assert_non_null(mailbox_begin(&mailbox, bytes_max, &err));
        mailbox_cancel(&mailbox);
        assert_int_equal(records_taken(&mailbox, bytes), fit);
        assert_int_equal(record_post(&mailbox, 1, bytes_max), SALLY_EFULL);
        take_all(&mailbox);
    }
    box_free(&mailbox, &purse);
}

static void records_are_limited_to_the_letter_and_to_the_byte(void **state)
{
    (void)state;
    limit_records(7, 1000);
    limit_records(1000, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_limited_to_the_letter_and_to_the_byte),
        cmocka_unit_test(only_the_post_into_an_empty_mailbox_asks_for_a_wake_up),
        cmocka_unit_test(only_the_record_into_an_empty_mailbox_asks_for_a_wake_up),
        cmocka_unit_test(letters_and_records_come_in_the_order_of_posting),
        cmocka_unit_test(a_record_does_not_overtake_a_letter_into_the_rest_of_a_block),
        cmocka_unit_test(a_letter_between_two_records_does_not_cost_a_block),
        cmocka_unit_test(without_memory_a_record_is_refused_and_a_letter_is_not),
        cmocka_unit_test(blocks_are_used_again_and_go_when_nobody_needs_them),
        cmocka_unit_test(letters_are_limited_and_must_passes),
        cmocka_unit_test(T12_bytes_are_limited_without_wrapping),
        cmocka_unit_test(T12_bytes_near_the_end_of_the_range_do_not_wrap),
        cmocka_unit_test(T12_limits_hold_when_the_sums_wrap),
        cmocka_unit_test(records_are_kept_out_by_letters_past_the_limit),
        cmocka_unit_test(bytes_past_the_limit_by_must_keep_others_out),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
