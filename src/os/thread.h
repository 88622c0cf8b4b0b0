/* Threads, and a gate on which a thread waits for another. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "os/lock.h"

#if defined(_WIN32)
struct os_thread {
    void *handle;
};
struct os_gate {
    void *srw;
    void *condition;
    bool open;
};
#else
#include <pthread.h>

struct os_thread {
    pthread_t id;
};
struct os_gate {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    bool open;
};
#endif

/* Every signal is blocked in the new thread: signals stay the program's. SALLY_EEXHAUSTED when the
 * system has no more. */
int os_thread_start(struct os_thread *thread, const char *name, void (*body)(void *arg), void *arg);
void os_thread_join(struct os_thread *thread);

/* A number that differs between living threads. */
uint64_t os_thread_self(void);

/* For thread-local variables that are read for every request: reached without a call from a shared
 * library too. */
#if defined(_WIN32)
#define OS_THREAD_LOCAL_NEAR
#else
#define OS_THREAD_LOCAL_NEAR __attribute__((tls_model("initial-exec")))
#endif

/* Its address names the calling thread: cheaper than os_thread_self, which is a call. */
extern _Thread_local char os_thread_mark OS_THREAD_LOCAL_NEAR;

/* Cores this process may use, at least 1. */
unsigned os_cores(void);

/* Closed at first. Waiting passes once it is open, and it stays open. */
void os_gate_init(struct os_gate *gate);
void os_gate_free(struct os_gate *gate);
void os_gate_open(struct os_gate *gate);
void os_gate_wait(struct os_gate *gate);
/* False when `timeout_ms` passed first. */
bool os_gate_wait_for(struct os_gate *gate, uint32_t timeout_ms);

#endif
