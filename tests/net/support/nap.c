#include "net/support/nap.h"

static void sleep_in_callback(sally_conn *conn, void *arg)
{
    struct nap *nap = arg;
    (void)conn;
    atomic_fetch_add(&nap->asleep, 1);
    os_gate_wait(&nap->gate);
}

void nap_begin(struct nap *nap, struct stage *stage, sally_id id)
{
    os_gate_init(&nap->gate);
    atomic_store(&nap->asleep, 0);
    assert_int_equal(sally_post(stage->engine, id, sleep_in_callback, nap), 0);
    STAGE_WAIT(atomic_load(&nap->asleep) == 1);
}

void nap_wake(struct nap *nap) { os_gate_open(&nap->gate); }

void nap_free(struct nap *nap) { os_gate_free(&nap->gate); }

void nap_letter(sally_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
}
