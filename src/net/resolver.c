#include "net/resolver.h"

#include <assert.h>
#include <string.h>

#include "net/host.h"

void resolver_init(struct resolver *resolver, const struct host *host)
{
    memset(resolver, 0, sizeof *resolver);
    resolver->host = host;
    os_lock_init(&resolver->lock);
}

static struct lookup *resolver__pop(struct resolver *resolver)
{
    struct lookup *lookup = resolver->head;
    if (lookup) resolver->head = lookup->next;
    if (!resolver->head) resolver->tail = NULL;
    return lookup;
}

static struct lookup *resolver__next(struct resolver_thread *self)
{
    struct resolver *resolver = self->resolver;
    os_lock_take(&resolver->lock);
    struct lookup *lookup = resolver__pop(resolver);
    if (!lookup) self->state = RESOLVER_DONE;
    os_lock_give(&resolver->lock);
    return lookup;
}

static void resolver__body(void *arg)
{
    struct resolver_thread *self = arg;
    const struct host *host = self->resolver->host;
    for (struct lookup *lookup; (lookup = resolver__next(self));) {
        lookup->error = host->resolve(host->ctx, lookup->name, lookup->port, lookup->addrs,
                                      RESOLVER_ADDRS, &lookup->count);
        lookup->done(lookup);
    }
}

/* Under the lock. A thread that is done has left the lock for good, so joining it is short. */
static bool resolver__start_thread(struct resolver *resolver)
{
    for (unsigned i = 0; i < RESOLVER_THREADS; i++) {
        struct resolver_thread *thread = &resolver->threads[i];
        if (thread->state == RESOLVER_RUNS) continue;
        if (thread->state == RESOLVER_DONE) os_thread_join(&thread->thread);
        thread->resolver = resolver;
        thread->state = RESOLVER_RUNS;
        if (os_thread_start(&thread->thread, "sally-resolve", resolver__body, thread) == 0)
            return true;
        thread->state = RESOLVER_NEVER;
        return false;
    }
    return false;
}

static bool resolver__any_runs(const struct resolver *resolver)
{
    for (unsigned i = 0; i < RESOLVER_THREADS; i++)
        if (resolver->threads[i].state == RESOLVER_RUNS) return true;
    return false;
}

int resolver_ask(struct resolver *resolver, struct lookup *lookup)
{
    int err = 0;
    os_lock_take(&resolver->lock);
    if (resolver->closed) {
        err = SALLY_ESTATE;
    } else {
        /* queued first: a thread that is started looks for work at once */
        struct lookup *tail = resolver->tail;
        lookup->next = NULL;
        if (tail)
            tail->next = lookup;
        else
            resolver->head = lookup;
        resolver->tail = lookup;
        if (!resolver__start_thread(resolver) && !resolver__any_runs(resolver)) {
            /* alone in the queue, or a thread would run */
            resolver->head = resolver->tail = NULL;
            err = SALLY_EEXHAUSTED;
        }
    }
    os_lock_give(&resolver->lock);
    return err;
}

void resolver_close(struct resolver *resolver)
{
    os_lock_take(&resolver->lock);
    resolver->closed = true;
    struct lookup *dropped = resolver->head;
    resolver->head = resolver->tail = NULL;
    os_lock_give(&resolver->lock);
    for (struct lookup *next; dropped; dropped = next) {
        next = dropped->next;
        dropped->error = SALLY_ECANCELED;
        dropped->done(dropped);
    }
    for (unsigned i = 0; i < RESOLVER_THREADS; i++) {
        os_lock_take(&resolver->lock);
        bool made = resolver->threads[i].state != RESOLVER_NEVER;
        os_lock_give(&resolver->lock);
        if (!made) continue;
        os_thread_join(&resolver->threads[i].thread);
        resolver->threads[i].state = RESOLVER_NEVER;
    }
}

void resolver_free(struct resolver *resolver) { os_lock_free(&resolver->lock); }
