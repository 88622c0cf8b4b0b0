/* The locked queue. See lockq.h. */
#include "lockq.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    struct lockq_entry *filling, *taken;
    uint32_t count;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

void lockq_create(void)
{
    queue.filling = server_memory(LOCKQ_ENTRIES_MAX, sizeof *queue.filling);
    queue.taken = server_memory(LOCKQ_ENTRIES_MAX, sizeof *queue.taken);
}

bool lockq_push(uint64_t id, const void *message, bool *wake)
{
    pthread_mutex_lock(&queue.lock);
    bool room = queue.count < LOCKQ_ENTRIES_MAX;
    *wake = room && queue.count == 0;
    if (room) {
        struct lockq_entry *entry = &queue.filling[queue.count++];
        entry->id = id;
        memcpy(entry->bytes, message, sizeof entry->bytes);
    }
    pthread_mutex_unlock(&queue.lock);
    return room;
}

struct lockq_entry *lockq_take(uint32_t *count)
{
    pthread_mutex_lock(&queue.lock);
    struct lockq_entry *taken = queue.filling;
    *count = queue.count;
    queue.filling = queue.taken;
    queue.taken = taken;
    queue.count = 0;
    pthread_mutex_unlock(&queue.lock);
    return taken;
}
