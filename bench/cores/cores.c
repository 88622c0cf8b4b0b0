/* bench_cores A B: how many nanoseconds a cache line takes from one core to another, one way. The
 * hypervisor moves virtual cores about, and what two of them can do together changes threefold with
 * it; this tells. Two threads hand a number to and fro. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EXCHANGES = 100000, LIMIT_S = 8 };

static _Alignas(128) _Atomic uint32_t turn;

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (!pthread_setaffinity_np(pthread_self(), sizeof set, &set)) return;
    fprintf(stderr, "bench_cores: there is no core %d\n", core);
    exit(1);
}

/* Waits for its parity, and passes on. */
static void play(uint32_t mine)
{
    for (uint32_t n = mine; n < 2 * EXCHANGES; n += 2) {
        while (atomic_load_explicit(&turn, memory_order_acquire) != n) continue;
        atomic_store_explicit(&turn, n + 1, memory_order_release);
    }
}

static void *other(void *core)
{
    pin(*(int *)core);
    play(1);
    return NULL;
}

int main(int argc, char **argv)
{
    int cores[2];
    struct timespec begin, end;
    pthread_t thread;
    for (int n = 0; n < 2; n++) cores[n] = argc == 3 ? (int)strtol(argv[n + 1], NULL, 10) : n;
    alarm(LIMIT_S);
    pin(cores[0]);
    if (pthread_create(&thread, NULL, other, &cores[1])) return 1;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    play(0);
    pthread_join(thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.1f\n", ns / (2 * EXCHANGES));
    return 0;
}
