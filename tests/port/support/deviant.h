/* A port that is epoll's, but for one planted deviation from the contract, which the suite must
 * find. One at a time; state is the process's, as a trial's process is its own. */
#ifndef PORT_SUPPORT_DEVIANT_H
#define PORT_SUPPORT_DEVIANT_H

#include "port/port.h"

enum deviation {
    DEVIATE_NOT,
    DEVIATE_DOUBLES_A_SEND,        /* its event comes twice */
    DEVIATE_LOSES_A_CLOSE,         /* no PORT_CLOSE where a send was in flight */
    DEVIATE_HIDES_FAILED_CONNECTS, /* they never end */
    DEVIATE_ENDS_INSIDE_THE_CALL,  /* a stopped receive has ended when the stop returns */
    DEVIATE_CLOSES_TOO_EARLY,      /* PORT_CLOSE comes before the cancelled receive */
    DEVIATE_MIXES_BYTES,           /* two bytes of an event change places */
    DEVIATE_SENDS_TOO_MUCH,        /* a send says one byte more than asked for */
    DEVIATE_FORGETS_AFTER_A_STOP,  /* the first bytes after a stop are dropped */
    DEVIATE_STOPS_ACCEPTING,       /* after thirty newcomers nothing is told any more */
    DEVIATE_FAVOURS_THE_LOUD,      /* a receive that fills its buffer goes first */
    DEVIATE_LOSES_WAKE_UPS,        /* every fifth */
    DEVIATE_HITS_ANOTHER_SOCKET,   /* bytes are told to the last one that received */
    DEVIATE_LEAKS_A_DESCRIPTOR,    /* a refused newcomer stays open */
    DEVIATIONS
};

/* For port_config.ops; what it does is the last one chosen. */
const struct port_ops *deviant_ops(enum deviation deviation);

#endif
