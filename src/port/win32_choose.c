/* There is one port on Windows; see choose.h. */
#include "port/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/iocp.h"

int port_choose(sally_port_kind kind, const struct port_config *config, const struct port_ops **ops,
                bool *second_choice, char *reason, size_t reason_bytes)
{
    const char *environment = kind == SALLY_PORT_AUTO ? getenv("SALLY_PORT") : NULL;
    bool asked = environment && *environment;
    *second_choice = false;
    *ops = &port_iocp_ops;
    if (asked && strcmp(environment, "iocp") != 0) {
        snprintf(reason, reason_bytes, "SALLY_PORT knows iocp only on this system");
        return SALLY_EINVAL;
    }
    if (kind != SALLY_PORT_AUTO) {
        snprintf(reason, reason_bytes, "this system has I/O completion ports only");
        return kind == SALLY_PORT_URING || kind == SALLY_PORT_EPOLL ? SALLY_ENOPORT : SALLY_EINVAL;
    }
    struct port *port;
    int err = port_create(*ops, config, &port);
    if (err) {
        snprintf(reason, reason_bytes, "I/O completion ports can't be used: %s",
                 err == SALLY_ENOPORT ? iocp_refusal() : sally_strerror(err));
        return err;
    }
    port_destroy(port);
    snprintf(reason, reason_bytes, "%s",
             asked ? "asked for by SALLY_PORT" : "this system's completion ports");
    return 0;
}
