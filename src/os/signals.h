/* SIGINT and SIGTERM (the console's control events on Windows) for a program that lets the library
 * handle them while it runs. One watcher in a process at a time; only signals whose action is the
 * default one are taken. */
#ifndef OS_SIGNALS_H
#define OS_SIGNALS_H

#include <stdint.h>

/* SALLY_ESTATE when somebody watches already. */
int os_signals_watch(void);

/* Gives the old actions back. */
void os_signals_unwatch(void);

/* How many have come since os_signals_watch. */
unsigned os_signals_seen(void);

/* Wakes up when a signal comes, when os_signals_poke is called, or after timeout_ms (UINT32_MAX:
 * never). */
void os_signals_wait(uint32_t timeout_ms);

/* Any thread. */
void os_signals_poke(void);

#endif
