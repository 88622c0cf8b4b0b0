/* See framings.h. */
#include "net/framings.h"

#include "filter/framing.h"
#include "net/engine.h"

/* Under the lock: the equal one, else `fresh` if there is room for it, else NULL. */
static struct framing *framings__put(struct framings *framings, struct framing *fresh)
{
    for (unsigned i = 0; i < framings->count; i++) {
        struct framing *known = atomic_load_explicit(&framings->list[i], memory_order_relaxed);
        if (framing_equal(known, fresh)) return known;
    }
    if (framings->count == FRAMINGS_MAX) return NULL;
    fresh->number = framings->count + 1;
    atomic_store_explicit(&framings->list[framings->count++], fresh, memory_order_release);
    return fresh;
}

int framings_use(sally_engine *engine, const sally_framing *plain, const struct framing **framing)
{
    *framing = NULL;
    if (!plain) return 0;
    struct framing *fresh = mem_alloc(&engine->mem, sizeof *fresh);
    if (!fresh) return SALLY_ENOMEM;
    int err = framing_init(fresh, plain);
    if (!err && fresh->kind) {
        os_lock_take(&engine->lock);
        *framing = framings__put(&engine->framings, fresh);
        os_lock_give(&engine->lock);
        if (!*framing) err = SALLY_ELIMIT;
    }
    if (*framing != fresh) mem_free(&engine->mem, fresh, sizeof *fresh);
    return err;
}

const struct framing *framings_at(const sally_engine *engine, uint32_t number)
{
    if (number == 0 || number > FRAMINGS_MAX) return NULL;
    return atomic_load_explicit(&engine->framings.list[number - 1], memory_order_acquire);
}

void framings_free(sally_engine *engine)
{
    for (unsigned i = 0; i < engine->framings.count; i++) {
        struct framing *framing = atomic_load(&engine->framings.list[i]);
        mem_free(&engine->mem, framing, sizeof *framing);
    }
    engine->framings.count = 0;
}
