#include "net/support/accept_load.h"

#include <string.h>

static void *load_body(void *arg)
{
    struct load *load = arg;
    while (!atomic_load(&load->stop)) {
        int fd = dial_try(load->address);
        bool good = fd >= 0 && echoes(fd);
        atomic_fetch_add(good ? &load->served : &load->failed, 1);
        if (fd >= 0) hang_up_reset(fd); /* so that the ports of the machine last */
    }
    return NULL;
}

void load_begin(struct load *load, const char *address, unsigned threads)
{
    memset(load, 0, sizeof *load);
    load->address = address;
    load->threads = threads;
    check(threads <= LOAD_THREADS_MAX);
    for (unsigned i = 0; i < threads; i++)
        check(pthread_create(&load->thread[i], NULL, load_body, load) == 0);
}

void load_end(struct load *load)
{
    atomic_store(&load->stop, true);
    for (unsigned i = 0; i < load->threads; i++) check(pthread_join(load->thread[i], NULL) == 0);
}
