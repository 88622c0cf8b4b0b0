/* Pages of POSIX; see guard_pages.h. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "port/support/guard_pages.h"

size_t guard_page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

void *guard_map(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void guard_forbid(void *at, size_t bytes)
{
    if (mprotect(at, bytes, PROT_NONE) != 0) abort();
}

void guard_unmap(void *at, size_t bytes)
{
    if (munmap(at, bytes) != 0) abort();
}

void guard_die_of_faults(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0) abort();
}
