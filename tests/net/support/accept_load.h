/* Clients that come, say something, hear it and go, from threads of their own, until they are
 * stopped. A load belongs to the test's thread; what it counts anybody may read. */
#ifndef NET_SUPPORT_ACCEPT_LOAD_H
#define NET_SUPPORT_ACCEPT_LOAD_H

#include "net/support/accept_tools.h"

enum { LOAD_THREADS_MAX = 4 };

struct load {
    const char *address;
    unsigned threads;
    pthread_t thread[LOAD_THREADS_MAX];
    atomic_bool stop;
    atomic_uint served;
    atomic_uint failed; /* not let in, or not answered */
};

void load_begin(struct load *load, const char *address, unsigned threads);
/* All threads have ended. */
void load_end(struct load *load);

#endif
