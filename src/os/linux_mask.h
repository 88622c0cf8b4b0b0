/* A while in which no signal interrupts the calling thread: what was sent comes after it. For the
 * few system calls that can't be gone on with when they were interrupted, or whose answer would be
 * taken for the kernel's opinion. Short: a Ctrl-C waits for it. Any thread. */
#ifndef OS_LINUX_MASK_H
#define OS_LINUX_MASK_H

#include <signal.h>
#include <stddef.h>

/* All that somebody sends. Not those that the thread's own faults raise: the kernel kills a process
 * at once when such a one is blocked, and the program's crash handler would never run. */
static inline void linux_signals_sent(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(set, faults[i]);
}

static inline void linux_mask(sigset_t *before)
{
    sigset_t sent;
    linux_signals_sent(&sent);
    (void)pthread_sigmask(SIG_SETMASK, &sent, before); /* fails for a wrong first argument alone */
}

static inline void linux_unmask(const sigset_t *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

#endif
