/* The account of what other threads send to a connection. */
#include "net/inbound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/lock.h"
#include "os/thread.h"

static void what_was_charged_is_room_again_when_it_is_gone(void **state)
{
    (void)state;
    struct inbound account = {0};
    inbound_close(&account); /* nobody's */
    assert_int_equal(inbound_charge(&account, 1, 1), SALLY_ENOCONN);
    assert_false(inbound_never_fits(&account, 1));
    inbound_open(&account, 100, 0);
    assert_int_equal(inbound_charge(&account, 1, 101), SALLY_ELIMIT);
    assert_int_equal(inbound_charge(&account, 1, SIZE_MAX), SALLY_ELIMIT);
    assert_true(inbound_never_fits(&account, 101));
    assert_false(inbound_never_fits(&account, 100));
    assert_int_equal(inbound_charge(&account, 1, 60), 0);
    assert_int_equal(inbound_charge(&account, 1, 40), 0);
    assert_false(inbound_was_refused(&account));
    assert_int_equal(inbound_charge(&account, 1, 1), SALLY_EFULL);
    inbound_return(&account, 10);
    assert_int_equal(inbound_charge(&account, 1, 11), SALLY_EFULL);
    assert_true(inbound_never_fits(&account, 101)); /* the mark is no limit */
    assert_true(inbound_was_refused(&account));
    assert_false(inbound_was_refused(&account)); /* told once */
    assert_int_equal(inbound_charge(&account, 1, 10), 0);
    inbound_undo(&account, 1, 10);
    assert_int_equal(inbound_charge(&account, 1, 10), 0);
    inbound_return(&account, 100);
    assert_int_equal(inbound_charge(&account, 1, 100), 0);
}

static void a_new_owner_begins_with_nothing_charged_and_the_old_one_is_missed(void **state)
{
    (void)state;
    struct inbound account = {0};
    inbound_open(&account, 100, 0);
    assert_int_equal(inbound_charge(&account, 5, 70), 0);
    inbound_return(&account, 20); /* of the rest nobody will hear again */
    inbound_close(&account);
    assert_int_equal(inbound_charge(&account, 5, 1), SALLY_ENOCONN);
    inbound_open(&account, 100, 0);
    assert_int_equal(inbound_charge(&account, 7, 100), 0);
    assert_int_equal(inbound_charge(&account, 5, 1), SALLY_ENOCONN); /* came too late */
    inbound_undo(&account, 5, 70); /* its message was not posted after all: not the new one's */
    assert_int_equal(inbound_charge(&account, 7, 1), SALLY_EFULL);
    inbound_return(&account, 100);
    assert_int_equal(inbound_charge(&account, 7, 100), 0);
}

static void sums_and_generations_at_the_end_of_their_range(void **state)
{
    (void)state;
    struct inbound account = {.charged = UINT32_MAX - 10, .gone = UINT32_MAX - 10};
    inbound_open(&account, 1u << 30, 0);
    assert_int_equal(inbound_charge(&account, 1, 1u << 30), 0);
    assert_int_equal(inbound_charge(&account, 1, 1), SALLY_EFULL);
    inbound_return(&account, 1u << 30);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(inbound_charge(&account, UINT32_MAX, 1u << 30), 0);
        assert_int_equal(inbound_charge(&account, UINT32_MAX, 1), SALLY_EFULL);
        inbound_return(&account, 1u << 30);
    }
    assert_int_equal(inbound_charge(&account, UINT32_MAX - 2, 1), SALLY_ENOCONN);
}

/* ---- Refused, and told when not ---- */

enum { SENDERS = 3, ROUNDS = 30000, WAIT_MS = 60000 };

struct desk {
    struct os_lock lock;
    struct inbound account;
    atomic_uint charged; /* and not yet given back */
    atomic_uint drains;  /* times that the owner told that there is room */
    atomic_uint senders;
    atomic_uint stuck;
};

static int desk_charge(struct desk *desk)
{
    os_lock_take(&desk->lock);
    int err = inbound_charge(&desk->account, 1, 1);
    if (!err) atomic_fetch_add(&desk->charged, 1);
    os_lock_give(&desk->lock);
    return err;
}

/* Once refused it waits to be told, as a program does that relies on on_drain. */
static void desk_send(void *arg)
{
    struct desk *desk = arg;
    for (int i = 0; i < ROUNDS && !atomic_load(&desk->stuck);) {
        unsigned drains = atomic_load(&desk->drains);
        if (!desk_charge(desk)) {
            i++;
            continue;
        }
        uint32_t waits = 0;
        while (atomic_load(&desk->drains) == drains && !atomic_load(&desk->stuck)) {
            struct os_gate never;
            os_gate_init(&never);
            if (++waits > 1000) (void)os_gate_wait_for(&never, 1);
            os_gate_free(&never);
            if (waits > 1000 + WAIT_MS) atomic_store(&desk->stuck, 1);
        }
    }
    atomic_fetch_sub(&desk->senders, 1);
}

/* E8: whoever was refused hears of it when there is room, whatever the two sides do at once. */
static void E8_nobody_who_was_refused_is_forgotten(void **state)
{
    (void)state;
    static struct desk desk;
    struct os_thread threads[SENDERS];
    desk = (struct desk){.senders = SENDERS};
    os_lock_init(&desk.lock);
    inbound_open(&desk.account, 2, 0);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(os_thread_start(&threads[i], "sender", desk_send, &desk), 0);
    while (atomic_load(&desk.senders)) {
        uint32_t charged = atomic_exchange(&desk.charged, 0);
        if (!charged) continue;
        inbound_return(&desk.account, charged);
        if (inbound_was_refused(&desk.account)) atomic_fetch_add(&desk.drains, 1);
    }
    for (int i = 0; i < SENDERS; i++) os_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&desk.stuck), 0);
    os_lock_free(&desk.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_charged_is_room_again_when_it_is_gone),
        cmocka_unit_test(a_new_owner_begins_with_nothing_charged_and_the_old_one_is_missed),
        cmocka_unit_test(sums_and_generations_at_the_end_of_their_range),
        cmocka_unit_test(E8_nobody_who_was_refused_is_forgotten),
    };
    return cmocka_run_group_tests_name("inbound", tests, NULL, NULL);
}
