/* Which port to take on this machine. */
#ifndef PORT_CHOOSE_H
#define PORT_CHOOSE_H

#include "port/port.h"
#include "sallyport.h"

/* Tries the kinds in order of preference with `config` by making one and taking it down again;
 * SALLY_PORT in the environment overrides SALLY_PORT_AUTO. Whether it had to be another than the
 * first is told in `second_choice`. Why it was that one is left in `reason`, also on failure.
 * SALLY_ENOPORT, SALLY_EINVAL (a kind that isn't in the list, also in the environment),
 * SALLY_EEXHAUSTED, SALLY_ENOMEM. */
int port_choose(sally_port_kind kind, const struct port_config *config, const struct port_ops **ops,
                bool *second_choice, char *reason, size_t reason_bytes);

/* The ports compiled in. */
#if defined(__linux__)
#define PORT_KINDS "uring epoll sim"
#else
#define PORT_KINDS "iocp sim"
#endif

#endif
