/* There is one port on Windows; see choose.h. */
#include "port/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/iocp.h"

/* SALLY_PORT_AUTO, or what the environment asks for instead; -1 for what nobody knows. */
static sally_port_kind kind_of(const char *name)
{
    if (strcmp(name, "iocp") == 0) return SALLY_PORT_IOCP;
    if (strcmp(name, "uring") == 0) return SALLY_PORT_URING;
    if (strcmp(name, "epoll") == 0) return SALLY_PORT_EPOLL;
    return *name ? (sally_port_kind)-1 : SALLY_PORT_AUTO;
}

int port_choose(sally_port_kind kind, const struct port_config *config, const struct port_ops **ops,
                bool *second_choice, char *reason, size_t reason_bytes)
{
    const char *why =
        kind == SALLY_PORT_AUTO ? "this system's completion ports" : "asked for by the program";
    const char *environment = kind == SALLY_PORT_AUTO ? getenv("SALLY_PORT") : NULL;
    *second_choice = false;
    *ops = &port_iocp_ops;
    if (environment && *environment) {
        why = "asked for by SALLY_PORT";
        kind = kind_of(environment);
    }
    if (kind != SALLY_PORT_AUTO && kind != SALLY_PORT_IOCP) {
        snprintf(reason, reason_bytes, "this system has I/O completion ports only (iocp)");
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
    snprintf(reason, reason_bytes, "%s", why);
    return 0;
}
