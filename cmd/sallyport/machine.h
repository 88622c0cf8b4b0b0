/* What the tool wants of the system beside the library, one file for each system. */
#ifndef SALLYPORT_MACHINE_H
#define SALLYPORT_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* A reader of our output that has gone is an error of writing, not the end of the process. */
void machine_ignore_broken_pipes(void);

/* From here on a request to stop (SIGINT, SIGTERM; Ctrl-C, Ctrl-Break) waits until
 * machine_wait_stop asks for it, so that one that comes before the server runs is not lost and does
 * not kill. Called before any thread is made. */
void machine_hold_stops(void);

/* The same for a request to read files again (SIGHUP; Windows has none): `reload` is called inside
 * machine_wait_stop. After machine_hold_stops. */
void machine_hold_reloads(void (*reload)(void *arg), void *arg);

/* Whether a request to stop has come before the time was over. */
bool machine_wait_stop(uint32_t timeout_ms);

/* What is freed in big blocks goes back to the system at once, so that the process's memory follows
 * what the engine counts. Costs time where such blocks come and go. Before any is allocated. */
void machine_return_big_blocks(void);

/* False: this system has no limit of descriptors. */
bool machine_descriptor_limit(unsigned long long *limit);

#endif
