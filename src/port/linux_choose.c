/* io_uring where it works, else epoll; see choose.h. */
#include "port/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/uring.h"

static int choose__try(const struct port_ops *ops, const struct port_config *config)
{
    struct port *port;
    int err = port_create(ops, config, &port);
    if (!err) port_destroy(port);
    return err;
}

/* `asked` says who wanted just this one. */
static int choose__forced(const struct port_ops *ops, const struct port_config *config,
                          const char *asked, char *reason, size_t reason_bytes)
{
    int err = choose__try(ops, config);
    if (!err)
        snprintf(reason, reason_bytes, "%s", asked);
    else if (ops == &port_uring_ops)
        snprintf(reason, reason_bytes, "%s, but io_uring can't be used: %s", asked,
                 uring_refusal());
    else
        snprintf(reason, reason_bytes, "%s, but it can't be used: %s", asked, sally_strerror(err));
    return err;
}

static int choose__auto(const struct port_config *config, const struct port_ops **ops, char *reason,
                        size_t reason_bytes)
{
    *ops = &port_uring_ops;
    int err = choose__try(*ops, config);
    if (!err) {
        snprintf(reason, reason_bytes, "io_uring works here");
        return 0;
    }
    snprintf(reason, reason_bytes, "io_uring can't be used here: %s", uring_refusal());
    *ops = &port_epoll_ops;
    return choose__try(*ops, config);
}

int port_choose(sally_port_kind kind, const struct port_config *config, const struct port_ops **ops,
                bool *second_choice, char *reason, size_t reason_bytes)
{
    *second_choice = false;
    const char *asked = "asked for by the program";
    const char *environment = kind == SALLY_PORT_AUTO ? getenv("SALLY_PORT") : NULL;
    if (environment && *environment) {
        asked = "asked for by SALLY_PORT";
        if (strcmp(environment, "uring") == 0)
            kind = SALLY_PORT_URING;
        else if (strcmp(environment, "epoll") == 0)
            kind = SALLY_PORT_EPOLL;
        else if (strcmp(environment, "iocp") == 0)
            kind = SALLY_PORT_IOCP;
        else
            kind = (sally_port_kind)-1;
    }
    switch (kind) {
    case SALLY_PORT_AUTO: {
        int err = choose__auto(config, ops, reason, reason_bytes);
        *second_choice = *ops != &port_uring_ops;
        return err;
    }
    case SALLY_PORT_URING: *ops = &port_uring_ops; break;
    case SALLY_PORT_EPOLL: *ops = &port_epoll_ops; break;
    case SALLY_PORT_IOCP:
        snprintf(reason, reason_bytes, "%s, but I/O completion ports are on Windows only", asked);
        return SALLY_ENOPORT;
    default:
        snprintf(reason, reason_bytes, "SALLY_PORT and the option know uring, epoll and iocp only");
        return SALLY_EINVAL;
    }
    return choose__forced(*ops, config, asked, reason, reason_bytes);
}
