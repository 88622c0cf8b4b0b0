/* The threads that send. See senders.h. */
#include "senders.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "../message.h"
#include "server.h"

/* A hundred threads that ask again too often would be the load themselves; a queue of 65536 is not
 * emptied in the meantime. */
enum { IDS_MAX = 1 << 16, AGAIN_NS = 10000000 };

static struct {
    senders_fn fn;
    void *context;
    _Atomic uint32_t count;
    _Atomic uint64_t ids[IDS_MAX];
    _Atomic uint32_t threads;
    sem_t begin; /* posted once for each thread, by the first connection */
} senders;

static void wait_a_little(void)
{
    struct timespec time = {.tv_nsec = AGAIN_NS};
    nanosleep(&time, NULL);
}

static void *send_all(void *unused)
{
    char message[MESSAGE_BYTES];
    uint32_t thread = atomic_fetch_add(&senders.threads, 1);
    (void)unused;
    while (sem_wait(&senders.begin)) continue;
    for (uint64_t number = 0, at = thread;; at++) {
        uint32_t count = atomic_load_explicit(&senders.count, memory_order_acquire);
        uint64_t id = atomic_load_explicit(&senders.ids[at % count], memory_order_relaxed);
        enum senders_answer answer;
        message_make(message, thread, ++number);
        while ((answer = senders.fn(senders.context, id, message)) == SENDERS_FULL) wait_a_little();
        if (answer == SENDERS_GONE) wait_a_little();
    }
    return NULL;
}

void senders_start(senders_fn fn, void *context)
{
    pthread_t thread;
    senders.fn = fn;
    senders.context = context;
    if (sem_init(&senders.begin, 0, 0)) server_die("sem_init");
    for (int n = 0; n < MESSAGE_THREADS; n++)
        if (pthread_create(&thread, NULL, send_all, NULL)) server_die("pthread_create");
}

void senders_add(uint64_t id)
{
    uint32_t count = atomic_load_explicit(&senders.count, memory_order_relaxed);
    if (count == IDS_MAX) return;
    atomic_store_explicit(&senders.ids[count], id, memory_order_relaxed);
    atomic_store_explicit(&senders.count, count + 1, memory_order_release);
    for (int n = 0; count == 0 && n < MESSAGE_THREADS; n++) sem_post(&senders.begin);
}
